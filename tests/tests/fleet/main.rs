//! The whole fleet from outside: three real nodes, the real programs, real load.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests: a panic is the report"
)]

mod broken;
mod degraded;
mod demo;
mod expect;
mod first_try;
mod interrupted;
mod load;
mod prefetch;
mod readme;
mod redeploy;
mod refused;
mod rollout;
mod snapshots;
mod stopping;
mod strict;
mod unreachable;
mod visitors;
