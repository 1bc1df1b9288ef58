//! Whether the last snapshot that was found whole is too old. Pure.

use std::time::Duration;

use togather_model::Timestamp;

use crate::snapshots::Manifest;

/// Why it is too old; empty: it is not. A node that has none yet gets as long as any other.
pub(super) fn find(
    newest_first: &[Manifest],
    node_since: Timestamp,
    limit: Duration,
    now: Timestamp,
) -> String {
    let verified = newest_first.iter().find(|s| s.verified_at.is_some());
    let since = verified.map_or(node_since, |snapshot| snapshot.taken_at);
    let age = since.duration_until(now);
    if age.is_negative() || age.unsigned_abs() <= limit {
        return String::new();
    }
    let hours = |length: Duration| length.as_secs() / 3600;
    let (age, limit) = (hours(age.unsigned_abs()), hours(limit));
    match verified {
        Some(snapshot) => format!(
            "the last verified snapshot is of {:.0}, {age} hours ago; it should be at most {limit}",
            snapshot.taken_at
        ),
        None => format!("no snapshot was verified in {age} hours; it should be at most {limit}"),
    }
}
