//! The fleet's status, read from the JSON of `togather-ctl` as any script would read it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{bundles::ctl, layout::Layout};

/// What `togather-ctl status --output json` says.
#[derive(Debug)]
pub(crate) struct Status(Value);

/// Asks every node.
pub(crate) async fn of(layout: &Layout) -> Result<Status> {
    let text = ctl(layout)?
        .args(["status", "--output", "json"])
        .run()
        .await?;
    let value = serde_json::from_str(&text).context("the status is not JSON")?;
    Ok(Status(value))
}

impl Status {
    fn nodes(&self) -> impl Iterator<Item = &Value> {
        self.0["nodes"].as_array().into_iter().flatten()
    }

    /// The schema version of each database; 0 where there is none yet.
    pub(crate) fn schemas(&self) -> Vec<u64> {
        self.nodes()
            .map(|node| node["schema_version"].as_u64().unwrap_or(0))
            .collect()
    }

    /// # Errors
    /// A node serves another version, or is not healthy; says which.
    pub(crate) fn all_serve(&self, version: &str) -> Result<()> {
        for node in self.nodes() {
            let name = node["name"].as_str().unwrap_or("a node");
            let health = &node["health"]["status"];
            ensure!(
                node["version"] == version && *health == "healthy",
                "{name} should serve {version} and be healthy; it serves {} and is {health}",
                node["version"],
            );
        }
        ensure!(self.nodes().next().is_some(), "the status names no node");
        Ok(())
    }
}
