//! An app that takes long to stop.

use fleet_tests::{Fleet, program::Program};

use crate::load::Load;

const NODE: &str = "node-1";
const SETTINGS: &str = "/etc/togather/deployment.yml";

/// As the Togather server: requests under way first, then a job for 30 seconds; the Compose file gives
/// it 45 s in all.
#[tokio::test]
async fn an_app_that_stops_slowly_has_the_time_that_its_compose_file_gives_it() {
    let fleet = Fleet::take().await;
    let drain = "$a strategy:\\n  drain: 1s";
    let _edited = fleet.edit(NODE, SETTINGS, drain).await;
    let slow = fleet
        .release("2.1.0-slow-stop", &["--fault", "slow-stop"])
        .await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let to_node = ["--nodes", NODE];
    fleet.roll_out(&slow, &to_node).run().await.ended_with(0);
    let slot = fleet.status().await[NODE]["slot"]
        .as_str()
        .unwrap()
        .to_owned();

    let load = Load::begin(&fleet);
    // Long enough to outlast everything before the stop.
    let ask = ["--fail", "--silent", "http://127.0.10.1:8080/slow?ms=12000"];
    let under_way = Program::at("curl").args(ask).run();
    let rollout = fleet.roll_out(&next, &to_node).run();
    let (answered, ran) = tokio::join!(under_way, rollout);
    load.assert_nothing_failed().await;
    ran.ended_with(0);
    assert_eq!(answered.ended_with(0).json()["slept_ms"], 12_000);
    let state = "{{.State.ExitCode}} {{.State.Status}}";
    let inspect = ["docker", "inspect", "--format", state];
    let ended = fleet
        .on_node(NODE, &inspect)
        .args([format!("togather-{slot}")]);
    assert_eq!(
        ended.run().await.ended_with(0).stdout.trim(),
        "0 exited",
        "not killed"
    );
}
