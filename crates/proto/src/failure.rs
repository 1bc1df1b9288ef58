//! Failures on the wire, alone and inside a gRPC status.

use prost::Message;
use togather_model::{Failure, FailureKind};
use tonic::{Code, Status};

use crate::{
    enums::{ReadNumber, number, optional_step},
    error::{WireError, read_all},
    v1,
};

impl From<Failure> for v1::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            kind: number::<v1::FailureKind>(failure.kind),
            step: failure.step.map_or(0, number::<v1::Step>),
            what: failure.what,
            causes: failure.causes,
            next: failure.next,
        }
    }
}

impl TryFrom<v1::Failure> for Failure {
    type Error = WireError;

    fn try_from(wire: v1::Failure) -> Result<Self, WireError> {
        Ok(Self {
            kind: FailureKind::read_number("kind", wire.kind)?,
            step: optional_step("step", wire.step)?,
            what: wire.what,
            causes: wire.causes,
            next: wire.next,
        })
    }
}

/// Several failures, as a refused plan carries them.
#[must_use]
pub fn to_failures(failures: Vec<Failure>) -> v1::Failures {
    v1::Failures {
        failures: failures.into_iter().map(Into::into).collect(),
    }
}

/// The failures of a refused plan.
///
/// # Errors
/// One of them cannot be read.
pub fn failures_of(wire: v1::Failures) -> Result<Vec<Failure>, WireError> {
    read_all("failures", wire.failures)
}

/// A failure as the status of a gRPC call: code and message for any client, and the whole failure
/// in the details for ours.
#[must_use]
pub fn to_status(failure: &Failure) -> Status {
    let code = match failure.kind {
        FailureKind::Other => Code::Internal,
        FailureKind::Held => Code::Aborted,
        FailureKind::Unhealthy | FailureKind::Migration | FailureKind::Stuck => {
            Code::FailedPrecondition
        }
        FailureKind::Unreachable => Code::Unavailable,
        FailureKind::NotAllowed => Code::PermissionDenied,
        FailureKind::Configuration => Code::InvalidArgument,
    };
    let details = v1::Failure::from(failure.clone()).encode_to_vec();
    Status::with_details(code, failure.what.clone(), details.into())
}

/// The failure inside the status of a gRPC call; `None` if the other side put none there (the call
/// did not arrive, or something between the two answered).
#[must_use]
pub fn failure_of(status: &Status) -> Option<Failure> {
    if status.details().is_empty() {
        return None;
    }
    let wire = v1::Failure::decode(status.details()).ok()?;
    Failure::try_from(wire).ok()
}
