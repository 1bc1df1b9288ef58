//! As a maintainer does it who follows the README: an empty node, the limit as the Togather server has
//! it, and one try for each of two versions.

use std::time::{Duration, Instant};

use fleet_tests::{Fleet, fleet::BASE};
use serde_json::Value;

const NODE: &str = "node-1";
const ENVIRONMENT: &str = "/etc/togather/.env.production";

/// What the agent asked of one process of the app on paths that are limited.
#[derive(Debug)]
struct Asked {
    all: u64,
    most_in_a_minute: u64,
    refused: u64,
}

impl Asked {
    /// Reads a process's ledger. The agent comes to the slot from the gateway of its network, and to
    /// the proxy from the node itself; everybody else is a visitor.
    fn of_the_agent(ledger: &Value, gateway: &str) -> Self {
        assert_eq!(ledger["limit"], 60, "{ledger:#}");
        let clients = ["127.0.0.1", gateway].map(|client| &ledger["clients"][client]);
        let sum = |what: &str| {
            clients
                .map(|told| told[what].as_u64().unwrap_or(0))
                .iter()
                .sum()
        };
        Self {
            all: sum("asked"),
            most_in_a_minute: sum("most_in_a_minute"),
            refused: sum("refused"),
        }
    }

    fn assert_careful(&self, soak: Duration) {
        assert!(self.all > 6, "the proof alone asks as often: {self:?}");
        assert_eq!(self.refused, 0, "{self:?}");
        assert!(self.most_in_a_minute <= 20, "{self:?}");
        assert!(self.all <= 20 + soak.as_secs() / 5, "{soak:?}: {self:?}");
    }
}

async fn on_node(fleet: &Fleet, command: &[&str]) -> String {
    fleet
        .on_node(NODE, command)
        .run()
        .await
        .ended_with(0)
        .stdout
}

/// Where the slots' own network leads out.
async fn gateway(fleet: &Fleet) -> String {
    let format = "{{(index .IPAM.Config 0).Gateway}}";
    let inspect = [
        "docker",
        "network",
        "inspect",
        "--format",
        format,
        "togather_togather",
    ];
    on_node(fleet, &inspect).await.trim().to_owned()
}

/// The ledger that the first process wrote to its log when it was stopped.
async fn ended_with(fleet: &Fleet) -> Asked {
    let logs = on_node(fleet, &["sh", "-c", "docker logs togather-blue 2>&1"]).await;
    let last = logs
        .lines()
        .find(|line| line.contains("requests on limited paths"));
    let last = last.unwrap_or_else(|| panic!("no ledger in {logs}"));
    let line: Value = serde_json::from_str(last).unwrap();
    let ledger = line["fields"]["asked"].as_str().expect("a ledger");
    Asked::of_the_agent(
        &serde_json::from_str(ledger).unwrap(),
        &gateway(fleet).await,
    )
}

#[tokio::test]
async fn an_empty_node_with_the_limit_on_comes_up_at_the_first_try_and_is_asked_with_care() {
    let fleet = Fleet::take().await;
    let releases = [
        fleet.release(BASE, &[]).await,
        fleet.release("1.1.0-test", &[]).await,
    ];
    fleet.empty(NODE).await;
    let limit = "s/^RATE_LIMIT_PUBLIC=.*/RATE_LIMIT_PUBLIC=60/";
    let _edited = fleet.edit(NODE, ENVIRONMENT, limit).await;

    let soaks = [5, 30].map(Duration::from_secs);
    for (release, soak) in releases.into_iter().zip(soaks) {
        let soak_for = format!("{}s", soak.as_secs());
        let rollout = fleet.ctl(&["rollout", "--yes", "--nodes", NODE, "--soak", &soak_for]);
        let begun = Instant::now();
        let rollout = rollout.args(["--release".into(), release.into_os_string()]);
        rollout.run().await.ended_with(0);
        assert!(begun.elapsed() >= soak, "it soaked");

        let ask = [
            "curl",
            "--fail",
            "--silent",
            "http://127.0.0.1/stand-in/requests",
        ];
        let ledger = serde_json::from_str(&on_node(&fleet, &ask).await).unwrap();
        Asked::of_the_agent(&ledger, &gateway(&fleet).await).assert_careful(soak);
    }
    let replaced = ended_with(&fleet).await;
    assert_eq!(replaced.refused, 0, "{replaced:?}");
    assert!(replaced.most_in_a_minute <= 20, "{replaced:?}");
    let status = fleet.status().await;
    let node = &status[NODE];
    assert_eq!(node["version"], "1.1.0-test", "{node:#}");
    assert_eq!(node["health"]["status"], "healthy", "{node:#}");
    assert_eq!(node["drift"], Value::Array(vec![]), "{node:#}");
}
