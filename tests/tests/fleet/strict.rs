//! The sample server as strict as the Togather server, one strictness a test: what used to be taken
//! for well, or for broken, and is not.

use crate::load::Load;
use fleet_tests::{
    Fleet,
    fleet::{BASE, events},
};

const NODE: &str = "node-1";
const SETTINGS: &str = "/etc/togather/deployment.yml";
const ENVIRONMENT: &str = "/etc/togather/.env.production";

/// A release that must be found out before the switch, although its container runs.
async fn found_before_the_switch(fault: &str) {
    let fleet = Fleet::take().await;
    let broken = fleet
        .release(&format!("2.1.0-{fault}"), &["--fault", fault])
        .await;
    let load = Load::begin(&fleet);
    let impatient = "$a strategy:\\n  health_timeout: 8s";
    let edited = fleet.edit(NODE, SETTINGS, impatient).await;
    let ran = fleet.roll_out(&broken, &["--nodes", NODE]).run().await;
    drop(edited);
    load.assert_nothing_failed().await;
    let lines = ran.ended_with(4).json_lines();
    let started = events(&lines, "deployment.step.started");
    assert!(
        started
            .iter()
            .all(|event| event["step"] != "switch_traffic"),
        "no visitor saw it: {lines:#?}"
    );
    assert_eq!(events(&lines, "deployment.undone").len(), 1, "{lines:#?}");
    fleet.assert_all_on(BASE).await;
}

#[tokio::test]
async fn a_slot_that_lives_without_listening_is_not_well() {
    found_before_the_switch("never-listens").await;
}

#[tokio::test]
async fn a_slot_that_answers_404_everywhere_is_not_well() {
    found_before_the_switch("no-routes").await;
}

/// Whether the agent finds it out before or the server itself: nothing changes, and it is named.
#[tokio::test]
async fn a_secret_that_the_server_refuses_is_named() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let short = "s/^JWT_SECRET=.*/JWT_SECRET=short/";
    let edited = fleet.edit(NODE, ENVIRONMENT, short).await;
    let ran = fleet.roll_out(&next, &["--nodes", NODE]).run().await;
    drop(edited);
    assert!([4, 10].contains(&ran.code), "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("JWT_SECRET"), "{said}");
    fleet.assert_all_on(BASE).await;
}

/// One answer of five fails from 20 s after the switch: seen over a sliding window, not drowned by
/// what was well before, and taken back within 15 s.
#[tokio::test]
async fn one_page_in_five_that_fails_in_the_soak_takes_the_release_back() {
    let fleet = Fleet::take().await;
    let fault = "some-errors-in-soak";
    let arguments = ["--fault", fault, "--fault-after", "20"];
    let broken = fleet.release("2.1.0-some-errors", &arguments).await;
    let load = Load::at(&fleet, 50);
    let rollout = fleet.ctl(&[
        "--output", "json", "rollout", "--yes", "--soak", "60s", "--nodes", NODE,
    ]);
    let ran = rollout
        .args(["--release".into(), broken.into_os_string()])
        .run()
        .await;
    load.end().await;
    let lines = ran.ended_with(4).json_lines();
    let at = |name: &str, step: Option<&str>| {
        let found = events(&lines, name);
        let event = found
            .iter()
            .find(|event| step.is_none_or(|step| event["step"] == step));
        let event = event.unwrap_or_else(|| panic!("no {name} {step:?} among {lines:#?}"));
        let at: jiff::Timestamp = event["at"].as_str().expect("a time").parse().unwrap();
        at
    };
    let switched = at("deployment.step.done", Some("switch_traffic"));
    let noticed = at("deployment.step.failed", Some("soak"));
    let since = noticed.duration_since(switched).as_secs_f64();
    assert!(
        (20.0..35.0).contains(&since),
        "the soak failed {since} s after the switch"
    );
    let undone = events(&lines, "deployment.undone");
    // A window of ten seconds, between two of the counts that the 20 questions a minute allow: beside
    // three pages that is one about every eight seconds.
    let [total, over] = judged_by(&undone[0].to_string());
    assert!(
        total >= 20 && (9..=18).contains(&over),
        "{total} requests in {over} s"
    );
    fleet.assert_all_on(BASE).await;
}

/// The figures that a release was judged by: "togather_http_requests_total: 31 of 253 requests in 10 s
/// failed".
fn judged_by(said: &str) -> [u32; 2] {
    let figures = said.split_once("togather_http_requests_total: ");
    let (_, figures) = figures.unwrap_or_else(|| panic!("the series is named: {said}"));
    let words: Vec<_> = figures.split(' ').take(8).collect();
    let ["of", total, "requests", "in", over, "s", "failed"] = words[1..] else {
        panic!("the figures are named: {figures}");
    };
    [total, over].map(|figure| figure.parse().unwrap())
}
