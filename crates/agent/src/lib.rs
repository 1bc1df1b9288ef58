//! `togather-agent`: looks after one node. It alone touches Docker, Caddy, PostgreSQL and the
//! snapshots, owns the node's truth, and finishes or takes back what it began.

pub mod archive;
pub mod assembly;
pub mod config;
pub mod configuration;
pub mod containers;
pub mod database;
pub mod deploy;
pub mod fetches;
pub mod follow;
pub mod gate;
pub mod health;
pub mod host;
pub mod jobs;
pub mod leases;
pub mod log;
pub mod lookout;
pub mod metrics;
pub mod migrations;
pub mod node;
pub mod operations;
pub mod progress;
pub mod reload;
pub mod schedule;
pub mod server;
pub mod service;
pub mod snapshots;
pub mod state;
pub mod status;
pub mod traffic;
