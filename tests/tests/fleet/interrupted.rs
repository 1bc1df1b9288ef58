//! Controllers and agents that are killed in the middle of a deployment.

use std::{path::Path, time::Duration};

use fleet_tests::{
    Fleet,
    fleet::{BASE, fleet_file},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use crate::load::Load;

/// Reads a rollout's lines until one says that this step of this node has begun.
async fn until_step(child: &mut Child, node: &str, step: &str) {
    let stdout = child.stdout.take().expect("standard output is piped");
    let mut lines = BufReader::new(stdout).lines();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == "deployment.step.started"
                && event["node"] == node
                && event["step"] == step
            {
                return;
            }
        }
        panic!("{node} never came to {step}");
    };
    tokio::time::timeout(Duration::from_secs(120), reading)
        .await
        .expect("in time");
    // Whoever writes into a pipe that nobody reads is stopped by it; keep it open, and read on.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}

fn rollout_id(status: &Value) -> String {
    status["lease"]["holder"]
        .as_str()
        .expect("the node is held by the rollout")
        .to_owned()
}

/// A copy of what an operator has, elsewhere.
fn copy_of_the_operators_files(to: &Path) {
    let from = fleet_file();
    let folder = from.parent().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_controller_that_is_killed_is_resumed_from_elsewhere() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let load = Load::begin(&fleet);
    let mut controller = fleet.roll_out(&next, &["--nodes", "all"]).start();
    until_step(&mut controller, "node-2", "start_slot").await;
    let id = rollout_id(&fleet.status().await["node-3"]);
    controller.kill().await.unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    copy_of_the_operators_files(elsewhere.path());
    let fleet_file = elsewhere.path().join("fleet.yml");
    fleet
        .ctl_with(&fleet_file, &["rollout", "resume", &id, "--yes"])
        .run()
        .await
        .ended_with(0);
    load.assert_nothing_failed().await;
    fleet.assert_all_on("1.1.0-test").await;
    let history = fleet.ctl(&[
        "--output", "json", "history", "--nodes", "node-2", "--limit", "2",
    ]);
    let history = history.run().await.ended_with(0).stdout;
    assert_eq!(
        history.matches("1.1.0-test").count(),
        1,
        "deployed once: {history}"
    );
}

#[tokio::test]
async fn ctrl_c_leaves_a_rollout_that_can_be_taken_up_again() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let mut controller = fleet.roll_out(&next, &["--nodes", "all"]).start();
    until_step(&mut controller, "node-1", "start_slot").await;
    let pid = controller.id().unwrap().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = controller.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let id = said
        .split("rollout resume ")
        .nth(1)
        .and_then(|rest| rest.get(..26))
        .unwrap_or_else(|| panic!("it says how to go on: {said}"));
    fleet
        .ctl(&["rollout", "resume", id, "--yes"])
        .run()
        .await
        .ended_with(0);
    fleet.assert_all_on("1.1.0-test").await;
}

/// Kills the agent of the first node as this step begins; systemd starts it again, and the journal
/// decides.
async fn agent_killed_at(step: &str, serves: &str) {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let load = Load::begin(&fleet);
    let mut controller = fleet.roll_out(&next, &["--nodes", "node-1"]).start();
    until_step(&mut controller, "node-1", step).await;
    let kill = ["systemctl", "kill", "--signal=KILL", "togather-agent"];
    fleet.on_node("node-1", &kill).run().await.ended_with(0);
    let status = tokio::time::timeout(Duration::from_secs(120), controller.wait()).await;
    let code = status
        .expect("the controller sees the ending")
        .unwrap()
        .code();
    fleet
        .until("the operation ended", |status| {
            status["node-1"]["running"].is_null()
        })
        .await;
    load.assert_nothing_failed().await;
    let status = fleet.status().await;
    let node = &status["node-1"];
    let on_next = node["version"] == "1.1.0-test";
    assert_eq!(
        code == Some(0),
        on_next,
        "the controller tells what is true: {node:#}"
    );
    if !serves.is_empty() {
        assert_eq!(node["version"], serves, "{node:#}");
    }
    assert_eq!(node["health"]["status"], "healthy", "{node:#}");
    assert_eq!(node["drift"], Value::Array(vec![]), "{node:#}");
    let history = fleet.ctl(&[
        "--output", "json", "history", "--nodes", "node-1", "--limit", "1",
    ]);
    let history = history.run().await.ended_with(0).stdout;
    let ending = if on_next { "done" } else { "undone" };
    assert!(history.contains(&format!("\"{ending}\"")), "{history}");
}

#[tokio::test]
async fn an_agent_killed_before_the_switch_goes_back() {
    agent_killed_at("start_slot", BASE).await;
}

#[tokio::test]
async fn an_agent_killed_while_it_waits_for_health_goes_back() {
    agent_killed_at("await_healthy", BASE).await;
}

#[tokio::test]
async fn an_agent_killed_about_the_switch_ends_on_one_version() {
    agent_killed_at("switch_traffic", "").await;
}

#[tokio::test]
async fn an_agent_killed_after_the_switch_goes_forward() {
    agent_killed_at("prove_traffic", "1.1.0-test").await;
}

#[tokio::test]
async fn an_agent_killed_while_the_old_slot_drains_goes_forward() {
    agent_killed_at("retire_old_slot", "1.1.0-test").await;
}
