//! The whole fleet from outside: three real nodes, the real programs, real load.

mod broken;
mod demo;
mod interrupted;
mod load;
mod readme;
mod refused;
mod rollout;
mod unreachable;
