//! Releases that are degraded: whether they may serve depends on what the operator accepts, and on
//! what they replace.

use fleet_tests::{Fleet, Ran, fleet::events};

const NODE: &str = "node-3";
const SETTINGS: &str = "/etc/togather/deployment.yml";

/// Rolls a release out on the node whose check of this name warns.
async fn degraded(fleet: &Fleet, version: &str, fault: &str) -> Ran {
    let release = fleet.release(version, &["--fault", fault]).await;
    fleet.roll_out(&release, &["--nodes", NODE]).run().await
}

/// It was taken back, and said this.
fn assert_refused(ran: Ran, says: &str) {
    let lines = ran.ended_with(4).json_lines();
    let undone = events(&lines, "deployment.undone");
    assert_eq!(undone.len(), 1, "{lines:#?}");
    assert!(
        undone[0].to_string().contains(says),
        "`{says}`: {:#}",
        undone[0]
    );
}

#[tokio::test]
async fn a_degraded_release_serves_where_it_is_accepted_and_no_worse_than_the_one_before() {
    let fleet = Fleet::take().await;
    fleet.empty(NODE).await;
    let strict = "s/accept: .*/accept: [healthy]/;$a strategy:\\n  health_timeout: 4s";
    let _strict = fleet.edit(NODE, SETTINGS, strict).await;
    let refused = degraded(&fleet, "2.1.0-contexts", "degraded-contexts").await;
    assert_refused(
        refused,
        "its status is degraded, and `app.accept` is [healthy]",
    );
    assert_eq!(
        fleet.versions().await[NODE],
        "",
        "nothing serves, as before"
    );

    let lenient = "s/accept: .*/accept: [healthy, degraded]/";
    let _lenient = fleet.edit(NODE, SETTINGS, lenient).await;
    let accepted = degraded(&fleet, "2.1.0-contexts", "degraded-contexts").await;
    accepted.ended_with(0);
    let no_worse = degraded(&fleet, "2.1.1-contexts", "degraded-contexts").await;
    no_worse.ended_with(0);
    let worse = degraded(&fleet, "2.1.2-jobs", "degraded-job-queue").await;
    assert_refused(
        worse,
        "the check `job_queue` says warn; in the version it replaces it says pass",
    );
    let status = fleet.status().await;
    assert_eq!(status[NODE]["version"], "2.1.1-contexts");
    assert_eq!(
        status[NODE]["health"]["status"], "degraded",
        "{:#}",
        status[NODE]
    );
}
