use std::sync::Arc;

use togather_model::{Acceptable, Acceptance, MOST_PAGES, Page, Verdict};

use super::*;
use crate::health::{
    Expectation, Proof, Requests,
    fake::{App, COMMIT, Time, said},
};

const SERIES: &str = "togather_http_requests_total";

fn at_fifty_a_second(age: Duration, failing_from: u64) -> Option<Requests> {
    let failing = age.as_secs().saturating_sub(failing_from);
    Some(Requests {
        series: SERIES.into(),
        total: age.as_secs() * 50,
        failed: failing * 10,
        ..Requests::default()
    })
}

fn fit(answer: &Answer) -> Result<(), String> {
    answer.is_fit(&Acceptance::default(), None)
}

async fn soak(asker: &Asker, seconds: u64) -> Result<String, String> {
    let soak = Soak {
        asker,
        strategy: &Strategy::default(),
        slot: Slot::Green,
        span: Duration::from_secs(seconds),
        judge: &fit,
    };
    soak.watch().await
}

/// Everything that a deployment asks, one after the other and without a pause.
async fn deploy(app: App, seconds: u64) -> (Result<String, String>, Arc<App>) {
    deploy_with(app, seconds, 0).await
}

async fn deploy_with(app: App, seconds: u64, pages: usize) -> (Result<String, String>, Arc<App>) {
    let (app, asker) = app.asker();
    let strategy = Strategy::default();
    let pages: Vec<Page> = (0..pages)
        .map(|nth| Page {
            path: format!("/{nth}"),
            status: 200,
            contains: None,
        })
        .collect();
    // The plan, its repetition when the deployment begins, and preflight.
    for _ in 0..3 {
        asker.condition(Slot::Green, COMMIT).await;
        asker.series(Slot::Green).await;
    }
    for place in [Place::Slot(Slot::Green), Place::Public] {
        let proof = Proof {
            asker: &asker,
            strategy: &strategy,
            place,
            containers: None,
            slot: Slot::Green,
            git_commit: COMMIT,
            judge: &fit,
        };
        proof.carry_out().await.unwrap();
        let expectation = Expectation {
            asker: &asker,
            strategy: &strategy,
            place,
            containers: None,
            slot: Slot::Green,
            pages: &pages,
            say: &|told| panic!("nothing is waited for: {told}"),
        };
        expectation.carry_out().await.unwrap();
    }
    (soak(&asker, seconds).await, app)
}

#[tokio::test]
async fn a_deployment_stays_far_below_what_the_app_allows() {
    for (has_ready_path, pages) in [
        (true, 0),
        (false, 0),
        (true, MOST_PAGES),
        (false, MOST_PAGES),
    ] {
        for seconds in [1, 30, 60, 61, 90, 600, 3_600] {
            let mut app = App::new(&Time::new());
            app.has_ready_path = has_ready_path;
            app.counted = Box::new(|age| at_fifty_a_second(age, u64::MAX));
            let (watched, app) = deploy_with(app, seconds, pages).await;
            let (minute, all) = (app.most_in_a_minute(), app.asked());
            let what = format!(
                "{seconds} s, ready path {has_ready_path}, {pages} pages: {minute}, {all} in all"
            );
            assert!(watched.is_ok(), "{what}: {watched:?}");
            assert!(minute <= 20, "{what}");
            assert!(all <= 20 + usize::try_from(seconds / 5).unwrap(), "{what}");
            assert!(app.asked_for("slot") >= 3 && app.asked_for("public") >= 3);
            assert_eq!(app.asked_for("page"), 2 * pages);
            // At the beginning and at the end at least, whatever else was asked.
            assert!(app.asked_for("metrics") >= 2, "{what}");
        }
    }
}

#[tokio::test]
async fn one_page_in_five_is_taken_back_within_fifteen_seconds() {
    for (has_ready_path, pages) in [(true, 0), (false, 0), (true, MOST_PAGES)] {
        let time = Time::new();
        let mut app = App::new(&time);
        app.has_ready_path = has_ready_path;
        app.counted = Box::new(|age| at_fifty_a_second(age, 20));
        let begun = crate::health::Clock::now(&time);
        let (watched, _) = deploy_with(app, 60, pages).await;
        let complaint = watched.unwrap_err();
        let after = crate::health::Clock::now(&time).duration_since(begun);
        assert!(complaint.starts_with(SERIES), "{complaint}");
        assert!(complaint.contains(" requests in "), "{complaint}");
        assert!(after <= Duration::from_secs(35), "{after:?}: {complaint}");
    }
}

/// However the counts of the soak fall.
#[tokio::test]
async fn three_pages_leave_enough_to_notice_that_whenever_it_begins() {
    for failing_from in 10..45 {
        let time = Time::new();
        let mut app = App::new(&time);
        app.counted = Box::new(move |age| at_fifty_a_second(age, failing_from));
        let begun = crate::health::Clock::now(&time);
        let (watched, _) = deploy_with(app, 60, MOST_PAGES).await;
        let complaint = watched.unwrap_err();
        let found = crate::health::Clock::now(&time).duration_since(begun);
        let late = found.saturating_sub(Duration::from_secs(failing_from));
        assert!(
            late <= Duration::from_secs(15),
            "{failing_from}: {late:?}: {complaint}"
        );
    }
}

#[tokio::test]
async fn who_is_not_ready_any_more_is_noticed_at_once() {
    let time = Time::new();
    let mut app = App::new(&time);
    app.ready = Box::new(|age| said(if age.as_secs() < 10 { 200 } else { 503 }, None, &[]));
    let (_, asker) = app.asker();
    let begun = asker.now();
    let complaint = soak(&asker, 60).await.unwrap_err();
    assert_eq!(complaint, "in its slot: the ready path answers HTTP 503");
    assert!(asker.now().duration_since(begun) <= Duration::from_secs(13));
}

#[tokio::test]
async fn without_a_ready_path_a_bad_verdict_is_noticed_within_the_soak() {
    let mut app = App::new(&Time::new());
    app.has_ready_path = false;
    app.health = Box::new(|age| match age.as_secs() {
        0..12 => said(200, Some("healthy"), &[]),
        _ => said(503, Some("unhealthy"), &[("database", "fail")]),
    });
    let (watched, app) = deploy(app, 30).await;
    let complaint = watched.unwrap_err();
    assert!(complaint.contains("database: fail"), "{complaint}");
    assert!(app.most_in_a_minute() <= 20);
}

#[tokio::test]
async fn being_asked_to_come_later_is_never_bad() {
    let mut app = App::new(&Time::new());
    // Visitors have used up everything, the agent's own questions included.
    app.visitors = 1_000;
    let (_, asker) = app.asker();
    assert!(soak(&asker, 60).await.is_ok());

    let mut app = App::new(&Time::new());
    app.ready = Box::new(|_| said(429, None, &[]));
    let (_, asker) = app.asker();
    assert!(soak(&asker, 60).await.is_ok());
}

#[tokio::test]
async fn a_version_that_grows_more_degraded_than_the_one_before_is_taken_back() {
    let mut app = App::new(&Time::new());
    app.health = Box::new(|age| match age.as_secs() {
        0..5 => said(200, Some("healthy"), &[("job_queue", "pass")]),
        _ => said(200, Some("degraded"), &[("job_queue", "warn")]),
    });
    let acceptance = Acceptance {
        accept: vec![Acceptable::Healthy, Acceptable::Degraded],
        ..Acceptance::default()
    };
    let live = Verdict {
        status: Some("healthy".into()),
        checks: [("job_queue".to_owned(), "pass".to_owned())].into(),
    };
    let (_, asker) = app.asker();
    let soak = Soak {
        asker: &asker,
        strategy: &Strategy::default(),
        slot: Slot::Green,
        span: Duration::from_secs(30),
        judge: &|answer| answer.is_fit(&acceptance, Some(&live)),
    };
    let complaint = soak.watch().await.unwrap_err();
    assert!(
        complaint.contains("the check `job_queue` says warn"),
        "{complaint}"
    );
}

/// `status --watch` beside everything else.
#[tokio::test]
async fn who_only_looks_leaves_the_questions_to_deployments() {
    for has_ready_path in [true, false] {
        let mut app = App::new(&Time::new());
        app.has_ready_path = has_ready_path;
        let (app, asker) = app.asker();
        for _ in 0..300 {
            for place in [Place::Slot(Slot::Green), Place::Public] {
                assert!(asker.glance(place).await.unwrap().is_healthy());
            }
            assert!(asker.left() >= 12, "{}", asker.left());
            asker.sleep(Duration::from_secs(1)).await;
        }
        assert!(app.most_in_a_minute() <= 8, "{}", app.most_in_a_minute());
    }
}

/// What a deployment asked counts on: the process that it asked serves.
#[tokio::test]
async fn who_looks_right_after_a_deployment_asks_no_more_than_is_left() {
    let (app, asker) = App::new(&Time::new()).asker();
    asker.begin_anew();
    for place in [Place::Slot(Slot::Green), Place::Public].repeat(10) {
        asker.verdict(place).await.unwrap();
    }
    asker.settle(true);
    for _ in 0..60 {
        for place in [Place::Slot(Slot::Green), Place::Public] {
            assert!(asker.glance(place).await.unwrap().is_healthy());
        }
        asker.sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(app.most_in_a_minute(), 20);
}

/// As after a start of the agent in the middle of a deployment: nobody knows a verdict of the slot.
#[tokio::test]
async fn who_looks_where_nothing_is_known_asks_once_even_if_little_is_left() {
    let (app, asker) = App::new(&Time::new()).asker();
    for _ in 0..15 {
        asker.verdict(Place::Public).await.unwrap();
    }
    let slot = Place::Slot(Slot::Green);
    for _ in 0..10 {
        let told = asker.glance(slot).await.unwrap();
        assert_eq!(told.status.as_deref(), Some("healthy"));
    }
    assert_eq!((asker.left(), app.most_in_a_minute()), (4, 16));
}

#[tokio::test]
async fn a_new_process_counts_for_itself_unless_the_one_before_serves_again() {
    let ask = async |asker: &Asker, times: usize| {
        for _ in 0..times {
            asker.verdict(Place::Public).await.unwrap();
        }
    };
    for (it_stays, left) in [(true, 15), (false, 0)] {
        let (_, asker) = App::new(&Time::new()).asker();
        ask(&asker, 18).await;
        let begun = asker.now();
        asker.begin_anew();
        ask(&asker, 5).await;
        assert_eq!(asker.now(), begun, "nobody waits");
        asker.settle(it_stays);
        assert_eq!(asker.left(), left);
    }
}
