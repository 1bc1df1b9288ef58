//! From a fresh machine to a running fleet; run again, it repairs what is missing.

use std::path::Path;

use anyhow::Result;
use futures::future::try_join_all;

use crate::{
    bundles, down, images,
    layout::{Layout, Node, REGISTRY},
    network, nodes,
    report::Report,
    seed, services, setup,
};

/// Brings up this many nodes; those beyond them that exist are left alone.
pub(crate) async fn up(report: &Report, layout: &Layout, count: u8) -> Result<()> {
    // Known before minutes are spent on images.
    for program in ["devfleet", "togather-agent", "togather-ctl"] {
        layout.program(program)?;
    }
    let nodes = Node::first(count);
    machines(report, layout, &nodes).await?;
    bundles::enrol(report, layout, &nodes).await?;
    // The nodes are made from one image: what holds for the first holds for all.
    bundles::check_c_library(layout, nodes[0]).await?;
    try_join_all(
        nodes
            .iter()
            .map(|node| bundles::install(report, layout, *node)),
    )
    .await?;
    try_join_all(nodes.iter().map(|node| bundles::await_agent(layout, *node))).await?;
    report.say(format_args!(
        "the fleet is up; look at it with: {} --fleet {} status",
        short(&layout.program("togather-ctl")?),
        short(&layout.fleet_file())
    ));
    report.say(format_args!(
        "an image of your own: docker push {REGISTRY}/NAME, and give `release create --image` that \
         name with its digest; the nodes know the registry by the same name"
    ));
    Ok(())
}

/// Everything up to the agents: images, network, registry, store, and nodes that run.
async fn machines(report: &Report, layout: &Layout, nodes: &[Node]) -> Result<()> {
    let engine = setup::engine(report).await?;
    let fleet = layout.fleet_id()?;
    make_room(report, layout, &fleet).await?;
    images::ensure(report, layout).await?;
    let subnet = network::ensure(report, &fleet).await?;
    services::ensure(report, layout, subnet).await?;
    seed::ensure(report, &engine).await?;
    let starting = nodes
        .iter()
        .map(|node| nodes::ensure(report, *node, &engine, subnet));
    try_join_all(starting).await?;
    for node in nodes {
        services::show_registry(layout, *node).await?;
        seed::refresh(report, *node).await?;
    }
    Ok(())
}

/// Takes away what is up for another checkout, or for this one before its `.devfleet/` went away:
/// the keys and passwords of such nodes are not here, so nothing could be done with them.
async fn make_room(report: &Report, layout: &Layout, fleet: &str) -> Result<()> {
    match network::fleet().await? {
        Some(other) if other != fleet => {
            report.say(format_args!(
                "the fleet that is up was not made from {}; it is taken away, with its data",
                layout.state("").display()
            ));
            down::machines(report, false).await
        }
        Some(_) | None => Ok(()),
    }
}

/// A path as one would type it from here.
pub(crate) fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}
