//! Requests on all nodes while something happens to them.

use std::time::Duration;

use fleet_tests::{Fleet, Ran, fleet::NODES};
use serde_json::Value;
use tokio::process::Child;

/// Open-loop load on every node, until it is stopped or its time is up.
pub(crate) struct Load {
    child: Child,
}

impl Load {
    /// Begins, at a rate that one core serves with ease.
    pub(crate) fn begin(fleet: &Fleet) -> Self {
        Self::at(fleet, 40)
    }

    /// Begins with so many requests a second on each node.
    pub(crate) fn at(fleet: &Fleet, rate: u32) -> Self {
        let rate = rate.to_string();
        let load = [
            "load",
            "--seconds",
            "240",
            "--output",
            "json",
            "--rate",
            &rate,
        ];
        let child = fleet.devfleet(&load).start();
        Self { child }
    }

    /// Ends the load and checks that it was one, on every node, and that no request failed.
    pub(crate) async fn assert_nothing_failed(self) {
        let report = self.end().await;
        let targets = report["targets"].as_array().expect("a line for each node");
        assert_eq!(targets.len(), NODES.len(), "{report:#}");
        for target in targets {
            let requests = &target["requests"];
            assert!(requests["sent"].as_u64() > Some(10), "{report:#}");
            assert_eq!(requests["failed"], 0, "{report:#}");
        }
    }

    /// Ends the load and hands back what became of it.
    pub(crate) async fn end(self) -> Value {
        let pid = self.child.id().expect("the load is under way").to_string();
        let stopped = std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status();
        assert!(stopped.is_ok_and(|status| status.success()));
        let output = tokio::time::timeout(Duration::from_secs(60), self.child.wait_with_output());
        let output = output.await.expect("the load ends when told to").unwrap();
        Ran::new("devfleet load".into(), output).json()
    }
}
