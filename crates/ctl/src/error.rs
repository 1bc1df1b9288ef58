//! How a command of the controller fails: what happened, why, what to do next, and the exit code.

use std::error::Error as StdError;

use togather_model::{Failure, FailureKind};
use togather_proto::WireError;
use tonic::{Code, Status};

use crate::client::ConnectError;

/// What decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line is wrong.
    Usage,
    /// The operator pressed Ctrl-C.
    Interrupted,
    /// As the node, or the fleet file, says.
    Failed(FailureKind),
}

/// The one error of the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// What happened, in one sentence without a full stop.
    pub what: String,
    /// Why, outermost first, each cause once.
    pub causes: Vec<String>,
    /// What to do next, a sentence or a command each.
    pub next: Vec<String>,
    /// More that went wrong in the same command, for example on other nodes.
    pub others: Vec<Error>,
}

/// The result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            causes: Vec::new(),
            next: Vec::new(),
            others: Vec::new(),
        }
    }

    /// The command line is wrong.
    #[must_use]
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// A file that the controller relies on is wrong.
    #[must_use]
    pub fn configuration(what: impl Into<String>) -> Self {
        Self::new(Kind::Failed(FailureKind::Configuration), what)
    }

    /// A node could not be reached.
    #[must_use]
    pub fn unreachable(what: impl Into<String>) -> Self {
        Self::new(Kind::Failed(FailureKind::Unreachable), what)
    }

    /// Another rollout or deployment has the node.
    #[must_use]
    pub fn held(what: impl Into<String>) -> Self {
        Self::new(Kind::Failed(FailureKind::Held), what)
    }

    /// None of the others.
    #[must_use]
    pub fn other(what: impl Into<String>) -> Self {
        Self::new(Kind::Failed(FailureKind::Other), what)
    }

    /// The same error because of this one and of its sources, each said once.
    #[must_use]
    pub fn because(mut self, error: &(dyn StdError + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            self = self.cause(error.to_string());
            cause = error.source();
        }
        self
    }

    /// The same error with one more cause, unless it is said already.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        let said = |text: &String| text.contains(cause.as_str());
        if !cause.is_empty() && !said(&self.what) && !self.causes.iter().any(said) {
            self.causes.push(cause);
        }
        self
    }

    /// The same error with one more thing to do next.
    #[must_use]
    pub fn next(mut self, what_to_do: impl Into<String>) -> Self {
        self.next.push(what_to_do.into());
        self
    }

    /// Several errors of one command; the first decides the exit code. `None` if there are none.
    #[must_use]
    pub fn several(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        first.others.extend(errors);
        Some(first)
    }

    /// What a node said stands in the way.
    #[must_use]
    pub fn of_node(node: &str, failure: Failure) -> Self {
        Self {
            kind: Kind::Failed(failure.kind),
            what: format!("{node}: {}", failure.what),
            causes: failure.causes,
            next: failure.next,
            others: Vec::new(),
        }
    }

    /// What became of a call to a node.
    #[must_use]
    pub fn of_call(node: &str, address: &str, status: &Status) -> Self {
        if let Some(failure) = togather_proto::failure_of(status) {
            return Self::of_node(node, failure);
        }
        let certificate_refused = Self::new(
            Kind::Failed(FailureKind::NotAllowed),
            format!("{node} at {address} does not accept this operator's certificate"),
        )
        .next(
            "check --fleet and the certificate it names; an admin of the fleet can make a new one",
        );
        match connect_error(status) {
            Some(ConnectError::Impostor(source)) => {
                return Self::unreachable(format!(
                    "what answers at {address} cannot prove to be {node} of this fleet"
                ))
                .because(source)
                .next("check the node's address in the fleet file, and that its bundle is the one of this fleet");
            }
            Some(ConnectError::Refused(source)) => return certificate_refused.because(source),
            Some(ConnectError::Tcp(source)) => {
                return Self::cannot_reach(node, address).because(source);
            }
            None => {}
        }
        if chain(status).any(|text| text.contains("received fatal alert")) {
            return certificate_refused.cause(
                "the node's certificate authority, revocation list or clock speaks against it",
            );
        }
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                chain(status).fold(Self::cannot_reach(node, address), Self::cause)
            }
            // A connection that broke in mid-call shows as Unknown, with the transport's error inside.
            Code::Unknown if StdError::source(status).is_some() => {
                chain(status).fold(Self::cannot_reach(node, address), Self::cause)
            }
            Code::Unauthenticated | Code::PermissionDenied => Self::new(
                Kind::Failed(FailureKind::NotAllowed),
                format!("{node}: {}", status.message()),
            ),
            Code::Unimplemented => Self::other(format!("{node} does not know this call"))
                .next("its agent is of another version: install the agent that belongs to this togather-ctl"),
            Code::Ok
            | Code::Unknown
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Internal
            | Code::DataLoss => Self::other(format!("{node}: {}", status.message()))
                .cause(format!("gRPC status {:?}", status.code())),
        }
    }

    fn cannot_reach(node: &str, address: &str) -> Self {
        Self::unreachable(format!("{node} cannot be reached at {address}")).next(
            "check that the node is up: `systemctl status togather-agent` on it, and its firewall",
        )
    }

    /// Whether the node could not be reached; what was asked of it may or may not have happened.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.kind == Kind::Failed(FailureKind::Unreachable)
    }

    /// Whether somebody else has the node.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.kind == Kind::Failed(FailureKind::Held)
    }

    /// The program's exit code. A documented contract.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Interrupted => 130,
            Kind::Failed(kind) => kind.exit_code(),
        }
    }
}

/// A node said something that this version does not understand.
pub(crate) fn not_understood(node: &str, error: &WireError) -> Error {
    Error::other(format!(
        "{node} answered something this togather-ctl does not understand"
    ))
    .because(error)
    .next("use a togather-ctl that fits the node's agent: `togather-ctl status` shows its version")
}

/// The texts of a status and of its sources, outermost first.
fn chain(status: &Status) -> impl Iterator<Item = String> {
    let mut texts = vec![status.message().to_owned()];
    let mut cause = StdError::source(status);
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    // "transport error" and the like say nothing that their causes do not say better.
    texts.retain(|text| {
        !matches!(
            text.as_str(),
            "transport error" | "tcp connect error" | "client error (Connect)"
        )
    });
    texts.into_iter()
}

fn connect_error(status: &Status) -> Option<&ConnectError> {
    let mut cause = StdError::source(status);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<ConnectError>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        self.causes
            .iter()
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_said_keeps_its_kind_causes_and_advice() {
        let failure = Failure::new(FailureKind::Held, "bob holds this node").next("wait");
        let error = Error::of_call("node-1", "host:1", &togather_proto::to_status(&failure));
        assert_eq!(error.exit_code(), 3);
        assert_eq!(error.to_string(), "node-1: bob holds this node");
        assert_eq!(error.next, ["wait"]);
    }

    #[test]
    fn a_status_from_nobody_we_know_means_unreachable_only_if_the_call_got_lost() {
        let code = |status| Error::of_call("n", "host:1", &status).exit_code();
        assert_eq!(code(Status::unavailable("gone")), 6);
        assert_eq!(code(Status::deadline_exceeded("slow")), 6);
        assert_eq!(code(Status::permission_denied("no")), 7);
        assert_eq!(code(Status::unknown("who knows")), 1);
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = Error::other("no such file: a")
            .cause("no such file")
            .cause("b")
            .cause("b");
        assert_eq!(error.causes, ["b"]);
    }

    #[test]
    fn the_first_of_several_decides_the_exit_code() {
        let all = [Error::unreachable("a"), Error::held("b")];
        let error = Error::several(all).unwrap();
        assert_eq!((error.exit_code(), error.others.len()), (6, 1));
        assert_eq!(Error::several([]), None);
    }
}
