//! Visitors behind the proxy: each has a limit of its own.

use fleet_tests::{Fleet, fleet::BASE};

const NODE: &str = "node-1";
const ENVIRONMENT: &str = "/etc/togather/.env.production";

/// What the first node answers to so many requests that come from another node, a status each.
async fn visits(fleet: &Fleet, from: &str, requests: u32) -> Vec<String> {
    let url = format!("http://{NODE}/?[1-{requests}]");
    let curl = [
        "curl",
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}\n",
    ];
    let ran = fleet.on_node(from, &curl).args([url]).run().await;
    ran.ended_with(0)
        .stdout
        .lines()
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_visitor_over_the_limit_takes_nothing_from_another() {
    let fleet = Fleet::take().await;
    let limit = "s/^RATE_LIMIT_PUBLIC=.*/RATE_LIMIT_PUBLIC=60/";
    let edited = fleet.edit(NODE, ENVIRONMENT, limit).await;
    let redeploy = ["redeploy", "--nodes", NODE, "--soak", "0s", "--yes"];
    fleet.ctl(&redeploy).run().await.ended_with(0);

    let greedy = visits(&fleet, "node-2", 80).await;
    let modest = visits(&fleet, "node-3", 20).await;
    let served = |visits: &[String]| visits.iter().filter(|status| *status == "200").count();
    assert!((60..80).contains(&served(&greedy)), "{greedy:?}");
    assert_eq!(greedy.last().map(String::as_str), Some("429"), "{greedy:?}");
    assert_eq!(served(&modest), 20, "{modest:?}");
    // Nor from the agent, which is a client of its own.
    fleet.assert_all_on(BASE).await;
    drop(edited);
}
