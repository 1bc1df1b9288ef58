use super::*;
use crate::health::fake::{App, COMMIT, Time, said};

async fn prove(app: App, place: Place) -> (Result<String, String>, std::sync::Arc<App>) {
    let (app, asker) = app.asker();
    let strategy = Strategy::default();
    let proof = Proof {
        asker: &asker,
        strategy: &strategy,
        place,
        containers: None,
        slot: Slot::Green,
        git_commit: COMMIT,
        judge: &|answer| match answer.is_healthy() {
            true => Ok(()),
            false => Err(answer.why()),
        },
    };
    (proof.carry_out().await, app)
}

const SLOT: Place = Place::Slot(Slot::Green);

fn after(seconds: u64) -> impl Fn(Duration) -> bool {
    move |age| age >= Duration::from_secs(seconds)
}

#[tokio::test]
async fn an_app_that_takes_a_while_is_asked_for_three_verdicts_and_no_more() {
    let mut app = App::new(&Time::new());
    app.listens_after = Duration::from_secs(3);
    app.ready = Box::new(|age| said(if after(40)(age) { 200 } else { 503 }, None, &[]));
    let (proven, app) = prove(app, SLOT).await;
    assert_eq!(proven.unwrap(), "healthy 3 times in a row, asked 3 times");
    assert_eq!(app.asked(), 3);
}

#[tokio::test]
async fn without_a_ready_path_questions_grow_rare() {
    let mut app = App::new(&Time::new());
    app.has_ready_path = false;
    app.listens_after = Duration::from_secs(5);
    app.health = Box::new(|age| match after(50)(age) {
        true => said(200, Some("healthy"), &[]),
        false => said(503, Some("unhealthy"), &[]),
    });
    let (proven, app) = prove(app, SLOT).await;
    assert!(proven.is_ok(), "{proven:?}");
    assert!((6..=14).contains(&app.asked()), "{}", app.asked());
}

#[tokio::test]
async fn asked_too_often_means_later() {
    let mut app = App::new(&Time::new());
    let later = Answer {
        retry_after: Some(Duration::from_secs(60)),
        ..said(429, None, &[])
    };
    app.health = Box::new(move |age| match after(45)(age) {
        true => said(200, Some("healthy"), &[]),
        false => later.clone(),
    });
    let (proven, app) = prove(app, SLOT).await;
    assert_eq!(proven.unwrap(), "healthy 3 times in a row, asked 4 times");
    assert_eq!(app.asked(), 4);
}

/// Behind a proxy that the app does not trust, all visitors are one client.
#[tokio::test]
async fn visitors_that_use_up_the_limit_leave_a_doubt_and_no_failure() {
    for has_ready_path in [true, false] {
        let mut app = App::new(&Time::new());
        (app.has_ready_path, app.visitors) = (has_ready_path, 1_000);
        let (proven, app) = prove(app, Place::Public).await;
        assert!(proven.unwrap().contains("could not be asked for: HTTP 429"));
        assert_eq!(app.asked(), 1);
    }
}

#[tokio::test]
async fn a_page_that_is_not_there_is_not_readiness() {
    let mut app = App::new(&Time::new());
    app.ready = Box::new(|_| said(404, None, &[]));
    let (proven, app) = prove(app, SLOT).await;
    assert_eq!(
        proven.unwrap_err(),
        "not healthy within 60 s; the last answer: its ready path (`app.ready_path`) answers HTTP 404"
    );
    assert_eq!(app.asked(), 0);
}

#[tokio::test]
async fn a_process_that_lives_without_listening_is_told_as_such() {
    for has_ready_path in [true, false] {
        let mut app = App::new(&Time::new());
        app.has_ready_path = has_ready_path;
        app.listens_after = Duration::from_secs(1_000);
        let told = prove(app, SLOT).await.0.unwrap_err();
        assert!(
            told.contains("its process runs, but nothing answers on its port"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn another_commit_is_given_up_at_once() {
    let mut app = App::new(&Time::new());
    app.health = Box::new(|_| Answer {
        git_commit: Some("f".repeat(40)),
        ..said(200, Some("healthy"), &[])
    });
    let (proven, app) = prove(app, SLOT).await;
    assert!(proven.unwrap_err().contains("it answers as commit fff"));
    assert_eq!(app.asked(), 1);
}
