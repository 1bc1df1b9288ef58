//! Why a command was refused: one variant a check, each with a stable code for audits, metrics and
//! scripts, and a message that says what, why and what to do next.

use jiff::Timestamp;

use crate::{
    name::Name,
    roles::{Permission, Role},
};

/// Why a command, or the certificate on the line, was refused; in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the fields are the words of the messages right above them"
)]
pub enum Refusal {
    /// The client's certificate is not an operator's.
    #[error(
        "the client certificate is not an operator's: {why}; use the one made with `togather-ctl init` or by the fleet's admin"
    )]
    WrongCertificate { why: &'static str },
    /// A call that changes something came without a signature.
    #[error("the command is not signed; send it with togather-ctl, which signs with your SSH key")]
    Unsigned,
    /// More bytes than the check is willing to look at.
    #[error("the {what} has {size} bytes, and at most {limit} are read")]
    TooLarge {
        what: &'static str,
        size: usize,
        limit: usize,
    },
    /// Not decodable.
    #[error("the {what} cannot be read: {why}; the sender's version may not fit this node's")]
    Malformed { what: &'static str, why: String },
    /// No line of the signers file has this key.
    #[error(
        "the signing key {fingerprint} is not in this node's signers file; an admin has to add it"
    )]
    UnknownKey { fingerprint: String },
    /// The key was withdrawn.
    #[error("{operator}'s key {fingerprint} has been revoked; sign with a key that has not")]
    RevokedKey { operator: Name, fingerprint: String },
    /// Before the key's `valid-after`.
    #[error("{operator}'s key is valid from {from} on, and it is {now} on this node")]
    KeyNotYetValid {
        operator: Name,
        from: Timestamp,
        now: Timestamp,
    },
    /// After the key's `valid-before`.
    #[error(
        "{operator}'s key was valid until {until}, and it is {now} on this node; an admin has to add a new key or extend this one"
    )]
    KeyExpired {
        operator: Name,
        until: Timestamp,
        now: Timestamp,
    },
    /// A signature over something else than a command, such as a git commit.
    #[error("the signature was made for {found:?}, not for {wanted:?}; it proves nothing here")]
    WrongNamespace { found: String, wanted: String },
    /// The signers file limits the key to other namespaces.
    #[error(
        "the signers file does not let {operator}'s key sign for {wanted:?}; an admin has to allow it"
    )]
    NamespaceNotAllowed { operator: Name, wanted: String },
    /// Not SSHSIG with SHA-512 and Ed25519.
    #[error("the signature uses {found}; only ssh-ed25519 with sha512 is accepted")]
    WrongAlgorithm { found: String },
    /// The bytes are not what was signed.
    #[error(
        "the signature does not match the command; it was altered on the way, or signed over something else"
    )]
    BadSignature,
    /// Another version of the envelope.
    #[error(
        "the command is of version {found}, and this node reads version {wanted}; use a togather-ctl that fits the node's agent"
    )]
    WrongVersion { found: u32, wanted: u32 },
    /// Meant for another fleet.
    #[error(
        "the command is for fleet {found:?}, and this node belongs to {wanted:?}; check --fleet"
    )]
    WrongFleet { found: String, wanted: String },
    /// Meant for another node.
    #[error(
        "the command is for node {found:?}, and this is {wanted:?}; a command is signed for one node alone"
    )]
    WrongNode { found: String, wanted: String },
    /// Signed for another call.
    #[error(
        "the command was signed for {found:?} and sent to {wanted:?}; it cannot be used for another call"
    )]
    WrongMethod { found: String, wanted: String },
    /// Operator, signer and certificate are not one and the same.
    #[error(
        "the command names operator {operator:?}, was signed by {signer} and came with {certificate}'s certificate; all three must be the same"
    )]
    WrongOperator {
        operator: String,
        signer: Name,
        certificate: Name,
    },
    /// The node's clock went backwards, so freshness cannot be judged.
    #[error(
        "this node's clock says {now}, but it has been {seen} before; set the clock right, then send the command again"
    )]
    ClockMovedBack { now: Timestamp, seen: Timestamp },
    /// Valid for longer than anybody may ask for.
    #[error("the command is valid for {seconds} s, and at most {limit} s are allowed")]
    LifetimeTooLong { seconds: i64, limit: i64 },
    /// Issued in the future.
    #[error(
        "the command was issued at {issued_at}, and it is {now} on this node; set the clocks right, then send it again"
    )]
    NotYetValid {
        issued_at: Timestamp,
        now: Timestamp,
    },
    /// Too old.
    #[error(
        "the command expired at {expires_at}, and it is {now} on this node; send it again, and if that does not help set the clocks right"
    )]
    Expired {
        expires_at: Timestamp,
        now: Timestamp,
    },
    /// Older than the node's memory of what it has already done.
    #[error(
        "the command was issued at {issued_at}, before this node's state was created at {created_at}, so it could be one already carried out; send it again"
    )]
    IssuedBeforeState {
        issued_at: Timestamp,
        created_at: Timestamp,
    },
    /// The operator's role does not allow this.
    #[error("{operator} {} on this node, which may not {permission}; an admin can change roles.yml", role_words(*role))]
    RoleMissing {
        operator: Name,
        role: Option<Role>,
        permission: Permission,
    },
    /// This very command was here before, for an operation that is not known any more.
    #[error(
        "the command {nonce} has been used before; nothing was done again; send a new one if you mean it"
    )]
    Replayed { nonce: String },
}

impl Refusal {
    /// The stable code: part of the contract with audits, metrics and scripts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::WrongCertificate { .. } => "wrong_certificate",
            Self::Unsigned => "unsigned",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::UnknownKey { .. } => "unknown_key",
            Self::RevokedKey { .. } => "revoked_key",
            Self::KeyNotYetValid { .. } => "key_not_yet_valid",
            Self::KeyExpired { .. } => "key_expired",
            Self::WrongNamespace { .. } => "wrong_namespace",
            Self::NamespaceNotAllowed { .. } => "namespace_not_allowed",
            Self::WrongAlgorithm { .. } => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::WrongVersion { .. } => "wrong_version",
            Self::WrongFleet { .. } => "wrong_fleet",
            Self::WrongNode { .. } => "wrong_node",
            Self::WrongMethod { .. } => "wrong_method",
            Self::WrongOperator { .. } => "wrong_operator",
            Self::ClockMovedBack { .. } => "clock_moved_back",
            Self::LifetimeTooLong { .. } => "lifetime_too_long",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Expired { .. } => "expired",
            Self::IssuedBeforeState { .. } => "issued_before_state",
            Self::RoleMissing { .. } => "role_missing",
            Self::Replayed { .. } => "replayed",
        }
    }

    /// A command, signature or other part that cannot be read, and why.
    #[must_use]
    pub fn malformed(what: &'static str, why: impl ToString) -> Self {
        Self::Malformed {
            what,
            why: quotable(&why.to_string()),
        }
    }
}

/// How much of a sender's own words is repeated back, in characters.
const QUOTED: usize = 80;

/// A stranger's words, short enough for a log line and without control characters.
pub(crate) fn quotable(words: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut quoted: String = words.chars().take(QUOTED).map(clean).collect();
    if words.chars().nth(QUOTED).is_some() {
        quoted.push('…');
    }
    quoted
}

fn role_words(role: Option<Role>) -> String {
    role.map_or_else(
        || "has no role".to_owned(),
        |role| format!("has the role {role}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_both_sides_and_the_way_out() {
        let refusal = Refusal::RoleMissing {
            operator: "bob".parse().unwrap(),
            role: Some(Role::Viewer),
            permission: Permission::Deploy,
        };
        assert_eq!(
            refusal.to_string(),
            "bob has the role viewer on this node, which may not deploy; an admin can change roles.yml"
        );
        let refusal = Refusal::RoleMissing {
            operator: "eve".parse().unwrap(),
            role: None,
            permission: Permission::Read,
        };
        assert!(
            refusal
                .to_string()
                .starts_with("eve has no role on this node"),
            "{refusal}"
        );
    }

    #[test]
    fn a_strangers_words_are_cut_short_and_cleaned() {
        assert_eq!(quotable("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(quotable(&"x".repeat(500)).chars().count(), QUOTED + 1);
    }
}
