//! What became of each request, and what that amounts to over a window of time.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

/// How many failures are told in full.
const TOLD: usize = 5;

/// The kinds of request that a visitor and a maintainer of a node make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Lists events.
    Read,
    /// Makes one.
    Write,
    /// A request that the server takes its time for, so that some are always under way.
    Slow,
}

impl Kind {
    /// The mix: of 50 requests, 43 read, 5 write and 2 are slow ones.
    pub(crate) const fn of(number: u32) -> Self {
        if number % 25 == 7 {
            Self::Slow
        } else if number % 10 == 3 {
            Self::Write
        } else {
            Self::Read
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "GET /api/v1/events",
            Self::Write => "POST /api/v1/events",
            Self::Slow => "GET /slow",
        })
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    /// When it was meant to leave.
    pub(crate) at: SystemTime,
    /// From then to the end of its answer.
    pub(crate) took: Duration,
    /// Its kept connection was closed before the request was taken, so it was sent on a new one.
    pub(crate) resent: bool,
    /// The status and slot of a good answer, or why there was none.
    pub(crate) result: Result<Answer, String>,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What `X-Togather-Slot` says.
    pub(crate) slot: Option<String>,
}

impl Sample {
    pub(crate) const fn failed(kind: Kind, at: SystemTime, why: String) -> Self {
        Self {
            kind,
            at,
            took: Duration::ZERO,
            resent: false,
            result: Err(why),
        }
    }
}

/// The samples of a load under way.
#[derive(Debug, Default)]
pub(crate) struct Samples(Mutex<Vec<Sample>>);

impl Samples {
    pub(crate) fn add(&self, sample: Sample) {
        self.lock().push(sample);
    }

    /// How many there are, and how many of them failed.
    pub(crate) fn count(&self) -> (usize, usize) {
        let samples = self.lock();
        let failed = samples.iter().filter(|sample| sample.result.is_err());
        (samples.len(), failed.count())
    }

    pub(crate) fn take(&self) -> Vec<Sample> {
        let mut samples = std::mem::take(&mut *self.lock());
        samples.sort_by_key(|sample| sample.at);
        samples
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Sample>> {
        // A push that panicked half-way left the samples before it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
}

impl Window {
    /// Whether the request was under way at any moment of the window.
    pub(crate) fn touches(&self, sample: &Sample) -> bool {
        sample.at < self.until && self.from <= sample.at + sample.took
    }
}

/// Everything that was sent to one target, by the time it was meant to leave.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) target: String,
    pub(crate) samples: Vec<Sample>,
}

impl Trace {
    /// The whole load.
    ///
    /// # Errors
    /// A latency is beyond what the histogram holds.
    pub(crate) fn summary(&self) -> Result<Summary> {
        self.summary_of(|_| true)
    }

    /// The requests that were under way in any of these windows.
    ///
    /// # Errors
    /// As [`Trace::summary`].
    pub(crate) fn during(&self, windows: &[Window]) -> Result<Summary> {
        self.summary_of(|sample| windows.iter().any(|window| window.touches(sample)))
    }

    fn summary_of(&self, wanted: impl Fn(&Sample) -> bool) -> Result<Summary> {
        summarise(self.samples.iter().filter(|sample| wanted(sample)))
    }
}

/// Some requests, counted. Latencies in milliseconds, of all but the slow requests, which take as
/// long as they were asked to; `None` where there was none to measure.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    /// Sent a second time because the proxy had just closed the kept connection.
    pub(crate) resent: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    /// How many good answers came from which slot.
    pub(crate) slots: BTreeMap<String, u64>,
    /// The first failures, in words.
    pub(crate) reasons: Vec<String>,
}

/// Counts samples, of one trace or of several.
///
/// # Errors
/// A latency is beyond what the histogram holds.
pub(crate) fn summarise<'a>(samples: impl Iterator<Item = &'a Sample>) -> Result<Summary> {
    let mut summary = Summary::default();
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)
        .context("cannot make a histogram of latencies")?;
    for sample in samples {
        summary.sent += 1;
        summary.resent += u64::from(sample.resent);
        match &sample.result {
            Ok(answer) => {
                let slot = answer.slot.as_deref().unwrap_or("none");
                *summary.slots.entry(slot.to_owned()).or_default() += 1;
            }
            Err(why) => {
                summary.failed += 1;
                if summary.reasons.len() < TOLD {
                    let at = jiff::Timestamp::try_from(sample.at)?;
                    summary
                        .reasons
                        .push(format!("{} at {at:.3}: {why}", sample.kind));
                }
            }
        }
        if sample.kind != Kind::Slow {
            let microseconds = u64::try_from(sample.took.as_micros()).unwrap_or(u64::MAX);
            latencies.saturating_record(microseconds);
        }
    }
    if !latencies.is_empty() {
        #[allow(
            clippy::cast_precision_loss,
            reason = "microseconds of minutes fit a double exactly"
        )]
        let milliseconds = |microseconds: u64| Some(microseconds as f64 / 1000.0);
        summary.p50_ms = milliseconds(latencies.value_at_quantile(0.5));
        summary.p99_ms = milliseconds(latencies.value_at_quantile(0.99));
        summary.max_ms = milliseconds(latencies.max());
    }
    Ok(summary)
}
