//! The wire: types generated from `proto/`, and conversions between them and the model.
//!
//! From the model to the wire is `From` and cannot fail. From the wire to the model is `TryFrom`:
//! what came from elsewhere is believed only once every field was read, and a [`WireError`] names
//! the field that was not as it should be.

mod command;
mod deployment;
mod enums;
mod error;
mod event;
mod failure;
pub mod method;
mod node;
pub mod time;

pub use error::WireError;
pub use failure::{failure_of, failures_of, to_failures, to_status};

/// The generated types and services of `togather.fleet.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("togather.fleet.v1");
}

/// The encoded descriptors of all our protobuf files; a test walks them so that no method is
/// without a role.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/togather.fleet.v1.fds"));

/// The largest message either side sends or takes, in bytes. A release file is the largest thing
/// that travels in one piece (at most 3 MiB); image archives go in chunks.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
