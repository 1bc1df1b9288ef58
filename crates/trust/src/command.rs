//! What stands at the head of every command, and whether it is meant for this node, this call,
//! this operator and this moment.
//!
//! The signature has been verified by then ([`crate::signers`]); role and nonce come after
//! ([`crate::roles`], and the node's own record of nonces).

use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

use crate::{
    name::OperatorName,
    refusal::{Refusal, quotable},
};

/// The version of the envelope that this code makes and reads.
pub const VERSION: u32 = 1;

/// How long a command is valid unless its maker says otherwise.
pub const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_secs(120);

/// The longest a command may be valid.
pub const MAX_LIFETIME: SignedDuration = SignedDuration::from_secs(300);

/// How far the operator's and the node's clock may differ.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// How far the node's clock may go back without a refusal.
pub const MAX_CLOCK_STEP_BACK: SignedDuration = SignedDuration::from_secs(60);

/// A command's head: who ordered what, of which node, for how long, exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The envelope's version.
    pub version: u32,
    /// The fleet it is for.
    pub fleet_id: String,
    /// The node it is for.
    pub node_id: String,
    /// The call it is for: the RPC's path, `/package.Service/Method`.
    pub method: String,
    /// Who orders it.
    pub operator: String,
    /// Random; a node takes each one once.
    pub nonce: [u8; 32],
    /// When it was made, by the operator's clock.
    pub issued_at: Timestamp,
    /// When it stops being valid.
    pub expires_at: Timestamp,
    /// The operation it starts or concerns.
    pub operation_id: Ulid,
}

impl Header {
    /// The head of a new command: a fresh nonce, valid for [`DEFAULT_LIFETIME`] from `now`.
    #[must_use]
    pub fn new(
        fleet_id: impl Into<String>,
        node_id: impl Into<String>,
        method: impl Into<String>,
        operator: &OperatorName,
        operation_id: Ulid,
        now: Timestamp,
    ) -> Self {
        Self {
            version: VERSION,
            fleet_id: fleet_id.into(),
            node_id: node_id.into(),
            method: method.into(),
            operator: operator.to_string(),
            nonce: rand::random(),
            issued_at: now,
            expires_at: later(now, DEFAULT_LIFETIME),
            operation_id,
        }
    }

    /// Until when the node must remember the nonce: until no clock it accepts could make the
    /// command valid again.
    #[must_use]
    pub fn remember_until(&self) -> Timestamp {
        later(self.expires_at, CLOCK_SKEW + MAX_CLOCK_STEP_BACK)
    }

    /// The refusal of a nonce that has been here before.
    #[must_use]
    pub fn replayed(&self) -> Refusal {
        Refusal::Replayed {
            nonce: hex::encode(self.nonce),
        }
    }
}

/// What the node knows by itself when a command comes in.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The node's fleet.
    pub fleet_id: &'a str,
    /// The node's own id.
    pub node_id: &'a str,
    /// The path of the RPC that was called.
    pub method: &'a str,
    /// Whose certificate is on the line.
    pub certificate_name: &'a OperatorName,
    /// Whose key signed.
    pub principal: &'a OperatorName,
    /// When the node's state was created: it knows no nonce from before.
    pub state_created_at: Timestamp,
    /// The node's clock.
    pub now: Timestamp,
    /// The latest moment the node knows to have been: the largest issue time it accepted, or
    /// clock it recorded.
    pub latest_seen: Option<Timestamp>,
}

/// Checks a verified command's head, in this order: version, fleet, node, method, operator, time.
///
/// # Errors
/// The first check that fails.
pub fn check(header: &Header, expected: &Expected<'_>) -> Result<(), Refusal> {
    let pair = |found: &str, wanted: &str| (quotable(found), wanted.to_owned());
    if header.version != VERSION {
        return Err(Refusal::WrongVersion {
            found: header.version,
            wanted: VERSION,
        });
    }
    if header.fleet_id != expected.fleet_id {
        let (found, wanted) = pair(&header.fleet_id, expected.fleet_id);
        return Err(Refusal::WrongFleet { found, wanted });
    }
    if header.node_id != expected.node_id {
        let (found, wanted) = pair(&header.node_id, expected.node_id);
        return Err(Refusal::WrongNode { found, wanted });
    }
    if header.method != expected.method {
        let (found, wanted) = pair(&header.method, expected.method);
        return Err(Refusal::WrongMethod { found, wanted });
    }
    if header.operator != expected.principal.as_str()
        || expected.principal != expected.certificate_name
    {
        return Err(Refusal::WrongOperator {
            operator: quotable(&header.operator),
            signer: expected.principal.clone(),
            certificate: expected.certificate_name.clone(),
        });
    }
    check_time(header, expected)
}

fn check_time(header: &Header, expected: &Expected<'_>) -> Result<(), Refusal> {
    let Header {
        issued_at,
        expires_at,
        ..
    } = *header;
    let now = expected.now;
    // First of all: if the clock cannot be trusted, none of the comparisons below can.
    if let Some(seen) = expected.latest_seen
        && seen.duration_since(now) > MAX_CLOCK_STEP_BACK
    {
        return Err(Refusal::ClockMovedBack { now, seen });
    }
    let lifetime = expires_at.duration_since(issued_at);
    if lifetime <= SignedDuration::ZERO {
        return Err(Refusal::malformed(
            "command",
            "it expires before it is issued",
        ));
    }
    if lifetime > MAX_LIFETIME {
        let (seconds, limit) = (lifetime.as_secs(), MAX_LIFETIME.as_secs());
        return Err(Refusal::LifetimeTooLong { seconds, limit });
    }
    if issued_at.duration_since(now) > CLOCK_SKEW {
        return Err(Refusal::NotYetValid { issued_at, now });
    }
    if now.duration_since(expires_at) > CLOCK_SKEW {
        return Err(Refusal::Expired { expires_at, now });
    }
    if issued_at < expected.state_created_at {
        let created_at = expected.state_created_at;
        return Err(Refusal::IssuedBeforeState {
            issued_at,
            created_at,
        });
    }
    Ok(())
}

/// A moment later; at the end of time, the end of time.
pub(crate) fn later(moment: Timestamp, by: SignedDuration) -> Timestamp {
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: &str = "/togather.fleet.v1.Deployments/Deploy";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// The outcome at one moment of a command issued at zero by alice, with one thing changed.
    fn outcome(now: i64, change: impl FnOnce(&mut Header, &mut Expected<'_>)) -> &'static str {
        let alice: OperatorName = "alice".parse().unwrap();
        let mut header = Header::new(
            "fleet",
            "node",
            METHOD,
            &alice,
            Ulid::from_parts(1, 2),
            at(0),
        );
        let mut expected = Expected {
            fleet_id: "fleet",
            node_id: "node",
            method: METHOD,
            certificate_name: &alice,
            principal: &alice,
            state_created_at: at(-1000),
            now: at(now),
            latest_seen: None,
        };
        change(&mut header, &mut expected);
        check(&header, &expected).map_or_else(|refusal| refusal.code(), |()| "accepted")
    }

    #[test]
    fn a_command_is_for_one_version_fleet_node_and_call() {
        assert_eq!(outcome(1, |_, _| ()), "accepted");
        assert_eq!(outcome(1, |header, _| header.version = 2), "wrong_version");
        assert_eq!(
            outcome(1, |header, _| header.fleet_id = "other".into()),
            "wrong_fleet"
        );
        assert_eq!(
            outcome(1, |header, _| header.node_id = "NODE".into()),
            "wrong_node"
        );
        assert_eq!(
            outcome(1, |header, _| header.method.push('s')),
            "wrong_method"
        );
        assert_eq!(
            outcome(1, |_, expected| expected.method = ""),
            "wrong_method"
        );
    }

    #[test]
    fn operator_signer_and_certificate_must_be_the_same() {
        let mallory: OperatorName = "mallory".parse().unwrap();
        let alice: OperatorName = "alice".parse().unwrap();
        for (operator, principal, certificate) in [
            ("mallory", &alice, &alice),
            ("alice", &mallory, &alice),
            ("alice", &alice, &mallory),
            ("alice", &mallory, &mallory),
            ("mallory", &mallory, &alice),
        ] {
            let mut header = Header::new("f", "n", METHOD, &alice, Ulid::nil(), at(0));
            header.operator = operator.into();
            let expected = Expected {
                fleet_id: "f",
                node_id: "n",
                method: METHOD,
                certificate_name: certificate,
                principal,
                state_created_at: at(-1),
                now: at(0),
                latest_seen: None,
            };
            assert_eq!(
                check(&header, &expected).unwrap_err().code(),
                "wrong_operator"
            );
        }
    }

    #[test]
    fn a_command_is_fresh_within_its_lifetime_and_the_skew() {
        assert_eq!(outcome(-31, |_, _| ()), "not_yet_valid");
        assert_eq!(outcome(-30, |_, _| ()), "accepted");
        assert_eq!(outcome(150, |_, _| ()), "accepted");
        assert_eq!(outcome(151, |_, _| ()), "expired");
        assert_eq!(
            outcome(1, |header, _| header.expires_at = at(300)),
            "accepted"
        );
        assert_eq!(
            outcome(1, |header, _| header.expires_at = at(301)),
            "lifetime_too_long"
        );
        assert_eq!(
            outcome(1, |header, _| header.expires_at = at(0)),
            "malformed"
        );
        let whole_of_time = |header: &mut Header, _: &mut Expected<'_>| {
            (header.issued_at, header.expires_at) = (Timestamp::MIN, Timestamp::MAX);
        };
        assert_eq!(outcome(1, whole_of_time), "lifetime_too_long");
    }

    #[test]
    fn a_lost_state_or_a_clock_set_back_does_not_reopen_replay() {
        assert_eq!(
            outcome(1, |_, expected| expected.state_created_at = at(1)),
            "issued_before_state"
        );
        assert_eq!(
            outcome(1, |_, expected| expected.state_created_at = at(0)),
            "accepted"
        );
        assert_eq!(
            outcome(1, |_, expected| expected.latest_seen = Some(at(62))),
            "clock_moved_back"
        );
        assert_eq!(
            outcome(1, |_, expected| expected.latest_seen = Some(at(61))),
            "accepted"
        );
    }

    #[test]
    fn a_nonce_is_remembered_for_as_long_as_its_command_could_be_accepted() {
        let alice = "alice".parse().unwrap();
        let header = Header::new("fleet", "node", METHOD, &alice, Ulid::nil(), at(0));
        // The nonce may be forgotten at this moment; the clock may then go back by as much as is
        // let through, and the command must be too old all the same.
        let forgotten = header.remember_until();
        let earliest = forgotten.checked_sub(MAX_CLOCK_STEP_BACK).unwrap();
        assert!(earliest.duration_since(header.expires_at) >= CLOCK_SKEW);
        let nonces = [
            header.nonce,
            Header::new("f", "n", METHOD, &alice, Ulid::nil(), at(0)).nonce,
        ];
        assert_ne!(nonces[0], nonces[1]);
    }

    #[test]
    fn a_refusal_about_time_tells_the_nodes_clock() {
        let refusal = Refusal::Expired {
            expires_at: at(0),
            now: at(151),
        };
        assert!(refusal.to_string().contains(&at(151).to_string()));
    }
}
