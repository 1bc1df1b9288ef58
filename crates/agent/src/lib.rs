//! `togather-agent`: looks after one node. It alone touches Docker, Caddy, PostgreSQL and the
//! snapshots, owns the node's truth, and finishes or takes back what it began.

pub mod config;
pub mod containers;
pub mod database;
pub mod deploy;
pub mod health;
pub mod host;
pub mod migrations;
pub mod node;
pub mod snapshots;
pub mod state;
pub mod traffic;
