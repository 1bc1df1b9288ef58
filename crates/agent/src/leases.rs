//! The node's lease: taken, renewed, released, and shown by whoever orders something.
//!
//! The rules are the model's; here they meet the state, the clock and the operation under way.

use std::time::Duration;

use togather_model::{Failure, FailureKind, Lease, Operation, Ulid, lease};
use togather_trust::OperatorName;

use crate::{
    node::Node,
    state::{RolloutRecord, StateError},
};

/// The holder and fencing number that whoever orders something was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The rollout or rollback the lease was taken for.
    pub holder: Ulid,
    /// The number it got.
    pub fencing: u64,
}

/// Takes the lease, and remembers the rollout it is for.
///
/// `rollout` is the stored rollout and its release file, as they came.
///
/// # Errors
/// Somebody else has the node, by their lease or by an operation of theirs that is under way.
pub async fn acquire(
    node: &Node,
    operator: &OperatorName,
    holder: Ulid,
    lifetime: Duration,
    rollout: Option<(Vec<u8>, Vec<u8>)>,
) -> Result<Lease, Failure> {
    if let Some((running, _)) = node.state.running().await.map_err(unusable)?
        && running.rollout != Some(holder)
    {
        return Err(busy(&running));
    }
    let now = node.host.now();
    let decide =
        |last: Option<&Lease>| lease::acquire(last, holder, operator.as_str(), lifetime, now);
    let lease = node.state.change_lease(decide).await.map_err(unusable)??;
    if let Some((rollout, release)) = rollout {
        let record = RolloutRecord {
            id: holder,
            operator: operator.to_string(),
            rollout,
            release,
            created_at: now,
            ending: String::new(),
        };
        node.state.keep_rollout(&record).await.map_err(unusable)?;
    }
    Ok(lease)
}

/// Moves the lease's end.
///
/// # Errors
/// The lease was lost, or is another operator's.
pub async fn renew(
    node: &Node,
    operator: &OperatorName,
    proof: Proof,
    lifetime: Duration,
) -> Result<Lease, Failure> {
    let now = node.host.now();
    let decide = |current: Option<&Lease>| {
        owned(current, operator)?;
        lease::renew(current, proof.holder, proof.fencing, lifetime, now)
    };
    node.state.change_lease(decide).await.map_err(unusable)?
}

/// Ends the lease; with `force` whoever holds it. What has ended already is fine.
///
/// # Errors
/// It is somebody else's, and `force` was not asked for.
pub async fn release(
    node: &Node,
    operator: &OperatorName,
    proof: Proof,
    force: bool,
) -> Result<(), Failure> {
    let now = node.host.now();
    let current = node.state.lease().await.map_err(unusable)?;
    let Some(current) = current.filter(|lease| lease.is_live(now)) else {
        return Ok(());
    };
    let decide = |current: Option<&Lease>| {
        let lease = match current {
            Some(lease) if force => lease,
            _ => {
                owned(current, operator)?;
                lease::check(current, proof.holder, proof.fencing, now)?
            }
        };
        // The record stays: the next lease's fencing number counts on from it.
        Ok(Lease {
            expires_at: now.min(lease.expires_at),
            ..lease.clone()
        })
    };
    node.state.change_lease(decide).await.map_err(unusable)??;
    if force && current.operator != operator.as_str() {
        tracing::warn!(by = %operator, of = current.operator, "a lease was ended by force");
    }
    Ok(())
}

/// Checks that whoever orders something has the node now.
///
/// # Errors
/// They do not.
pub async fn check(node: &Node, operator: &OperatorName, proof: Proof) -> Result<(), Failure> {
    let current = node.state.lease().await.map_err(unusable)?;
    owned(current.as_ref(), operator)?;
    lease::check(
        current.as_ref(),
        proof.holder,
        proof.fencing,
        node.host.now(),
    )?;
    Ok(())
}

/// Checks that nobody else has the node now. Whoever orders something needs no lease of their own
/// for it.
///
/// # Errors
/// Another operator's lease lives.
pub async fn must_be_free_for(node: &Node, operator: &str) -> Result<(), Failure> {
    let current = node.state.lease().await.map_err(unusable)?;
    match current.filter(|lease| lease.is_live(node.host.now())) {
        Some(lease) if lease.operator != operator => Err(Failure::new(
            FailureKind::Held,
            format!(
                "{} has the lease on this node (for {}) until {:.0}",
                lease.operator, lease.holder, lease.expires_at
            ),
        )
        .next("look with `togather-ctl lock show`")),
        Some(_) | None => Ok(()),
    }
}

/// Holder and fencing number are no secrets; a lease is good only in the hands of who took it.
fn owned(current: Option<&Lease>, operator: &OperatorName) -> Result<(), Failure> {
    match current {
        Some(lease) if lease.operator != operator.as_str() => Err(Failure::new(
            FailureKind::Held,
            format!(
                "the lease on this node was taken by {} (for {}), not by {operator}",
                lease.operator, lease.holder
            ),
        )
        .next("look with `togather-ctl lock show`")),
        Some(_) | None => Ok(()),
    }
}

/// The refusal of somebody who comes while this operation is under way.
#[must_use]
pub fn busy(running: &Operation) -> Failure {
    Failure::new(
        FailureKind::Held,
        format!(
            "{} is being brought to this node by {} since {:.0} (operation {})",
            running.version, running.operator, running.started_at, running.id
        ),
    )
    .next("wait for it to end; it ends by itself, whether or not anyone watches")
}

fn unusable(error: StateError) -> Failure {
    Failure::caused_by(
        FailureKind::Other,
        "the lease could not be looked at",
        &error,
    )
    .next("look at `df -h` and the agent's journal on the node")
}
