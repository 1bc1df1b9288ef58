use super::*;

fn text(metrics: &Metrics) -> String {
    let build = Build {
        version: "1.2.3".to_owned(),
        git_commit: "0123abc".to_owned(),
        date: "2026-01-01T00:00:00Z".to_owned(),
    };
    metrics.text(&Gauges {
        build: &build,
        slot: "green",
        job_slot: "blue",
        connections_open: 4,
        connections_idle: 1,
        connections_most: 5,
    })
}

fn assert_has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|found| found == *line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn requests_are_counted_by_status_and_timed_by_route() {
    let metrics = Metrics::default();
    for (status, millis) in [(200, 2), (200, 30), (503, 19_000), (0, 0), (429, 0)] {
        metrics.record("GET", "/health", status, Duration::from_millis(millis));
    }
    metrics.record("BREW", "/health", 405, Duration::ZERO);
    assert_has(
        &text(&metrics),
        &[
            r#"togather_http_requests_total{method="GET",path="/health",status="0"} 1"#,
            r#"togather_http_requests_total{method="GET",path="/health",status="200"} 2"#,
            r#"togather_http_requests_total{method="GET",path="/health",status="429"} 1"#,
            r#"togather_http_requests_total{method="GET",path="/health",status="503"} 1"#,
            r#"togather_http_requests_total{method="other",path="/health",status="405"} 1"#,
            r#"togather_http_request_duration_seconds_bucket{method="GET",path="/health",le="0.001"} 2"#,
            r#"togather_http_request_duration_seconds_bucket{method="GET",path="/health",le="0.005"} 3"#,
            r#"togather_http_request_duration_seconds_bucket{method="GET",path="/health",le="10"} 4"#,
            r#"togather_http_request_duration_seconds_bucket{method="GET",path="/health",le="+Inf"} 5"#,
            r#"togather_http_request_duration_seconds_count{method="GET",path="/health"} 5"#,
            r#"togather_http_request_duration_seconds_sum{method="GET",path="/health"} 19.032"#,
        ],
    );
}

#[test]
fn the_build_and_the_connections_are_told() {
    let build = r#"active_slot="unknown",build_date="2026-01-01T00:00:00Z",commit="0123abc",version="1.2.3""#;
    assert_has(
        &text(&Metrics::default()),
        &[
            "togather_db_connections_open 4",
            "togather_db_connections_in_use 3",
            "togather_db_connections_idle 1",
            "togather_db_connections_max_open 5",
            r#"togather_river_jobs_in_flight{kind="sample",slot="blue"} 0"#,
            &format!("togather_app_info{{{build}}} 1"),
        ],
    );
}

#[test]
fn health_is_told_once_it_was_asked_for() {
    let metrics = Metrics::default();
    assert!(!text(&metrics).contains("togather_health_status"));
    metrics.set_health(Status::Degraded, &BTreeMap::new());
    assert_has(
        &text(&metrics),
        &[r#"togather_health_status{slot="green"} 1"#],
    );
}

#[test]
fn a_request_is_under_way_until_it_is_dropped() {
    let metrics = Metrics::default();
    let one = metrics.under_way();
    assert_has(&text(&metrics), &["togather_http_requests_in_flight 1"]);
    drop(one);
    assert_has(&text(&metrics), &["togather_http_requests_in_flight 0"]);
}
