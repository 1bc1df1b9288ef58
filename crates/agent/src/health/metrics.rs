//! The one series that a soak watches: requests by status, in Prometheus' text format.

use std::collections::BTreeMap;

use togather_model::Series;

/// What the counter is called; apps put a prefix of their own before it (`togather_`).
const COUNTER: &str = "http_requests_total";

/// The labels that hold the HTTP status: the Togather server's, and what others call it.
const STATUS: [&str; 2] = ["status", "code"];

/// The label that holds the path.
const PATH: &str = "path";

/// What an app's metrics say of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// So many.
    Requests(Requests),
    /// They have no such series; the one that was wanted, if one was named.
    NoSeries(Option<String>),
    /// There are no metrics: this HTTP status came.
    NoMetrics(u16),
    /// They were asked for too soon.
    Later,
    /// Nobody wants them watched (`app.metrics_path: null`).
    Unwanted,
}

impl Counted {
    /// The series they come from.
    pub(super) fn series(&self) -> Series {
        match self {
            Self::Requests(requests) => Series::Named(requests.series.clone()),
            Self::NoSeries(Some(wanted)) => Series::Missing(format!(
                "the live version's metrics have no series `{wanted}`"
            )),
            Self::NoSeries(None) => Series::Missing(format!(
                "the live version's metrics have no series whose name ends with `{COUNTER}`"
            )),
            Self::NoMetrics(status) => Series::Missing(format!(
                "the live version has no metrics at `app.metrics_path` (HTTP {status})"
            )),
            Self::Later => Series::Unknown,
            Self::Unwanted => Series::Unwanted,
        }
    }
}

/// Requests an app has counted since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    /// The series, for example `togather_http_requests_total`.
    pub series: String,
    /// Those that were answered; not those below.
    pub total: u64,
    /// Those answered with a 5xx status.
    pub failed: u64,
    /// Those turned away because their client asked too often (429). They say nothing about the app,
    /// and the more there are, the fewer of the others.
    pub limited: u64,
    /// Those for which a handler wrote nothing (status 0): the client went away, or got an empty 200.
    pub unwritten: u64,
}

impl Requests {
    /// Sums a series over its labels. `name` is the series; without it the one is taken whose name
    /// ends with `http_requests_total`, the shortest if there are several. Requests for the paths
    /// that the agent asks itself (`own`) are left out. `None`: there is no such series.
    pub(super) fn read(metrics: &str, name: Option<&str>, own: &[&str]) -> Option<Self> {
        let mut found: BTreeMap<&str, Self> = BTreeMap::new();
        let wanted = |series: &str| match name {
            Some(name) => series == name,
            None => is_counter(series),
        };
        for sample in metrics.lines().filter_map(Sample::read) {
            if wanted(sample.series) {
                let sum = found.entry(sample.series).or_default();
                if !own.iter().any(|path| sample.label(PATH) == Some(path)) {
                    sum.add(&sample);
                }
            }
        }
        let (series, sum) = found.into_iter().min_by_key(|(series, _)| series.len())?;
        Some(Self {
            series: series.to_owned(),
            ..sum
        })
    }

    fn add(&mut self, sample: &Sample<'_>) {
        let status = STATUS.iter().find_map(|label| sample.label(label));
        let of_kind = match status {
            Some("0") => &mut self.unwritten,
            Some("429") => &mut self.limited,
            Some(_) | None => {
                if status.is_some_and(|status| status.starts_with('5')) {
                    self.failed = self.failed.saturating_add(sample.count);
                }
                &mut self.total
            }
        };
        *of_kind = of_kind.saturating_add(sample.count);
    }

    /// What was counted since `before`; `None`: the app started anew since, or it is another series.
    pub(crate) fn since(&self, before: &Self) -> Option<Self> {
        (self.series == before.series).then_some(())?;
        Some(Self {
            series: self.series.clone(),
            total: self.total.checked_sub(before.total)?,
            failed: self.failed.checked_sub(before.failed)?,
            limited: self.limited.checked_sub(before.limited)?,
            unwritten: self.unwritten.checked_sub(before.unwritten)?,
        })
    }
}

fn is_counter(series: &str) -> bool {
    series
        .strip_suffix(COUNTER)
        .is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('_'))
}

/// One line of the metrics.
struct Sample<'a> {
    series: &'a str,
    labels: &'a str,
    count: u64,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (series, labels, value) = match line.split_once('{') {
            // A label's value may hold a brace, the number after the labels cannot.
            Some((series, rest)) => {
                let (labels, value) = rest.rsplit_once('}')?;
                (series, labels, value)
            }
            None => {
                let (series, value) = line.split_once(' ')?;
                (series, "", value)
            }
        };
        let value: f64 = value.split_whitespace().next()?.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count; `as` saturates"
        )]
        Some(Self {
            series: series.trim(),
            labels,
            count: value as u64,
        })
    }

    /// A label's value as it is written, escapes and all.
    fn label(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.labels;
        while let Some((label, quoted)) = rest.split_once("=\"") {
            let end = end_of_value(quoted)?;
            if label.trim_start_matches([',', ' ']) == name {
                return quoted.get(..end);
            }
            rest = quoted.get(end + 1..)?;
        }
        None
    }
}

/// Where the quote is that ends a label's value: the first that no backslash escapes.
fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}
