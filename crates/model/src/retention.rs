//! Which snapshots to keep and which to forget, each with its reasons.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// What retention needs to know of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The snapshot's id.
    pub id: Ulid,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// It was restored, and what came out was what went in.
    pub verified: bool,
    /// The schema it holds.
    pub schema: Option<u64>,
}

/// How long, and how many, snapshots are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Younger ones are always kept.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub keep_for: Duration,
    /// At least this many verified ones are always kept; 0 means 1.
    pub min_verified: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            keep_for: Duration::from_secs(7 * 24 * 3600),
            min_verified: 3,
        }
    }
}

/// An earlier release that the node can still be rolled back to, and the schema it was built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackTarget {
    /// The release's version.
    pub version: String,
    /// The schema its code was built for.
    pub schema: u64,
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is younger than the policy's `keep_for`.
    Young,
    /// It is among the newest verified ones that are always kept.
    AmongNewestVerified,
    /// No newer one is verified yet.
    NothingNewerVerified,
    /// It is the newest verified one with the schema of a release that can be rolled back to.
    RollbackNeedsIt {
        /// The release's version.
        version: String,
    },
}

/// Decides for each snapshot, in the order given: the reasons to keep it; none means forget it.
#[must_use]
pub fn judge(
    snapshots: &[Facts],
    policy: &Policy,
    rollback_targets: &[RollbackTarget],
    now: Timestamp,
) -> Vec<(Ulid, Vec<Reason>)> {
    let mut verified: Vec<&Facts> = snapshots.iter().filter(|s| s.verified).collect();
    verified.sort_by_key(|s| (s.taken_at, s.id));
    verified.reverse();

    let reasons = |snapshot: &Facts| {
        let mut reasons = Vec::new();
        let age = snapshot.taken_at.duration_until(now);
        // A snapshot from the future (the clock was wrong) has a negative age: it is young.
        if age.is_negative() || age.unsigned_abs() < policy.keep_for {
            reasons.push(Reason::Young);
        }
        let mut newest = verified.iter().take(policy.min_verified.max(1));
        if newest.any(|s| s.id == snapshot.id) {
            reasons.push(Reason::AmongNewestVerified);
        }
        if !verified.iter().any(|s| s.taken_at > snapshot.taken_at) {
            reasons.push(Reason::NothingNewerVerified);
        }
        for target in rollback_targets {
            let needed = verified.iter().find(|s| s.schema == Some(target.schema));
            if needed.is_some_and(|s| s.id == snapshot.id) {
                reasons.push(Reason::RollbackNeedsIt {
                    version: target.version.clone(),
                });
            }
        }
        reasons
    };
    snapshots.iter().map(|s| (s.id, reasons(s))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn facts()(second in 0..4_000_000i64, random: u64, verified: bool, schema in proptest::option::of(0..5u64)) -> Facts {
            Facts {
                id: Ulid::from_parts(second.unsigned_abs(), random.into()),
                taken_at: Timestamp::from_second(second).unwrap(),
                verified,
                schema,
            }
        }
    }

    proptest! {
        #[test]
        fn the_last_verified_snapshots_are_never_forgotten(
            snapshots in proptest::collection::vec(facts(), 0..40),
            keep_for in 0..5_000_000u64,
            min_verified in 0..6usize,
            now in 0..5_000_000i64,
        ) {
            let policy = Policy { keep_for: Duration::from_secs(keep_for), min_verified };
            let judged = judge(&snapshots, &policy, &[], Timestamp::from_second(now).unwrap());
            prop_assert_eq!(judged.len(), snapshots.len());
            let verified = snapshots.iter().filter(|s| s.verified).count();
            let kept = snapshots.iter().zip(&judged)
                .filter(|(s, (_, reasons))| s.verified && !reasons.is_empty())
                .count();
            prop_assert!(kept >= verified.min(min_verified.max(1)));
        }

        #[test]
        fn what_a_rollback_needs_is_kept(
            snapshots in proptest::collection::vec(facts(), 1..40), schema in 0..5u64,
        ) {
            let target = RollbackTarget { version: "1.0.0".into(), schema };
            let policy = Policy { keep_for: Duration::ZERO, min_verified: 1 };
            let judged = judge(&snapshots, &policy, &[target], Timestamp::from_second(9_000_000).unwrap());
            let usable = |s: &Facts| s.verified && s.schema == Some(schema);
            if snapshots.iter().any(usable) {
                prop_assert!(snapshots.iter().zip(&judged).any(|(s, (_, reasons))| usable(s) && !reasons.is_empty()));
            }
        }
    }

    #[test]
    fn an_old_snapshot_with_newer_verified_ones_is_forgotten() {
        let snapshot = |second, verified| Facts {
            id: Ulid::from_parts(second, 0),
            taken_at: Timestamp::from_second(second.cast_signed()).unwrap(),
            verified,
            schema: None,
        };
        let day = 86_400;
        let snapshots = [
            snapshot(day, true),
            snapshot(20 * day, true),
            snapshot(21 * day, false),
        ];
        let policy = Policy {
            min_verified: 1,
            ..Policy::default()
        };
        let now = Timestamp::from_second(22 * 86_400).unwrap();
        let judged = judge(&snapshots, &policy, &[], now);
        assert_eq!(judged[0].1, []);
        assert_eq!(
            judged[1].1,
            [
                Reason::Young,
                Reason::AmongNewestVerified,
                Reason::NothingNewerVerified
            ]
        );
        assert_eq!(judged[2].1, [Reason::Young, Reason::NothingNewerVerified]);
    }
}
