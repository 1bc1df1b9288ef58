//! The program from outside: its command line alone, and whole rollouts against nodes that speak
//! the real protocol over real TLS and do as they are told by the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in tests, a panic is the report"
)]

mod command_line;
mod commands;
mod interrupted;
mod rollout;
mod snapshot;
mod support;
