//! A value that was edited on every node comes to the app, and goes again.

use fleet_tests::{
    Fleet,
    fleet::{BASE, NODES, events},
};
use futures::future::join_all;
use serde_json::Value;

use crate::load::Load;

const ENVIRONMENT: &str = "/etc/togather/.env.production";

/// The value as the app on each node has it. `null`: it was given nought, which is no limit.
async fn limits(fleet: &Fleet) -> Vec<Value> {
    let ask = [
        "curl",
        "--fail",
        "--silent",
        "http://127.0.0.1/stand-in/requests",
    ];
    let asked = NODES.map(|node| fleet.on_node(node, &ask).run());
    let answers = join_all(asked).await.into_iter();
    answers
        .map(|ran| ran.ended_with(0).json()["limit"].take())
        .collect()
}

/// How many nodes say that what runs is not what their files say.
async fn adrift(fleet: &Fleet) -> usize {
    let status = fleet.status().await;
    let is_adrift = |node: &&Value| node["drift"].to_string().contains("togather-ctl redeploy");
    status.values().filter(is_adrift).count()
}

#[tokio::test]
async fn an_edited_value_comes_to_every_node_under_load_and_a_rollback_brings_the_old_one_back() {
    let fleet = Fleet::take().await;
    let load = Load::begin(&fleet);
    let expression = "s/^RATE_LIMIT_PUBLIC=.*/RATE_LIMIT_PUBLIC=123456/";
    let edited = join_all(NODES.map(|node| fleet.edit(node, ENVIRONMENT, expression))).await;
    assert_eq!(adrift(&fleet).await, 3, "it is told before");
    assert_eq!(
        limits(&fleet).await,
        [Value::Null, Value::Null, Value::Null]
    );

    let arguments = ["--nodes", "all", "--soak", "0s", "--yes"];
    let redeploy = ["--output", "json", "redeploy"];
    let ran = fleet
        .ctl(&redeploy)
        .args(arguments)
        .run()
        .await
        .ended_with(0);
    let completed = ran.json_lines();
    assert_eq!(
        events(&completed, "deployment.completed").len(),
        3,
        "{}",
        ran.stdout
    );
    assert_eq!(limits(&fleet).await, [123_456, 123_456, 123_456]);
    fleet.assert_all_on(BASE).await;

    fleet
        .ctl(&["rollback"])
        .args(arguments)
        .run()
        .await
        .ended_with(0);
    assert_eq!(
        limits(&fleet).await,
        [Value::Null, Value::Null, Value::Null]
    );
    assert_eq!(adrift(&fleet).await, 3, "the files still say otherwise");
    load.assert_nothing_failed().await;
    drop(edited);
    fleet.assert_all_on(BASE).await;
}
