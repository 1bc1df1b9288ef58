//! Which snapshots to keep and which to forget, each with its reasons.

use std::{fmt, time::Duration};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
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
    /// Of so many days (UTC) that have a verified one, newest first, the newest verified one is kept.
    pub daily: usize,
    /// The same of so many weeks, from Monday on.
    pub weekly: usize,
    /// The same of so many months.
    pub monthly: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            keep_for: Duration::from_secs(7 * 24 * 3600),
            min_verified: 3,
            daily: 0,
            weekly: 0,
            monthly: 0,
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
    /// It is the newest verified one of its day.
    OfItsDay,
    /// It is the newest verified one of its week.
    OfItsWeek,
    /// It is the newest verified one of its month.
    OfItsMonth,
    /// It is the newest verified one with the schema of a release that can be rolled back to, or
    /// the newest of them if none is verified.
    RollbackNeedsIt {
        /// The release's version.
        version: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Young => "young",
            Self::AmongNewestVerified => "among the newest verified",
            Self::NothingNewerVerified => "nothing newer is verified",
            Self::OfItsDay => "the newest verified of its day",
            Self::OfItsWeek => "the newest verified of its week",
            Self::OfItsMonth => "the newest verified of its month",
            Self::RollbackNeedsIt { version } => {
                return write!(f, "a rollback to {version} may need it");
            }
        })
    }
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
    let days = newest_of_each(&verified, policy.daily, |date| {
        (date.year(), date.day_of_year())
    });
    let weeks = newest_of_each(&verified, policy.weekly, |date| {
        let week = date.iso_week_date();
        (week.year(), i16::from(week.week()))
    });
    let months = newest_of_each(&verified, policy.monthly, |date| {
        (date.year(), i16::from(date.month()))
    });

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
        for (newest, reason) in [
            (&days, Reason::OfItsDay),
            (&weeks, Reason::OfItsWeek),
            (&months, Reason::OfItsMonth),
        ] {
            if newest.contains(&snapshot.id) {
                reasons.push(reason);
            }
        }
        for target in rollback_targets {
            let has_schema = |s: &&Facts| s.schema == Some(target.schema);
            let proven = verified.iter().copied().find(has_schema);
            // One that was never proven is better than none.
            let needed = proven.or_else(|| {
                let all = snapshots.iter().filter(has_schema);
                all.max_by_key(|s| (s.taken_at, s.id))
            });
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

/// The newest one of each of the `most` newest periods that have one. `newest_first` is sorted.
fn newest_of_each(
    newest_first: &[&Facts],
    most: usize,
    period: impl Fn(Date) -> (i16, i16),
) -> Vec<Ulid> {
    let mut found: Vec<((i16, i16), Ulid)> = Vec::new();
    for snapshot in newest_first {
        if found.len() == most {
            break;
        }
        let its = period(TimeZone::UTC.to_datetime(snapshot.taken_at).date());
        if found.last().is_none_or(|(last, _)| *last != its) {
            found.push((its, snapshot.id));
        }
    }
    found.into_iter().map(|(_, id)| id).collect()
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
            (daily, weekly, monthly) in (0..9usize, 0..9usize, 0..9usize),
            now in 0..5_000_000i64,
        ) {
            let policy = Policy { keep_for: Duration::from_secs(keep_for), min_verified, daily, weekly, monthly };
            let judged = judge(&snapshots, &policy, &[], Timestamp::from_second(now).unwrap());
            prop_assert_eq!(judged.len(), snapshots.len());
            let verified = snapshots.iter().filter(|s| s.verified).count();
            let kept = snapshots.iter().zip(&judged)
                .filter(|(s, (_, reasons))| s.verified && !reasons.is_empty())
                .count();
            prop_assert!(kept >= verified.min(min_verified.max(1)));
            let newest = snapshots.iter().zip(&judged).filter(|(s, _)| s.verified)
                .max_by_key(|(s, _)| (s.taken_at, s.id));
            prop_assert!(newest.is_none_or(|(_, (_, reasons))| !reasons.is_empty()));
        }

        /// A node prunes day after day: what is forgotten is gone for the next judgement.
        #[test]
        fn forgetting_again_and_again_never_forgets_the_last_verified(
            mut snapshots in proptest::collection::vec(facts(), 0..40),
            keep_for in 0..5_000_000u64,
            min_verified in 0..6usize,
            (daily, weekly, monthly) in (0..9usize, 0..9usize, 0..9usize),
            schemas in proptest::collection::vec(0..5u64, 0..3),
            mut days in proptest::collection::vec(0..9_000_000i64, 1..6),
        ) {
            let policy = Policy { keep_for: Duration::from_secs(keep_for), min_verified, daily, weekly, monthly };
            let targets: Vec<RollbackTarget> = schemas.iter()
                .map(|schema| RollbackTarget { version: format!("{schema}.0.0"), schema: *schema })
                .collect();
            let verified = |snapshots: &[Facts]| snapshots.iter().filter(|s| s.verified).count();
            let newest = |snapshots: &[Facts]| snapshots.iter().filter(|s| s.verified)
                .max_by_key(|s| (s.taken_at, s.id)).cloned();
            let (at_first, last) = (verified(&snapshots), newest(&snapshots));
            let usable: Vec<u64> = schemas.into_iter()
                .filter(|schema| snapshots.iter().any(|s| s.verified && s.schema == Some(*schema)))
                .collect();
            days.sort_unstable();
            for now in days {
                let now = Timestamp::from_second(now).unwrap();
                let kept = |snapshots: &[Facts]| -> Vec<Facts> {
                    let judged = judge(snapshots, &policy, &targets, now);
                    snapshots.iter().zip(judged)
                        .filter(|(_, (_, reasons))| !reasons.is_empty())
                        .map(|(snapshot, _)| snapshot.clone())
                        .collect()
                };
                snapshots = kept(&snapshots);
                prop_assert_eq!(&kept(&snapshots), &snapshots, "judged once more, it is the same");
                prop_assert_eq!(newest(&snapshots), last.clone());
                prop_assert!(verified(&snapshots) >= at_first.min(min_verified.max(1)));
                for schema in &usable {
                    prop_assert!(snapshots.iter().any(|s| s.verified && s.schema == Some(*schema)));
                }
            }
        }

        #[test]
        fn what_a_rollback_needs_is_kept(
            snapshots in proptest::collection::vec(facts(), 1..40), schema in 0..5u64,
        ) {
            let target = RollbackTarget { version: "1.0.0".into(), schema };
            let policy = Policy { keep_for: Duration::ZERO, min_verified: 1, ..Policy::default() };
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

    /// Days, weeks and months by UTC, whatever the length of the month.
    #[test]
    fn of_each_month_the_newest_verified_is_kept() {
        let snapshot = |at: &str, verified| {
            let taken_at: Timestamp = at.parse().unwrap();
            Facts {
                id: Ulid::from_parts(taken_at.as_second().unsigned_abs(), 0),
                taken_at,
                verified,
                schema: None,
            }
        };
        let snapshots = [
            snapshot("2027-12-31T23:59:59Z", true),
            snapshot("2028-01-31T23:59:59Z", true),
            snapshot("2028-02-01T00:00:00Z", true),
            snapshot("2028-02-29T03:00:00Z", true),
            snapshot("2028-02-29T04:00:00Z", false),
            snapshot("2028-03-01T03:00:00Z", true),
        ];
        let policy = Policy {
            keep_for: Duration::ZERO,
            min_verified: 1,
            daily: 2,
            weekly: 1,
            monthly: 3,
        };
        let now = "2028-06-30T00:00:00Z".parse().unwrap();
        let reasons: Vec<_> = judge(&snapshots, &policy, &[], now)
            .into_iter()
            .map(|(_, reasons)| reasons)
            .collect();
        assert_eq!(reasons[0], []);
        assert_eq!(reasons[1], [Reason::OfItsMonth]);
        assert_eq!(reasons[2], []);
        assert_eq!(reasons[3], [Reason::OfItsDay, Reason::OfItsMonth]);
        assert_eq!(reasons[4], []);
        assert!(reasons[5].contains(&Reason::OfItsWeek));
    }
}
