//! Images are fetched everywhere before anything is changed anywhere.

use fleet_tests::{
    Fleet,
    fleet::{BASE, events},
};

const NODE: &str = "node-2";

#[tokio::test]
async fn a_registry_that_one_node_cannot_reach_stops_the_rollout_before_anything_changed() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-fetched-first", &[]).await;
    let close = ["systemctl", "stop", "registry.socket", "registry.service"];
    let closed = fleet
        .change(NODE, &close, "systemctl start registry.socket")
        .await;
    let ran = fleet.roll_out(&next, &["--nodes", "all"]).run().await;
    drop(closed);
    let ran = ran.ended_with(1).saying(NODE).saying("127.0.10.100:5000");
    let lines = ran.json_lines();
    assert!(
        events(&lines, "deployment.started").is_empty(),
        "{lines:#?}"
    );
    fleet.assert_all_on(BASE).await;
}
