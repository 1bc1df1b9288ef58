mod http;

use std::time::Duration;

use togather_model::{Acceptable, Acceptance, Slot};

use super::{Answer, HealthError, Http, HttpSettings, Requests, retry_after};

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
fn an_answer_that_says_later_is_neither_good_nor_bad() {
    let later = |http_status, retry_after| Answer {
        retry_after,
        ..answer(http_status, "")
    };
    let minute = Some(Duration::from_secs(60));
    assert!(later(429, None).is_later());
    assert!(later(429, minute).is_later());
    assert!(later(503, minute).is_later());
    assert!(!later(503, None).is_later());
    assert_eq!(later(429, minute).verdict(), None);
    let why = later(429, minute).why();
    assert!(
        why.contains("asked too often: to be asked again in 60 s"),
        "{why}"
    );
}

#[test]
fn the_wait_may_be_seconds_or_a_date() {
    assert_eq!(retry_after("60"), Some(Duration::from_secs(60)));
    assert_eq!(
        retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
        Some(Duration::ZERO),
        "that is over"
    );
    assert_eq!(retry_after("soon"), None);
}

/// The Togather server's answers when River's table is missing, and when its database is away.
#[test]
fn a_degraded_answer_is_fit_where_that_is_accepted() {
    let degraded = answer(
        200,
        r#"{"status":"degraded","checks":{"database":{"status":"pass","message":"ok"},
            "job_queue":{"status":"warn","message":"no table","details":{"note":"x"}}}}"#,
    );
    let strict = Acceptance::default();
    let lenient = Acceptance {
        accept: vec![Acceptable::Healthy, Acceptable::Degraded],
        ..Acceptance::default()
    };
    let why = degraded.is_fit(&strict, None).unwrap_err();
    assert!(why.contains("job_queue: warn no table"), "{why}");
    assert_eq!(degraded.is_fit(&lenient, None), Ok(()));
    let live = answer(
        200,
        r#"{"status":"healthy","checks":{"job_queue":{"status":"pass"}}}"#,
    );
    let why = degraded.is_fit(&lenient, live.verdict().as_ref());
    assert!(
        why.unwrap_err()
            .contains("the check `job_queue` says warn; in the version it replaces it says pass")
    );
    let away = answer(
        503,
        r#"{"status":"unhealthy","checks":{"database":{"status":"fail"}}}"#,
    );
    assert!(away.is_fit(&lenient, away.verdict().as_ref()).is_err());
}

fn requests(series: &str, total: u64, failed: u64) -> Requests {
    Requests {
        series: series.into(),
        total,
        failed,
        ..Requests::default()
    }
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
    let read = |metrics| Requests::read(metrics, None, &[]);
    assert_eq!(
        read(metrics),
        Some(requests("http_requests_total", 1010, 9))
    );
    let bare = read("http_requests_total 5\n");
    assert_eq!(bare, Some(requests("http_requests_total", 5, 0)));
    assert_eq!(read("other_total{status=\"500\"} 9\n"), None);
    assert_eq!(read("xhttp_requests_total{status=\"500\"} 9\n"), None);
}

#[test]
fn the_togather_servers_requests_are_found_without_the_agents_own() {
    let metrics = "togather_http_request_duration_seconds_count{method=\"GET\",path=\"/health\"} 120\n\
                   togather_http_requests_in_flight 1\n\
                   togather_http_requests_total{method=\"GET\",path=\"/api/v1/places\",status=\"200\"} 49\n\
                   togather_http_requests_total{method=\"GET\",path=\"/api/v1/places\",status=\"500\"} 3\n\
                   togather_http_requests_total{method=\"GET\",path=\"/api/v1/places\",status=\"429\"} 11\n\
                   togather_http_requests_total{method=\"GET\",path=\"/api/v1/events\",status=\"0\"} 2\n\
                   togather_http_requests_total{method=\"GET\",path=\"/readyz\",status=\"503\"} 30\n\
                   togather_http_requests_total{method=\"GET\",path=\"/health\",status=\"200\"} 120\n\
                   togather_outgoing_http_requests_total{code=\"500\"} 9\n";
    let found = Requests::read(metrics, None, &["/health", "/readyz", "/metrics"]).unwrap();
    let expected = Requests {
        limited: 11,
        unwritten: 2,
        ..requests("togather_http_requests_total", 52, 3)
    };
    assert_eq!(found, expected);
    let named = Requests::read(metrics, Some("togather_outgoing_http_requests_total"), &[]);
    assert_eq!(named.unwrap().failed, 9);
    assert_eq!(Requests::read(metrics, Some("no_such"), &[]), None);
}

#[test]
fn an_address_without_a_host_is_refused() {
    let made = Http::new(HttpSettings {
        public_url: "unix:/run/x".parse().unwrap(),
        health_path: "/health".to_owned(),
        ready_path: None,
        metrics_path: None,
        requests_metric: None,
        timeout: Duration::from_secs(5),
    });
    assert!(matches!(made, Err(HealthError::Address(_))));
}
