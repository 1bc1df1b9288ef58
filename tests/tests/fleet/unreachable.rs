//! Nodes that are cut off or without power.

use fleet_tests::{Fleet, fleet::BASE};

#[tokio::test]
async fn a_node_that_is_cut_off_stops_the_rollout_before_anything_is_touched() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    fleet.devfleet(&["cut", "node-2"]).run().await.ended_with(0);
    let ran = fleet.roll_out(&next, &["--nodes", "all"]).run().await;
    let status = fleet.ctl(&["--output", "json", "status"]).run().await;
    fleet
        .devfleet(&["heal", "node-2"])
        .run()
        .await
        .ended_with(0);
    ran.ended_with(6).saying("node-2");
    assert_eq!(status.code, 6, "status says so too");
    assert_eq!(
        status.json()["nodes"][0]["version"],
        BASE,
        "the others are told"
    );
    fleet
        .until("node-2 is back", |status| {
            status["node-2"]["version"] == BASE
        })
        .await;
    fleet.assert_all_on(BASE).await;
}

#[tokio::test]
async fn a_node_that_is_skipped_is_caught_up_by_resume() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    fleet.devfleet(&["cut", "node-2"]).run().await.ended_with(0);
    let ran = fleet
        .roll_out(&next, &["--nodes", "all", "--unreachable", "skip"])
        .run()
        .await;
    fleet
        .devfleet(&["heal", "node-2"])
        .run()
        .await
        .ended_with(0);
    ran.ended_with(6).saying("rollout resume");
    fleet
        .until("node-2 is back", |status| {
            status["node-2"]["version"] == BASE
        })
        .await;
    let versions = fleet.versions().await;
    assert_eq!(
        [&versions["node-1"], &versions["node-3"]],
        ["1.1.0-test"; 2]
    );

    let rollouts = fleet
        .ctl(&["--output", "json", "rollout", "list"])
        .run()
        .await
        .ended_with(0);
    let id = rollouts.json()["rollouts"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    fleet
        .ctl(&["rollout", "resume", &id, "--yes"])
        .run()
        .await
        .ended_with(0);
    fleet.assert_all_on("1.1.0-test").await;
}

#[tokio::test]
async fn a_node_that_lost_its_power_serves_the_same_version_again() {
    let fleet = Fleet::take().await;
    fleet
        .devfleet(&["kill", "node-3"])
        .run()
        .await
        .ended_with(0);
    fleet
        .devfleet(&["start", "node-3"])
        .run()
        .await
        .ended_with(0);
    fleet
        .until("node-3 serves again", |status| {
            status["node-3"]["version"] == BASE && status["node-3"]["health"]["status"] == "healthy"
        })
        .await;
    fleet.assert_all_on(BASE).await;
}
