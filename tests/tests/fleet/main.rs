//! The whole fleet from outside: three real nodes, the real programs, real load.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests: a panic is the report"
)]

mod broken;
mod demo;
mod interrupted;
mod load;
mod readme;
mod refused;
mod rollout;
mod snapshots;
mod strict;
mod unreachable;
