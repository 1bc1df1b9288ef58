use std::sync::{Arc, Mutex};

use super::*;
use crate::health::fake::{App, Time, page as shown};

const SLOT: Place = Place::Slot(Slot::Green);

struct Seen {
    came: Result<String, Vec<String>>,
    said: Vec<String>,
    app: Arc<App>,
    took: Duration,
}

async fn expect(app: App, place: Place, paths: &[&str]) -> Seen {
    let (app, asker) = app.asker();
    let pages: Vec<Page> = paths
        .iter()
        .map(|path| Page {
            path: (*path).into(),
            status: 200,
            contains: Some("page".into()),
        })
        .collect();
    let said = Mutex::new(Vec::new());
    let begun = asker.now();
    let expectation = Expectation {
        asker: &asker,
        strategy: &Strategy::default(),
        place,
        containers: None,
        slot: Slot::Green,
        pages: &pages,
        say: &|message| said.lock().unwrap().push(message),
    };
    Seen {
        came: expectation.carry_out().await,
        said: said.into_inner().unwrap(),
        app,
        took: asker.now().duration_since(begun),
    }
}

#[tokio::test]
async fn each_page_is_asked_once_in_each_place() {
    for place in [SLOT, Place::Public] {
        let seen = expect(App::new(&Time::new()), place, &["/a", "/b"]).await;
        assert_eq!(seen.came.unwrap(), "2 of 2 pages as expected");
        assert_eq!((seen.app.asked(), seen.took), (2, Duration::ZERO));
    }
}

#[tokio::test]
async fn everything_that_is_missing_is_told_and_not_what_came_instead() {
    let mut app = App::new(&Time::new());
    app.page = Box::new(|_, _, path| match path {
        "/a" => shown(404, "hunter2"),
        "/b" => shown(200, "hunter2"),
        _ => shown(200, "a page"),
    });
    let seen = expect(app, SLOT, &["/a", "/b", "/c"]).await;
    assert_eq!(
        seen.came.unwrap_err(),
        [
            "`/a`: expected HTTP 200 with `page` in it, found HTTP 404",
            "`/b`: expected HTTP 200 with `page` in it, found HTTP 200 without that word in 7 bytes",
        ]
    );
    assert_eq!(seen.app.asked(), 3);
}

#[tokio::test]
async fn asked_too_often_means_later_and_is_told_as_waiting() {
    let mut app = App::new(&Time::new());
    app.page = Box::new(|age, _, _| match age.as_secs() {
        0..30 => Received {
            retry_after: Some(Duration::from_secs(30)),
            ..shown(429, "")
        },
        _ => shown(200, "a page"),
    });
    let seen = expect(app, SLOT, &["/a"]).await;
    assert_eq!(seen.came.unwrap(), "1 of 1 pages as expected");
    assert_eq!(
        seen.said,
        ["`/a` is asked for again: to be asked for later (HTTP 429), in 30 s"]
    );
    assert_eq!(seen.app.asked(), 2);
}

#[tokio::test]
async fn visitors_that_use_up_the_limit_leave_a_doubt_and_no_failure() {
    let mut app = App::new(&Time::new());
    app.visitors = 1_000;
    let seen = expect(app, Place::Public, &["/a"]).await;
    let told = seen.came.unwrap();
    assert!(
        told.starts_with("0 of 1 pages as expected; `/a` could not be asked for: HTTP 429"),
        "{told}"
    );
}

#[tokio::test]
async fn nobody_waits_for_ever_for_a_slot_that_only_ever_says_later() {
    let mut app = App::new(&Time::new());
    app.visitors = 1_000;
    let seen = expect(app, SLOT, &["/a"]).await;
    let told = seen.came.unwrap_err().remove(0);
    assert!(
        told.contains("found none within 60 s: to be asked for later (HTTP 429)"),
        "{told}"
    );
    assert!(seen.took <= Duration::from_secs(180), "{:?}", seen.took);
}

#[tokio::test]
async fn a_connection_that_is_refused_is_no_answer_yet() {
    let mut app = App::new(&Time::new());
    app.listens_after = Duration::from_secs(3);
    let seen = expect(app, SLOT, &["/a"]).await;
    assert!(seen.came.is_ok(), "{:?}", seen.came);

    let mut app = App::new(&Time::new());
    app.listens_after = Duration::from_secs(1_000);
    let told = expect(app, SLOT, &["/a"]).await.came.unwrap_err();
    assert!(told[0].contains("connection refused"), "{told:?}");
}

#[tokio::test]
async fn the_old_version_may_answer_once_more_through_the_proxy() {
    let old = |age: Duration, from: u64| Received {
        slot: Some(if age.as_secs() < from {
            Slot::Blue
        } else {
            Slot::Green
        }),
        ..shown(200, "a page")
    };
    for (from, is_well) in [(2, true), (1_000, false)] {
        let mut app = App::new(&Time::new());
        app.page = Box::new(move |age, _, _| old(age, from));
        let came = expect(app, Place::Public, &["/a"]).await.came;
        assert_eq!(came.is_ok(), is_well, "{came:?}");
        let told = came.err().unwrap_or_default().concat();
        assert_eq!(told.contains("the blue slot answered"), !is_well, "{told}");
    }
}
