//! The story of a rollout.

pub mod stored;
