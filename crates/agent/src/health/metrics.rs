//! The one metric that a soak watches: requests by status, in Prometheus' text format.

/// The counter's name.
const COUNTER: &str = "http_requests_total";

/// Requests an app has counted since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// All.
    pub total: u64,
    /// Those answered with a 5xx status.
    pub failed: u64,
}

impl Requests {
    /// Sums the counter over all its labels; `None` if it is not among these metrics.
    pub(super) fn read(metrics: &str) -> Option<Self> {
        metrics
            .lines()
            .filter_map(sample)
            .fold(None, |sum, (failed, count)| {
                let sum = sum.unwrap_or(Self {
                    total: 0,
                    failed: 0,
                });
                Some(Self {
                    total: sum.total.saturating_add(count),
                    failed: sum.failed.saturating_add(if failed { count } else { 0 }),
                })
            })
    }
}

/// Whether this sample counts 5xx answers, and how many.
fn sample(line: &str) -> Option<(bool, u64)> {
    let rest = line.strip_prefix(COUNTER)?;
    let (labels, value) = match rest.strip_prefix('{') {
        // A label's value may hold a brace, the number after the labels cannot.
        Some(labelled) => labelled.rsplit_once('}')?,
        None => ("", rest.strip_prefix(' ')?),
    };
    let value: f64 = value.split_whitespace().next()?.parse().ok()?;
    // Quotes inside a label's value are escaped, so this can only be the label itself.
    let failed = labels
        .match_indices("status=\"5")
        .any(|(at, _)| at == 0 || labels[..at].ends_with([',', ' ']));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count; `as` saturates"
    )]
    Some((failed, value as u64))
}
