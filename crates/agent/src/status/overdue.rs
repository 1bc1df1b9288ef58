//! Whether the last snapshot that was found whole is too old. Pure.

use std::time::Duration;

use togather_model::Timestamp;

use crate::snapshots::Manifest;

/// So far ahead of ours another clock may be.
const SKEW: Duration = Duration::from_mins(5);

/// The newest of these that was found whole. What is dated in the future is of a clock that was
/// wrong, and says nothing about today.
pub(crate) fn last_verified(newest_first: &[Manifest], now: Timestamp) -> Option<&Manifest> {
    newest_first
        .iter()
        .find(|s| s.verified_at.is_some() && s.taken_at <= now + SKEW)
}

/// Why the one that was taken then is too old; empty: it is not. A node that has none yet gets as long
/// as any other, from when there was something to take one of.
pub(crate) fn find(
    verified: Option<Timestamp>,
    node_since: Option<Timestamp>,
    limit: Duration,
    now: Timestamp,
) -> String {
    let Some(since) = verified.or(node_since) else {
        return String::new();
    };
    if verified.is_none() && since > now + SKEW {
        return format!(
            "no snapshot was verified yet, and how long that is so is not known: the node's clock said {since:.0} when it began"
        );
    }
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

#[cfg(test)]
mod tests {
    use togather_model::Ulid;

    use super::*;
    use crate::{
        deploy::tests::fakes,
        snapshots::{Reason, Wanted},
    };

    const DAY: Duration = Duration::from_hours(24);

    fn snapshot(at: Timestamp) -> Manifest {
        let wanted = Wanted {
            id: Ulid::nil(),
            at,
            reason: Reason::Scheduled,
            git_commit: String::new(),
        };
        Manifest {
            verified_at: Some(at),
            ..fakes::manifest(&wanted, None)
        }
    }

    #[test]
    fn a_clock_that_was_ahead_hides_nothing() {
        let now: Timestamp = "2026-05-10T00:00:00Z".parse().unwrap();
        let (old, future) = (now - 5 * DAY, now + 3000 * DAY);
        let overdue = |snapshots: &[Manifest], since| {
            let verified = last_verified(snapshots, now).map(|verified| verified.taken_at);
            find(verified, since, 2 * DAY, now)
        };
        let (long_since, not_yet) = (Some(old), Some(future));
        assert_eq!(overdue(&[snapshot(now - DAY)], long_since), "");
        assert_ne!(overdue(&[snapshot(future), snapshot(old)], long_since), "");
        assert_ne!(overdue(&[snapshot(future)], long_since), "");
        assert_ne!(overdue(&[], not_yet), "");
        assert_eq!(overdue(&[snapshot(now - DAY)], not_yet), "");
        assert_eq!(overdue(&[], Some(now - DAY)), "");
        assert_eq!(overdue(&[], None), "", "nothing to take one of yet");
    }
}
