//! The wire: types generated from `proto/`, and conversions between them and the model.

/// The generated types and services of `togather.fleet.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("togather.fleet.v1");
}

/// The encoded descriptors of all our protobuf files; a test walks them so that no method is
/// without a role.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/togather.fleet.v1.fds"));
