//! Floors inside a node: what Docker and Caddy take by themselves.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{layout::Node, nodes};

/// How often a bare container is started; it takes most of a second each time.
const CONTAINERS: usize = 5;
/// More than a restore of millions of events takes.
const PATIENCE: Duration = Duration::from_secs(900);

/// From `docker run` of the app that is live there to its first 200, in milliseconds.
pub(super) async fn container(node: Node) -> Result<Vec<f64>> {
    let like = app_container(node).await?;
    let mut times = Vec::new();
    for _ in 0..CONTAINERS {
        times.extend(script(node, include_str!("floors/container.sh"), &[&like]).await?);
    }
    Ok(times)
}

/// Caddy's own time to load the node's Caddyfile over its admin socket, in milliseconds.
pub(super) async fn caddy(node: Node, times: usize) -> Result<Vec<f64>> {
    script(node, include_str!("floors/caddy.sh"), &[&times.to_string()]).await
}

/// The container that has one of the slots' ports.
pub(super) async fn app_container(node: Node) -> Result<String> {
    for port in ["8081", "8082"] {
        let found = nodes::exec(node)
            .args([
                "docker",
                "ps",
                "--quiet",
                "--filter",
                &format!("publish={port}"),
            ])
            .run()
            .await?;
        if let Some(id) = found.lines().next() {
            return Ok(id.to_owned());
        }
    }
    bail!("{node} runs no release; roll one out first")
}

/// `pg_dump` to nowhere in the database's container, in milliseconds.
pub(super) async fn dump(node: Node, database: &str) -> Result<f64> {
    one(node, include_str!("floors/dump.sh"), database).await
}

/// `pg_restore` with two jobs in the database's container, in milliseconds.
pub(super) async fn restore(node: Node, database: &str) -> Result<f64> {
    one(node, include_str!("floors/restore.sh"), database).await
}

async fn one(node: Node, text: &str, argument: &str) -> Result<f64> {
    let times = script(node, text, &[argument]).await?;
    times.first().copied().context("the script printed nothing")
}

/// Runs a script in the node; it prints milliseconds, a line each.
async fn script(node: Node, text: &str, arguments: &[&str]) -> Result<Vec<f64>> {
    let printed = run(node, text, arguments).await?;
    printed
        .lines()
        .map(|line| {
            line.trim()
                .parse()
                .with_context(|| format!("expected milliseconds, found `{line}`"))
        })
        .collect()
}

/// Runs a script in the node, and hands back what it prints.
pub(super) async fn run(node: Node, text: &str, arguments: &[&str]) -> Result<String> {
    nodes::exec(node)
        .args(["sh", "-s", "--"])
        .args(arguments)
        .input(text.as_bytes().to_vec())
        .within(PATIENCE)
        .run()
        .await
}
