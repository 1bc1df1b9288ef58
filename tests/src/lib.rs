//! The fleet tested from outside: the real programs on whole nodes, driven as an operator would.
//!
//! A node here is what `make fleet-up` makes: systemd, a Docker Engine, Caddy and the agent's own
//! unit. Tests take the fleet in turn, each finds it whole and on a known version, and a test that
//! fails prints what the nodes had to say.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "tests: a panic is the report, and a failed one prints the nodes' logs"
)]

pub mod fleet;
pub mod program;

pub use fleet::Fleet;
pub use program::{Program, Ran};
