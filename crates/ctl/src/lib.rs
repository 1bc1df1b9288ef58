//! The controller's library: what `togather-ctl` does, from its command line to its exit code.
//!
//! It keeps no state of its own: whatever it shows or goes on with, it has asked the nodes.

mod cli;
pub mod client;
mod commands;
pub mod error;
pub mod files;
pub mod fleet;
pub mod jobs;
pub mod release;
pub mod rollout;
pub mod session;
pub mod ui;

pub use cli::run;
