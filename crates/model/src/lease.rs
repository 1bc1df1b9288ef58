//! Who may change a node at a time: a lease with a holder, an end and a fencing number.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::failure::{Failure, FailureKind};

/// How long a lease lasts unless it is renewed. Long enough for a laptop to change networks.
pub const LIFETIME: Duration = Duration::from_secs(60);

/// The longest lifetime a holder may ask for.
pub const MAX_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// A node's lease. It dies by itself at its end; a deployment under way on the node holds the node
/// for as long as it takes, whether or not its lease lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The rollout or rollback it was taken for.
    pub holder: Ulid,
    /// Who took it.
    pub operator: String,
    /// Grows by one with every new lease on the node; a command that carries an older number than
    /// the node's comes from a holder that lost its lease without noticing.
    pub fencing: u64,
    /// When it was taken.
    pub acquired_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

impl Lease {
    /// Whether the lease still holds.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    fn refusal(&self) -> Failure {
        Failure::new(
            FailureKind::Held,
            format!(
                "{} holds this node since {:.0} until {:.0} (for {})",
                self.operator, self.acquired_at, self.expires_at, self.holder
            ),
        )
        .next(format!(
            "wait for it to end, or take it over with `togather-ctl rollout resume {}`",
            self.holder
        ))
    }
}

/// Takes the lease for this holder, or takes it again for the same holder and operator.
///
/// `last` is the node's most recent lease, live, expired or released.
///
/// # Errors
/// Somebody else's lease is live.
pub fn acquire(
    last: Option<&Lease>,
    holder: Ulid,
    operator: &str,
    lifetime: Duration,
    now: Timestamp,
) -> Result<Lease, Failure> {
    if let Some(lease) = last
        && lease.is_live(now)
        && (lease.holder != holder || lease.operator != operator)
    {
        return Err(lease.refusal());
    }
    Ok(Lease {
        holder,
        operator: operator.to_owned(),
        // A second acquire by the same holder is another process (a resume): it fences the first.
        fencing: last.map_or(1, |lease| lease.fencing + 1),
        acquired_at: now,
        expires_at: end(now, lifetime),
    })
}

/// Moves the lease's end, for the process that holds this fencing number.
///
/// # Errors
/// The lease was lost: expired and taken by somebody, or fenced by a resume elsewhere.
pub fn renew(
    current: Option<&Lease>,
    holder: Ulid,
    fencing: u64,
    lifetime: Duration,
    now: Timestamp,
) -> Result<Lease, Failure> {
    let lease = check(current, holder, fencing, now)?;
    Ok(Lease {
        expires_at: end(now, lifetime).max(lease.expires_at),
        ..lease.clone()
    })
}

/// Checks that this holder and fencing number have the node now.
///
/// # Errors
/// They do not.
pub fn check(
    current: Option<&Lease>,
    holder: Ulid,
    fencing: u64,
    now: Timestamp,
) -> Result<&Lease, Failure> {
    let lost = |what: String| {
        Failure::new(FailureKind::Held, what).next(format!(
            "look with `togather-ctl lock show`, then `togather-ctl rollout resume {holder}` to go on"
        ))
    };
    let Some(lease) = current else {
        return Err(lost("the lease on this node was released".into()));
    };
    if lease.holder != holder || lease.fencing != fencing {
        return Err(if lease.is_live(now) {
            lease.refusal()
        } else {
            lost("the lease on this node passed to somebody else meanwhile".into())
        });
    }
    if !lease.is_live(now) {
        return Err(lost(format!(
            "the lease on this node ended at {:.0}",
            lease.expires_at
        )));
    }
    Ok(lease)
}

fn end(now: Timestamp, lifetime: Duration) -> Timestamp {
    now.saturating_add(lifetime.min(MAX_LIFETIME))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn holder(n: u128) -> Ulid {
        Ulid::from_parts(1, n)
    }

    #[test]
    fn a_rival_is_refused_by_name() {
        let lease = acquire(None, holder(1), "alice", LIFETIME, at(0)).unwrap();
        let refusal = acquire(Some(&lease), holder(2), "bob", LIFETIME, at(59)).unwrap_err();
        assert_eq!(refusal.kind, FailureKind::Held);
        assert!(refusal.what.contains("alice"), "{refusal}");
    }

    #[test]
    fn a_resume_fences_the_process_it_takes_over_from() {
        let first = acquire(None, holder(1), "alice", LIFETIME, at(0)).unwrap();
        let second = acquire(Some(&first), holder(1), "alice", LIFETIME, at(5)).unwrap();
        assert!(renew(Some(&second), holder(1), first.fencing, LIFETIME, at(6)).is_err());
        assert!(renew(Some(&second), holder(1), second.fencing, LIFETIME, at(6)).is_ok());
    }

    #[derive(Debug, Clone)]
    enum Action {
        Acquire(u8),
        Renew(u8),
        Wait(i64),
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let action = prop_oneof![
            (0..3u8).prop_map(Action::Acquire),
            (0..3u8).prop_map(Action::Renew),
            (0..90i64).prop_map(Action::Wait),
        ];
        proptest::collection::vec(action, 0..60)
    }

    proptest! {
        /// Whatever happens, at most one process believes rightly that it has the node, and
        /// fencing numbers only grow.
        #[test]
        fn one_holder_at_a_time(actions in actions()) {
            let mut now = 0;
            let mut lease: Option<Lease> = None;
            let mut believed: [Option<u64>; 3] = [None; 3];
            for action in actions {
                let before = lease.as_ref().map_or(0, |l| l.fencing);
                match action {
                    Action::Wait(seconds) => now += seconds,
                    Action::Acquire(who) => {
                        if let Ok(taken) =
                            acquire(lease.as_ref(), holder(who.into()), "op", LIFETIME, at(now))
                        {
                            believed[usize::from(who)] = Some(taken.fencing);
                            lease = Some(taken);
                        }
                    }
                    Action::Renew(who) => {
                        if let Some(fencing) = believed[usize::from(who)]
                            && let Ok(renewed) =
                                renew(lease.as_ref(), holder(who.into()), fencing, LIFETIME, at(now))
                        {
                            lease = Some(renewed);
                        }
                    }
                }
                prop_assert!(lease.as_ref().map_or(0, |l| l.fencing) >= before);
                let holding = (0..3u8)
                    .filter(|&who| {
                        believed[usize::from(who)].is_some_and(|fencing| {
                            check(lease.as_ref(), holder(who.into()), fencing, at(now)).is_ok()
                        })
                    })
                    .count();
                prop_assert!(holding <= 1);
            }
        }
    }
}
