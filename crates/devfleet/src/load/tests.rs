//! The load against small servers of its own, whose failures and delays are known.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::SystemTime,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

/// A server on a loopback port; `answer` gets the number of each request, from 0.
async fn server<F>(answer: impl Fn(u32) -> F + Clone + Send + Sync + 'static) -> Target
where
    F: Future<Output = u16> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU32::new(0));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (answer, count) = (answer.clone(), Arc::clone(&count));
            let service = service_fn(move |_: Request<Incoming>| {
                let status = answer(count.fetch_add(1, Relaxed));
                async move {
                    let response = Response::builder()
                        .status(status.await)
                        .header("X-Togather-Slot", "blue")
                        .body(Full::new(Bytes::from_static(b"words")))
                        .unwrap();
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Target::new("server", address).unwrap()
}

fn plan(target: Target, rate: u32, at_most: Duration) -> Plan {
    Plan {
        targets: vec![target],
        rate,
        at_most,
    }
}

async fn outcome(target: Target, rate: u32, at_most: Duration) -> Trace {
    let load = Load::start(&plan(target, rate, at_most)).unwrap();
    load.end().await.remove(0)
}

#[tokio::test]
async fn every_request_and_every_failure_is_counted() {
    let every_tenth_fails = |number| async move { if number % 10 == 9 { 502 } else { 200 } };
    let target = server(every_tenth_fails).await;
    let trace = outcome(target, 200, Duration::from_millis(500)).await;
    let summary = trace.summary().unwrap();
    assert_eq!((summary.sent, summary.failed), (100, 10));
    assert_eq!(summary.slots["blue"], 90);
    assert_eq!(summary.reasons.len(), 5, "the first few are told");
    assert!(
        summary.reasons[0].contains("502 Bad Gateway words"),
        "{:?}",
        summary.reasons
    );
}

#[tokio::test]
async fn a_server_that_stalls_is_charged_for_everybody_who_waited() {
    // One request at a time, and the first takes 300 ms: all others of that time wait for it.
    let turn = Arc::new(tokio::sync::Mutex::new(()));
    let target = server(move |number| {
        let turn = Arc::clone(&turn);
        async move {
            let _turn = turn.lock().await;
            if number == 0 {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            200
        }
    })
    .await;
    let trace = outcome(target, 100, Duration::from_millis(600)).await;
    let summary = trace.summary().unwrap();
    assert_eq!((summary.sent, summary.failed), (60, 0));
    assert!(summary.max_ms.unwrap() >= 300.0, "{summary:?}");
    // A closed loop would have sent one request in that time, and found one slow answer.
    let long = |sample: &&sample::Sample| sample.took > Duration::from_millis(100);
    let waited = trace.samples.iter().filter(long).count();
    assert!((15..=30).contains(&waited), "{waited} of 60 waited 100 ms");
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_every_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = Target::new("nobody", address).unwrap();
    let summary = outcome(target, 100, Duration::from_millis(100)).await;
    let summary = summary.summary().unwrap();
    assert_eq!((summary.sent, summary.failed), (10, 10));
    assert!(
        summary.reasons[0].contains("onnection refused"),
        "{:?}",
        summary.reasons
    );
}

#[tokio::test]
async fn a_kept_connection_that_closes_costs_a_reader_nothing_and_is_counted() {
    // Answers once on each connection and closes it without having said so.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
                // The next request arrives, and is never answered.
                let _ = stream.read(&mut request).await;
            });
        }
    });
    let target = Target::new("server", address).unwrap();
    let trace = outcome(target, 50, Duration::from_millis(400)).await;
    let summary = trace.summary().unwrap();
    assert_eq!((summary.sent, summary.failed), (20, 0), "{summary:?}");
    assert!(summary.resent > 0, "{summary:?}");
}

#[tokio::test]
async fn a_load_that_is_stopped_hands_back_what_it_has() {
    let target = server(|_| async { 200 }).await;
    let load = Load::start(&plan(target, 100, Duration::from_secs(60))).unwrap();
    while load.so_far().0 < 5 {
        tokio::task::yield_now().await;
    }
    let sent = load.stop().await.remove(0).samples.len();
    assert!((5..1000).contains(&sent), "{sent}");
}

#[test]
fn a_load_beyond_its_bounds_is_refused() {
    let target = Target::new("server", SocketAddr::from(([127, 0, 0, 1], 1))).unwrap();
    let check = |rate, at_most| plan(target.clone(), rate, at_most).check();
    assert!(check(50, Duration::from_secs(60)).is_ok());
    assert!(check(0, Duration::from_secs(60)).is_err());
    assert!(check(FASTEST + 1, Duration::from_secs(1)).is_err());
    assert!(check(1, LONGEST + Duration::from_secs(1)).is_err());
    assert!(check(FASTEST, LONGEST).is_err(), "too many altogether");
}

#[test]
fn a_window_has_what_was_under_way_in_it() {
    let second = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
    let sample = |at, took| Sample {
        took: Duration::from_secs(took),
        ..Sample::failed(Kind::Slow, second(at), String::new())
    };
    let window = Window {
        from: second(10),
        until: second(20),
    };
    assert!(window.touches(&sample(10, 0)));
    assert!(window.touches(&sample(5, 5)), "ends in it");
    assert!(window.touches(&sample(5, 60)), "spans it");
    assert!(!window.touches(&sample(5, 4)));
    assert!(!window.touches(&sample(20, 1)));
}
