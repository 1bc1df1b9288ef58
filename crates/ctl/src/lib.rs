//! The controller's library: what `togather-ctl` does, apart from reading its command line.

pub mod client;
pub mod error;
pub mod files;
pub mod fleet;
pub mod rollout;
pub mod session;
