use std::time::Duration;

use super::{Answer, HealthError, Http, HttpSettings, Requests};
use togather_model::Slot;

fn answer(http_status: u16, body: &str) -> Answer {
    Answer::read(http_status, body.as_bytes(), Duration::ZERO)
}

#[test]
fn the_togather_servers_answer_is_read_whole() {
    let answer = answer(
        200,
        r#"{"status":"healthy","version":"1.4.0","git_commit":"0123456789abcdef","slot":"green",
            "checks":{"database":{"status":"pass","message":"ok","latency_ms":3,"details":{"a":1}},
                      "migrations":{"status":"fail","message":"dirty"}},"timestamp":"x"}"#,
    );
    assert!(answer.is_healthy());
    assert_eq!(answer.version.as_deref(), Some("1.4.0"));
    assert_eq!(answer.slot, Some(Slot::Green));
    let checks: Vec<_> = answer
        .checks
        .iter()
        .map(|c| (&*c.name, &*c.status, &*c.message))
        .collect();
    assert_eq!(
        checks,
        [("database", "pass", "ok"), ("migrations", "fail", "dirty")]
    );
}

#[test]
fn health_is_what_status_and_body_agree_on() {
    assert!(answer(200, "OK").is_healthy());
    assert!(answer(204, "").is_healthy());
    assert!(!answer(503, "OK").is_healthy());
    assert!(!answer(302, "").is_healthy());
    assert!(!answer(200, r#"{"status":"degraded"}"#).is_healthy());
    assert!(!answer(503, r#"{"status":"healthy"}"#).is_healthy());
}

#[test]
fn a_commit_may_be_shortened_but_not_be_another() {
    let full = "0123456789abcdef0123456789abcdef01234567";
    let says = |commit: &str| answer(200, &format!(r#"{{"git_commit":"{commit}"}}"#));
    assert!(says(full).is_commit(full));
    assert!(says("0123456").is_commit(full));
    assert!(!says("01234").is_commit(full));
    assert!(!says("f123456").is_commit(full));
    assert!(!says("unknown").is_commit(full));
    assert!(
        says("").is_commit(full),
        "an app that does not say is not checked"
    );
}

#[test]
fn requests_are_summed_by_status() {
    let metrics = "# HELP http_requests_total Requests.\n\
                   # TYPE http_requests_total counter\n\
                   http_requests_total{method=\"GET\",path=\"/a{id}\",status=\"200\"} 1e+03\n\
                   http_requests_total{status=\"503\",method=\"GET\"} 7\n\
                   http_requests_total{method=\"POST\", status=\"500\"} 2 1700000000000\n\
                   http_requests_total{path=\"status=\\\"5\",http_status=\"599\"} 1\n\
                   http_requests_total_seconds{status=\"500\"} 9\n";
    assert_eq!(
        Requests::read(metrics),
        Some(Requests {
            total: 1010,
            failed: 9
        })
    );
    assert_eq!(
        Requests::read("http_requests_total 5\n"),
        Some(Requests {
            total: 5,
            failed: 0
        })
    );
    assert_eq!(Requests::read("other_total{status=\"500\"} 9\n"), None);
}

#[test]
fn an_address_without_a_host_is_refused() {
    let made = Http::new(HttpSettings {
        public_url: "unix:/run/x".parse().unwrap(),
        health_path: "/health".to_owned(),
        metrics_path: None,
        timeout: Duration::from_secs(5),
    });
    assert!(matches!(made, Err(HealthError::Address(_))));
}
