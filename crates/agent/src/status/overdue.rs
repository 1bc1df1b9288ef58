//! Whether the last snapshot that was found whole is too old. Pure.

use std::time::Duration;

use togather_model::Timestamp;

/// Why the one that was taken then is too old; empty: it is not. A node that has none yet gets as long
/// as any other.
pub(crate) fn find(
    verified: Option<Timestamp>,
    node_since: Timestamp,
    limit: Duration,
    now: Timestamp,
) -> String {
    let since = verified.unwrap_or(node_since);
    let age = since.duration_until(now);
    if age.is_negative() || age.unsigned_abs() <= limit {
        return String::new();
    }
    let hours = |length: Duration| length.as_secs() / 3600;
    let (age, limit) = (hours(age.unsigned_abs()), hours(limit));
    match verified {
        Some(taken_at) => format!(
            "the last verified snapshot is of {taken_at:.0}, {age} hours ago; it should be at most {limit}"
        ),
        None => format!("no snapshot was verified in {age} hours; it should be at most {limit}"),
    }
}
