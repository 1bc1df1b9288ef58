//! The checks of one signed command, one after the other.

use prost::Message as _;
use togather_model::{Timestamp, Ulid};
use togather_proto::{WireError, time, v1};
use togather_trust::{
    Expected, Header, NAMESPACE, Permission, Refusal,
    command::{self},
};

use crate::state::StateError;

use super::{ACCEPTED, Gate, MAX_COMMAND_BYTES, Need, Order, Peer, REPEATED, Rejection, need_of};

const WHAT: &str = "command";

impl Gate {
    /// Judges a command, and uses its nonce up. Returns the order and what the audit trail is to
    /// call it.
    pub(super) async fn judge(
        &self,
        peer: &Peer,
        method: &'static str,
        signed: &v1::SignedCommand,
        now: Timestamp,
    ) -> Result<(Order, &'static str), Rejection> {
        let certificate_name = peer.0.as_ref().map_err(Clone::clone)?;
        let known = self.keys.current();
        if signed.payload.len() > MAX_COMMAND_BYTES {
            let (size, limit) = (signed.payload.len(), MAX_COMMAND_BYTES);
            return Err(Refusal::TooLarge {
                what: WHAT,
                size,
                limit,
            }
            .into());
        }
        if signed.signature.is_empty() {
            return Err(Refusal::Unsigned.into());
        }
        let payload = &signed.payload;
        let principal = known
            .signers
            .verify(NAMESPACE, payload, &signed.signature, now)?;
        let (header, body) = decode(payload)?;
        let latest_seen = Some(self.state.latest_seen().await?);
        let expected = Expected {
            fleet_id: &self.fleet_id,
            node_id: &self.node_id,
            method,
            certificate_name,
            principal: &principal.operator,
            state_created_at: self.state.created_at(),
            now,
            latest_seen,
        };
        command::check(&header, &expected)?;
        if body.method() != method {
            let why = format!("its body is for {}", body.method());
            return Err(Refusal::malformed(WHAT, why).into());
        }
        let permission = permission_for(method, &body).ok_or(Refusal::Unsigned)?;
        known.roles.check(&principal.operator, permission)?;

        let operator = principal.operator;
        let fresh = self
            .state
            .use_nonce(
                operator.as_str(),
                &header.nonce,
                header.remember_until(),
                now,
            )
            .await?;
        let operation_id = header.operation_id;
        let outcome = if fresh {
            ACCEPTED
        } else if self.is_known(&body, operation_id).await? {
            REPEATED
        } else {
            return Err(header.replayed().into());
        };
        let order = Order {
            operator,
            operation_id,
            body,
        };
        Ok((order, outcome))
    }

    /// Whether sending the command once more is answered with what it began.
    async fn is_known(&self, body: &v1::command::Body, id: Ulid) -> Result<bool, StateError> {
        use v1::command::Body;
        match body {
            Body::Deploy(_) | Body::Rollback(_) | Body::Redeploy(_) => {
                Ok(self.state.operation(id).await?.is_some())
            }
            Body::CreateSnapshot(_)
            | Body::VerifySnapshot(_)
            | Body::RestoreSnapshot(_)
            | Body::UndoRestore(_)
            | Body::PruneSnapshots(_) => Ok(self.state.job(id).await?.is_some()),
            Body::LoadImage(_)
            | Body::FetchImage(_)
            | Body::AcquireLease(_)
            | Body::RenewLease(_)
            | Body::ReleaseLease(_)
            | Body::EndRollout(_)
            | Body::SetSchema(_) => Ok(false),
        }
    }
}

/// What the call needs; forcing a lease open needs more than the call as such.
fn permission_for(method: &str, body: &v1::command::Body) -> Option<Permission> {
    match (need_of(method)?, body) {
        (Need::Signed(_), v1::command::Body::ReleaseLease(release)) if release.force => {
            Some(Permission::Administer)
        }
        (Need::Signed(permission), _) => Some(permission),
        (Need::Read, _) => None,
    }
}

/// Reads the payload, whose signature is known to be good by now.
fn decode(payload: &[u8]) -> Result<(Header, v1::command::Body), Refusal> {
    let malformed = |error: WireError| Refusal::malformed(WHAT, error);
    let command = v1::Command::decode(payload).map_err(|error| Refusal::malformed(WHAT, error))?;
    // Fields that this version does not know would be dropped in silence: the operator signed
    // something that this node does not understand the whole of.
    if command.encoded_len() != payload.len() {
        return Err(Refusal::malformed(
            WHAT,
            "it says things this node does not know",
        ));
    }
    let nonce = <[u8; 32]>::try_from(command.nonce.as_ref())
        .map_err(|_| Refusal::malformed(WHAT, "its nonce does not have 32 bytes"))?;
    let operation_id = command
        .operation_id
        .parse()
        .map_err(|error| malformed(WireError::invalid("operation_id", error)))?;
    let header = Header {
        version: command.version,
        fleet_id: command.fleet_id,
        node_id: command.node_id,
        method: command.method,
        operator: command.operator,
        nonce,
        issued_at: time::read_timestamp("issued_at", command.issued_at).map_err(malformed)?,
        expires_at: time::read_timestamp("expires_at", command.expires_at).map_err(malformed)?,
        operation_id,
    };
    let body = command
        .body
        .ok_or_else(|| malformed(WireError::missing("body")))?;
    Ok((header, body))
}
