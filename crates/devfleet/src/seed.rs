//! The database image inside every node, without loading it into each of them.
//!
//! Loading takes seconds of two cores a node; copying a Docker Engine's folder that has it already
//! takes one. So it is loaded once, into a volume that is kept, as images are, for the next fleet.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{
    images,
    layout::{DATABASE_IMAGE, LABEL, Node},
    nodes,
    process::docker,
    report::Report,
    setup::Engine,
};

/// Marks the volume as one that `down` keeps, with the images.
pub(crate) const KEPT: &str = "togather.devfleet.seed";
const CONTAINER: &str = "togather-seed";
const LOADING: Duration = Duration::from_secs(600);

/// Sees to it that there is a seed with the present database image.
pub(crate) async fn ensure(report: &Report, engine: &Engine) -> Result<()> {
    let name = name().await?;
    // The container goes last: where it still is, the seed beside it was never finished.
    let finished = !docker(["container", "inspect", CONTAINER])
        .succeeds()
        .await?;
    if finished && docker(["volume", "inspect", &name]).succeeds().await? {
        return Ok(());
    }
    let stage = report.stage("database image: loading it into a Docker Engine to copy from");
    docker(["rm", "--force", CONTAINER]).ended().await?;
    docker(["volume", "rm", "--force", &name]).run().await?;
    let volume = format!(
        "type=volume,source={name},target=/var/lib/docker,\
         volume-label={LABEL},volume-label={KEPT}=1"
    );
    nodes::machine(engine, CONTAINER)
        .args(["--network", "none", "--mount", &volume, images::NODE])
        .run()
        .await
        .context("the seed could not be started")?;
    nodes::await_systemd(CONTAINER).await?;
    load_into(CONTAINER).await?;
    docker([
        "exec",
        CONTAINER,
        "systemctl",
        "stop",
        "docker.socket",
        "docker",
        "containerd",
    ])
    .run()
    .await?;
    docker(["rm", "--force", CONTAINER]).run().await?;
    stage.done();
    Ok(())
}

/// Makes the volume of a node's Docker Engine, a copy of the seed.
pub(crate) async fn fill(node: Node) -> Result<()> {
    let target = node.volume();
    // What is there without its node is left of an earlier one.
    docker(["volume", "rm", "--force", &target]).run().await?;
    docker(["volume", "create", "--label", LABEL, &target])
        .run()
        .await?;
    copy(&name().await?, &target).await
}

/// Brings the present database image into a node that has another one, or none.
pub(crate) async fn refresh(report: &Report, node: Node) -> Result<()> {
    let inside = nodes::exec(node)
        .args([
            "docker",
            "image",
            "inspect",
            "--format",
            "{{.Id}}",
            DATABASE_IMAGE,
        ])
        .ended()
        .await?;
    if images::id(DATABASE_IMAGE).await?.as_deref() == Some(inside.stdout.as_str()) {
        return Ok(());
    }
    let stage = report.stage(format_args!("{node}: loading the database image"));
    load_into(&node.container()).await?;
    stage.done();
    Ok(())
}

async fn load_into(container: &str) -> Result<()> {
    docker(["save", DATABASE_IMAGE])
        .within(LOADING)
        .pipe_into(docker([
            "exec",
            "--interactive",
            container,
            "docker",
            "load",
            "--quiet",
        ]))
        .await
        .with_context(|| format!("{DATABASE_IMAGE} could not be loaded into {container}"))
}

/// Copies a volume with everything that overlay2 keeps in extended attributes and device files;
/// hence the capability.
async fn copy(from: &str, to: &str) -> Result<()> {
    docker([
        "run",
        "--rm",
        "--cap-add",
        "SYS_ADMIN",
        "--network",
        "none",
        "--label",
        LABEL,
    ])
    .args([
        "--volume",
        &format!("{from}:/from:ro"),
        "--volume",
        &format!("{to}:/to"),
    ])
    .args([images::NODE, "cp", "--archive", "/from/.", "/to/"])
    .within(LOADING)
    .run()
    .await
    .with_context(|| format!("the volume {from} could not be copied to {to}"))?;
    Ok(())
}

/// A seed's name tells which database image it holds.
async fn name() -> Result<String> {
    let Some(id) = images::id(DATABASE_IMAGE).await? else {
        bail!("the image {DATABASE_IMAGE} is missing; `devfleet up` builds it");
    };
    let short: String = id.trim_start_matches("sha256:").chars().take(12).collect();
    Ok(format!("togather-seed-{short}"))
}
