//! Requests counted and timed, in Prometheus' text format.
//!
//! `path` is the route's pattern, never what a client sent, so the number of series is bounded.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the histogram's buckets in seconds, written as they are shown.
const BUCKETS: [(f64, &str); 10] = [
    (0.001, "0.001"),
    (0.0025, "0.0025"),
    (0.005, "0.005"),
    (0.01, "0.01"),
    (0.025, "0.025"),
    (0.05, "0.05"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (1.0, "1"),
    (5.0, "5"),
];

/// What this process counted since it started.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    series: Mutex<BTreeMap<(&'static str, String), Series>>,
    under_way: AtomicUsize,
}

/// A request that has no answer yet; one whose client gives up stops being that too.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Series {
    by_status: BTreeMap<u16, u64>,
    /// Requests by the first bucket they fit in; those slower than all are only in `by_status`.
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
}

impl Metrics {
    /// Counts a request as under way for as long as this lives.
    pub(crate) fn under_way(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.under_way)
    }

    /// Counts one answered request.
    pub(crate) fn record(&self, method: &str, path: &str, status: u16, took: Duration) {
        let took = took.as_secs_f64();
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = all.entry((known(method), path.to_owned())).or_default();
        *series.by_status.entry(status).or_default() += 1;
        series.seconds += took;
        if let Some(fits) = BUCKETS.iter().position(|(bound, _)| took <= *bound) {
            series.buckets[fits] += 1;
        }
    }

    /// All of it as text.
    pub(crate) fn text(&self) -> String {
        let all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from(
            "# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n",
        );
        for ((method, path), series) in all.iter() {
            for (status, count) in &series.by_status {
                line(
                    &mut text,
                    format_args!(
                        "http_requests_total{{method=\"{method}\",path=\"{path}\",status=\"{status}\"}} {count}"
                    ),
                );
            }
        }
        text.push_str(
            "# HELP http_request_duration_seconds Time from a request to the head of its answer.\n\
             # TYPE http_request_duration_seconds histogram\n",
        );
        for ((method, path), series) in all.iter() {
            histogram(
                &mut text,
                &format!("method=\"{method}\",path=\"{path}\""),
                series,
            );
        }
        line(
            &mut text,
            format_args!(
                "# HELP http_requests_in_flight Requests under way, this one among them.\n\
                 # TYPE http_requests_in_flight gauge\n\
                 http_requests_in_flight {}",
                self.under_way.load(Ordering::Relaxed)
            ),
        );
        text
    }
}

fn histogram(text: &mut String, labels: &str, series: &Series) {
    const NAME: &str = "http_request_duration_seconds";
    let mut within = 0;
    for ((_, bound), count) in BUCKETS.iter().zip(series.buckets) {
        within += count;
        line(
            text,
            format_args!("{NAME}_bucket{{{labels},le=\"{bound}\"}} {within}"),
        );
    }
    let count: u64 = series.by_status.values().sum();
    line(
        text,
        format_args!("{NAME}_bucket{{{labels},le=\"+Inf\"}} {count}"),
    );
    line(
        text,
        format_args!("{NAME}_sum{{{labels}}} {}", series.seconds),
    );
    line(text, format_args!("{NAME}_count{{{labels}}} {count}"));
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

/// A client may invent methods; all of those are one.
fn known(method: &str) -> &'static str {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let known = METHODS.into_iter().find(|known| *known == method);
    known.unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_status_and_timed_by_route() {
        let metrics = Metrics::default();
        for (status, millis) in [(200, 2), (200, 30), (503, 9000)] {
            metrics.record("GET", "/health", status, Duration::from_millis(millis));
        }
        metrics.record("BREW", "/health", 405, Duration::ZERO);
        let text = metrics.text();
        for line in [
            r#"http_requests_total{method="GET",path="/health",status="200"} 2"#,
            r#"http_requests_total{method="GET",path="/health",status="503"} 1"#,
            r#"http_requests_total{method="other",path="/health",status="405"} 1"#,
            r#"http_request_duration_seconds_bucket{method="GET",path="/health",le="0.001"} 0"#,
            r#"http_request_duration_seconds_bucket{method="GET",path="/health",le="0.0025"} 1"#,
            r#"http_request_duration_seconds_bucket{method="GET",path="/health",le="5"} 2"#,
            r#"http_request_duration_seconds_bucket{method="GET",path="/health",le="+Inf"} 3"#,
            r#"http_request_duration_seconds_count{method="GET",path="/health"} 3"#,
            r#"http_request_duration_seconds_sum{method="GET",path="/health"} 9.032"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn a_request_is_under_way_until_it_is_dropped() {
        let metrics = Metrics::default();
        let one = metrics.under_way();
        let in_flight = |count| metrics.text().ends_with(&format!("in_flight {count}\n"));
        assert!(in_flight(1));
        drop(one);
        assert!(in_flight(0));
    }
}
