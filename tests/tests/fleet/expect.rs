//! Pages that a new version must answer (`app.expect`, as `togather-ctl node add` writes it): a release
//! that lacks one is found before a visitor sees it, and one that loses it behind the proxy goes back.

use fleet_tests::{
    Fleet,
    fleet::{BASE, events},
};
use serde_json::Value;

use crate::load::Load;

const NODE: &str = "node-1";
const CADDYFILE: &str = "/etc/caddy/Caddyfile";
const PAGE: &str = "/api/v1/openapi.json";

/// What failed in the one deployment that was taken back.
fn undone(lines: &[Value]) -> String {
    let undone = events(lines, "deployment.undone");
    assert_eq!(undone.len(), 1, "{lines:#?}");
    undone[0].to_string()
}

fn steps(lines: &[Value], event: &str) -> Vec<String> {
    let found = events(lines, event);
    let step = |event: &&Value| event["step"].as_str().unwrap_or_default().to_owned();
    found.iter().map(step).collect()
}

#[tokio::test]
async fn a_release_that_lacks_a_page_is_found_before_the_switch() {
    let fleet = Fleet::take().await;
    let broken = fleet
        .release("2.1.0-missing-page", &["--fault", "missing-page"])
        .await;
    let load = Load::begin(&fleet);
    let ran = fleet.roll_out(&broken, &["--nodes", NODE]).run().await;
    load.assert_nothing_failed().await;
    let lines = ran.ended_with(4).json_lines();
    let begun = steps(&lines, "deployment.step.started");
    assert!(!begun.contains(&"switch_traffic".to_owned()), "{begun:?}");
    let said = undone(&lines);
    assert!(
        said.contains(PAGE) && said.contains("found HTTP 404"),
        "{said}"
    );
    fleet.assert_all_on(BASE).await;
}

/// As an operator's Caddyfile does that answers one path of the app itself, by mistake.
#[tokio::test]
async fn a_page_that_lacks_behind_the_proxy_takes_the_switch_back() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let shell = |script: String| fleet.on_node(NODE, &["sh", "-c"]).args([script]);
    shell(format!(
        "cp -p {CADDYFILE} /tmp/kept.Caddyfile && sed -i 's|^\\(\\s*\\)import /etc/caddy|\\1respond {PAGE} 404\\n&|' {CADDYFILE}"
    ))
    .run()
    .await
    .ended_with(0);
    let load = Load::begin(&fleet);
    let ran = fleet.roll_out(&next, &["--nodes", NODE]).run().await;
    load.assert_nothing_failed().await;
    shell(format!(
        "cat /tmp/kept.Caddyfile > {CADDYFILE} && systemctl reload caddy"
    ))
    .run()
    .await
    .ended_with(0);
    let lines = ran.ended_with(4).json_lines();
    let done = steps(&lines, "deployment.step.done");
    assert!(done.contains(&"switch_traffic".to_owned()), "{done:?}");
    let said = undone(&lines);
    assert!(
        said.contains(PAGE) && said.contains("through the proxy"),
        "{said}"
    );
    fleet.assert_all_on(BASE).await;
}

#[tokio::test]
async fn a_plan_names_the_pages_and_the_series() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let plan = fleet.ctl(&["rollout", "--dry-run", "--nodes", NODE, "--release"]);
    let ran = plan.args([next]).run().await.ended_with(0);
    for said in [
        "asks for 3 pages: /version, /api/v1/openapi.json, /api/v1/events",
        "watches `togather_http_requests_total`",
    ] {
        assert!(ran.stdout.contains(said), "{}", ran.stdout);
    }
}
