//! Requests counted and timed, in Prometheus' text format, under the Togather server's names.
//!
//! `path` is the route's pattern, never what a client sent, so the number of series is bounded.
//! `status` is 0 where nothing was written into the answer; those turned away with 429 are counted.

mod text;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    health::{Check, Status},
    settings::Build,
};

/// Upper bounds of the histogram's buckets in seconds, written as they are shown.
const BUCKETS: [(f64, &str); 12] = [
    (0.001, "0.001"),
    (0.005, "0.005"),
    (0.01, "0.01"),
    (0.025, "0.025"),
    (0.05, "0.05"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1"),
    (2.5, "2.5"),
    (5.0, "5"),
    (10.0, "10"),
];

/// What this process counted since it started.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    series: Mutex<All>,
    under_way: AtomicUsize,
    health: Mutex<Option<LastHealth>>,
}

/// Series by method and route.
type All = BTreeMap<(&'static str, String), Series>;

/// What the last health answer came to: 0 is bad, 1 warns, 2 is good.
#[derive(Debug)]
struct LastHealth {
    status: u8,
    checks: BTreeMap<&'static str, u8>,
}

/// What is not counted, but looked at when it is asked for.
#[derive(Debug)]
pub(crate) struct Gauges<'a> {
    pub(crate) build: &'a Build,
    pub(crate) slot: &'a str,
    /// What labels the series of jobs.
    pub(crate) job_slot: &'a str,
    pub(crate) connections_open: usize,
    pub(crate) connections_idle: usize,
    pub(crate) connections_most: u32,
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

    /// Keeps what the last health answer came to.
    pub(crate) fn set_health(&self, status: Status, checks: &BTreeMap<&'static str, Check>) {
        let health = LastHealth {
            status: status.figure(),
            checks: checks
                .iter()
                .map(|(name, check)| (*name, check.figure()))
                .collect(),
        };
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Some(health);
    }

    /// All of it as text.
    pub(crate) fn text(&self, gauges: &Gauges<'_>) -> String {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = self.under_way.load(Ordering::Relaxed);
        text::write(&series, health.as_ref(), under_way, gauges)
    }
}

/// A client may invent methods; all of those are one.
fn known(method: &str) -> &'static str {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let known = METHODS.into_iter().find(|known| *known == method);
    known.unwrap_or("other")
}

#[cfg(test)]
mod tests;
