//! The gate that every call passes: who calls, whether they may, and whether the command they
//! signed is meant for this node, this call and this moment.
//!
//! Nothing here fails open. What is missing, empty or unreadable admits nobody; if the state cannot
//! be read or written, nothing is let through. Every refusal has a stable code and is audited, and
//! nothing beyond the agent's own state was touched by then.

mod command;
mod keys;
mod table;

use std::sync::Arc;

use togather_model::{Failure, FailureKind, Ulid};
use togather_proto::v1::{self, command::Body};
use togather_trust::{OperatorName, Permission, Refusal};

use crate::{
    host::Host,
    state::{AuditEntry, State, StateError},
};

pub use keys::{Keys, Known};
pub use table::{Need, need_of};

/// The largest signed payload that is looked at, in bytes: a release file (3 MiB at most) and what
/// stands around it.
pub const MAX_COMMAND_BYTES: usize = 4 * 1024 * 1024;

/// How much of a refused payload and its signature the audit trail keeps: the command's head, which
/// says everything but the body. What was refused must not be able to fill the disk.
const REFUSED_BYTES: usize = 4096;

/// What the audit trail calls a command that was let through.
const ACCEPTED: &str = "accepted";

/// The same command again, of an operation the node knows: it is answered, and nothing runs.
const REPEATED: &str = "repeated";

/// The state could not be read or written, so nothing could be decided.
const UNDECIDED: &str = "undecided";

/// Who is at the other end of a connection: the operator its certificate names.
#[derive(Debug, Clone)]
pub struct Peer(pub Result<OperatorName, Refusal>);

/// A command that was let through: exactly once, and written down.
#[derive(Debug)]
pub struct Order {
    /// Who ordered it.
    pub operator: OperatorName,
    /// The operation it begins or concerns.
    pub operation_id: Ulid,
    /// What is ordered.
    pub body: Body,
}

/// The gate of one node.
pub struct Gate {
    fleet_id: String,
    node_id: String,
    keys: Arc<Keys>,
    state: State,
    host: Arc<dyn Host>,
}

/// Why somebody was turned away.
#[derive(Debug)]
enum Rejection {
    /// A check failed.
    Refused(Refusal),
    /// No check could be made.
    Undecided(StateError),
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StateError> for Rejection {
    fn from(error: StateError) -> Self {
        Self::Undecided(error)
    }
}

impl Gate {
    /// The gate of this node in this fleet.
    #[must_use]
    pub const fn new(
        fleet_id: String,
        node_id: String,
        keys: Arc<Keys>,
        state: State,
        host: Arc<dyn Host>,
    ) -> Self {
        Self {
            fleet_id,
            node_id,
            keys,
            state,
            host,
        }
    }

    /// Lets somebody look.
    ///
    /// # Errors
    /// [`FailureKind::NotAllowed`] with the refusal's code. It has been audited.
    pub async fn admit_reader(&self, peer: &Peer, method: &str) -> Result<(), Failure> {
        let known = self.keys.current();
        let may_read = |operator: &OperatorName| known.roles.check(operator, Permission::Read);
        let Err(refusal) = peer.0.clone().and_then(|operator| may_read(&operator)) else {
            return Ok(());
        };
        self.refuse(peer, method, &v1::SignedCommand::default(), refusal)
            .await
    }

    /// Judges a signed command, in the order of the checks of [`Refusal`], and uses its nonce up.
    /// When this returns an order, that is on disk, and so is the audit row.
    ///
    /// # Errors
    /// [`FailureKind::NotAllowed`] with the refusal's code; [`FailureKind::Other`] when the state
    /// could not be read or written, in which case nothing may be done either.
    pub async fn admit(
        &self,
        peer: &Peer,
        method: &'static str,
        signed: &v1::SignedCommand,
    ) -> Result<Order, Failure> {
        let now = self.host.now();
        let (order, outcome) = match self.judge(peer, method, signed, now).await {
            Ok(admitted) => admitted,
            Err(Rejection::Refused(refusal)) => {
                return self.refuse(peer, method, signed, refusal).await;
            }
            Err(Rejection::Undecided(error)) => {
                self.audit(peer, method, signed, UNDECIDED).await;
                return Err(undecided(&error));
            }
        };
        let entry = AuditEntry {
            at: now,
            method,
            operator: order.operator.as_str(),
            payload: &signed.payload,
            signature: &signed.signature,
            outcome,
        };
        // What cannot be written down is not done.
        self.state.audit(&entry).await.map_err(|e| undecided(&e))?;
        Ok(order)
    }

    /// Turns a call away that could not even be read.
    ///
    /// # Errors
    /// Always: that is what it is for.
    pub async fn refuse_unread<T>(
        &self,
        peer: &Peer,
        method: &str,
        refusal: Refusal,
    ) -> Result<T, Failure> {
        self.refuse(peer, method, &v1::SignedCommand::default(), refusal)
            .await
    }

    async fn refuse<T>(
        &self,
        peer: &Peer,
        method: &str,
        signed: &v1::SignedCommand,
        refusal: Refusal,
    ) -> Result<T, Failure> {
        let code = refusal.code();
        tracing::warn!(method, code, %refusal, "refused");
        self.audit(peer, method, signed, code).await;
        let what = format!("refused ({code}): {refusal}");
        let mut failure = Failure::new(FailureKind::NotAllowed, what);
        failure.causes.extend(self.keys.current().problems.clone());
        Err(failure)
    }

    async fn audit(&self, peer: &Peer, method: &str, signed: &v1::SignedCommand, outcome: &str) {
        let payload = &signed.payload[..signed.payload.len().min(REFUSED_BYTES)];
        let signature = signed.signature.get(..REFUSED_BYTES);
        let entry = AuditEntry {
            at: self.host.now(),
            method,
            operator: peer.0.as_ref().map_or("", OperatorName::as_str),
            payload,
            signature: signature.unwrap_or(&signed.signature),
            outcome,
        };
        if let Err(error) = self.state.audit(&entry).await {
            tracing::error!(%error, outcome, "a refusal could not be audited; it is refused all the same");
        }
    }
}

fn undecided(error: &StateError) -> Failure {
    Failure::caused_by(
        FailureKind::Other,
        "the node cannot check commands now, so it takes none",
        error,
    )
    .next("look at `df -h` and the agent's journal on the node, then send the command again")
}
