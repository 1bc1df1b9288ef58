//! Takes away what devfleet made, and only that: everything it makes carries its label.

use std::{fs, io::ErrorKind};

use anyhow::{Context, Result, bail};

use crate::{
    layout::{LABEL, Layout, Node},
    network, nodes,
    process::docker,
    report::Report,
    seed,
};

/// Takes away the whole fleet: containers, volumes, network and `.devfleet/`. The images stay, and
/// the seed of the nodes' Docker Engines with them, unless asked for too.
pub(crate) async fn everything(report: &Report, layout: &Layout, with_images: bool) -> Result<()> {
    machines(report, with_images).await?;
    let state = layout.state("");
    match fs::remove_dir_all(&state) {
        Ok(()) => report.say(format_args!("{}: removed", state.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot remove {}", state.display()));
        }
    }
    Ok(())
}

/// Takes away everything that Docker holds of a fleet, whichever checkout it was made from.
pub(crate) async fn machines(report: &Report, with_images: bool) -> Result<()> {
    let ours = format!("label={LABEL}");
    let containers = docker(["ps", "--all", "--quiet", "--filter", &ours])
        .run()
        .await?;
    remove(
        report,
        "containers",
        &["rm", "--force", "--volumes"],
        &containers,
    )
    .await?;

    let volumes = docker(["volume", "ls", "--quiet", "--filter", &ours])
        .run()
        .await?;
    let kept = format!("label={}", seed::KEPT);
    let kept = docker(["volume", "ls", "--quiet", "--filter", &kept])
        .run()
        .await?;
    let going: Vec<_> = volumes
        .lines()
        .filter(|name| with_images || !kept.lines().any(|kept| kept == *name))
        .collect();
    remove(report, "volumes", &["volume", "rm"], &going.join("\n")).await?;

    if network::find().await?.is_some() {
        docker(["network", "rm", crate::layout::NETWORK])
            .run()
            .await?;
        report.say("network: removed");
    }
    if with_images {
        let images = docker(["images", "--quiet", "--filter", &ours])
            .run()
            .await?;
        remove(report, "images", &["image", "rm", "--force"], &images).await?;
    }
    Ok(())
}

/// Takes away one node with its data. Its identity stays, so `up` brings it back as itself.
pub(crate) async fn one(report: &Report, node: Node) -> Result<()> {
    if !nodes::existing().await?.contains(&node) {
        bail!("there is no {node}; `devfleet up` makes nodes");
    }
    docker(["rm", "--force", "--volumes", &node.container()])
        .run()
        .await?;
    docker(["volume", "rm", "--force", &node.volume()])
        .run()
        .await?;
    report.say(format_args!("{node}: removed, with its data"));
    Ok(())
}

async fn remove(report: &Report, what: &str, command: &[&str], names: &str) -> Result<()> {
    let mut names: Vec<_> = names.lines().filter(|name| !name.is_empty()).collect();
    // An image with two tags is listed twice.
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(());
    }
    docker(command.iter().copied()).args(&names).run().await?;
    report.say(format_args!("{what}: {} removed", names.len()));
    Ok(())
}
