//! The databases that restores replaced, and how long they are kept. Pure.

use std::time::Duration;

use togather_model::Timestamp;

use super::Swap;
use crate::{database::replaced_by, snapshots::Manifest};

/// A database that a restore replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Its name.
    pub name: String,
    /// Why it is kept, a phrase each; nothing: the next prune drops it.
    pub kept: Vec<String>,
}

/// Decides for each of them: it goes when it was replaced longer ago than snapshots are kept, and a
/// snapshot taken since then is verified, so that there is something better to go back to. `stuck` is
/// the swap that is still to be taken back.
#[must_use]
pub fn judge(
    names: Vec<String>,
    stuck: Option<&Swap>,
    snapshots: &[Manifest],
    keep_for: Duration,
    now: Timestamp,
) -> Vec<Replaced> {
    let judged = |name: String| {
        let mut kept = Vec::new();
        if stuck.is_some_and(|swap| [&swap.outgoing, &swap.incoming].contains(&&name)) {
            kept.push("a restore that is stuck is still to be taken back".to_owned());
        }
        match replaced_by(&name).and_then(|job| when(job.timestamp_ms())) {
            None => kept.push("when it was replaced is not known".to_owned()),
            Some(replaced_at) => {
                let age = replaced_at.duration_until(now);
                if age.is_negative() || age.unsigned_abs() < keep_for {
                    kept.push("replaced not long ago".to_owned());
                }
                let is_newer = |s: &Manifest| s.verified_at.is_some() && s.taken_at > replaced_at;
                if !snapshots.iter().any(is_newer) {
                    kept.push("no snapshot taken since is verified".to_owned());
                }
            }
        }
        Replaced { name, kept }
    };
    names.into_iter().map(judged).collect()
}

fn when(milliseconds: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(milliseconds).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use togather_model::Ulid;

    use super::*;
    use crate::{database::replaced_name, deploy::tests::fakes::manifest, snapshots::*};

    const DAY: u64 = 86_400;

    fn snapshot(day: u64, verified: bool) -> Manifest {
        let at = Timestamp::UNIX_EPOCH + Duration::from_secs(day * DAY);
        let wanted = Wanted {
            id: Ulid::from_parts(day, 0),
            at,
            reason: Reason::Scheduled,
            git_commit: String::new(),
        };
        Manifest {
            verified_at: verified.then_some(at),
            ..manifest(&wanted, None)
        }
    }

    #[test]
    fn it_goes_when_it_is_old_and_something_newer_is_verified() {
        let replaced = replaced_name("togather", Ulid::from_parts(10 * DAY * 1000, 7));
        let keep_for = Duration::from_secs(7 * DAY);
        let kept = |day: u64, snapshots: &[Manifest]| {
            let now = Timestamp::UNIX_EPOCH + Duration::from_secs(day * DAY);
            let judged = judge(vec![replaced.clone()], None, snapshots, keep_for, now);
            judged[0].kept.len()
        };
        let (older, unproven, newer) = (snapshot(9, true), snapshot(11, false), snapshot(11, true));
        assert_eq!(kept(18, &[newer.clone(), older.clone()]), 0);
        assert_eq!(kept(16, std::slice::from_ref(&newer)), 1, "young");
        assert_eq!(kept(5, std::slice::from_ref(&newer)), 1, "of the future");
        assert_eq!(kept(18, &[unproven, older]), 1, "nothing newer is verified");
        let (unknown, newer) = (vec!["togather".into()], [newer]);
        let unknown = judge(unknown, None, &newer, keep_for, Timestamp::MAX);
        assert_eq!(unknown[0].kept.len(), 1);
        let swap = Swap {
            incoming: "togather_scratch_1".into(),
            outgoing: replaced.clone(),
            outgoing_is_empty: false,
            incoming_is_scratch: true,
            running: vec![],
            live: None,
            was_healthy: true,
            taking_back: None,
            is_all_there_is: false,
        };
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(18 * DAY);
        let stuck = judge(vec![replaced], Some(&swap), &newer, keep_for, now);
        assert_eq!(stuck[0].kept.len(), 1, "it is still to be put back");
    }
}
