//! devfleet: a fleet on one machine. Whole Togather nodes as containers, with an image registry and
//! an S3-compatible store beside them, everything published on loopback addresses.

mod bench;
mod bundles;
mod course;
mod demo;
mod down;
mod images;
mod layout;
mod load;
mod network;
mod nodes;
mod process;
mod record;
mod releases;
mod report;
mod s3;
mod seed;
mod services;
mod setup;
mod status;
mod up;
mod versions;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    prelude::*,
};

use crate::{
    layout::{Layout, Node},
    load::Wanted as LoadWanted,
    releases::Wanted,
    report::Report,
};

/// A Togather fleet on one machine, for development, tests and demonstrations.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up a fleet, or repair one; installs what this machine lacks
    Up {
        /// How many nodes
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(Node::MOST)))]
        nodes: u8,
    },
    /// Take away the fleet, or one node with its data
    Down {
        /// Only this node
        node: Option<Node>,
        /// Also remove the images
        #[arg(long, conflicts_with = "node")]
        images: bool,
    },
    /// Cut a node off the network
    Cut {
        /// For example node-2
        node: Node,
    },
    /// Take a node that was cut off back in
    Heal {
        /// For example node-2
        node: Node,
    },
    /// Take the power from a node
    Kill {
        /// For example node-2
        node: Node,
    },
    /// Start a node that was killed
    Start {
        /// For example node-2
        node: Node,
    },
    /// Show what a node's agent, proxy and Docker Engine had to say
    Logs {
        /// For example node-2
        node: Node,
        /// How many lines of each
        #[arg(long, default_value_t = 50)]
        lines: u32,
    },
    /// Run a command in a node
    Exec {
        /// For example node-2
        node: Node,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Make a release of the sample server, whole or broken on purpose
    Release(Wanted),
    /// Send HTTP load to the nodes, or to other loopback addresses, and count what became of it;
    /// ends with 1 if a request failed
    Load(LoadWanted),
    /// Roll a good release and a broken one across three nodes under load, and prove that no
    /// request failed
    Demo,
    /// Measure a running fleet against floors measured in the same run
    Bench,
    /// Measure snapshots of a database of a million events on a running fleet, against bare pg_dump
    /// and pg_restore in the same run
    BenchSnapshot,
    /// Record a rollout as an animated picture, docs/rollout.svg
    Record {
        /// Where the picture goes
        #[arg(long, value_name = "FILE", default_value = "docs/rollout.svg")]
        out: PathBuf,
    },
    /// Serve a folder as an S3-compatible store; keys from AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY
    S3 {
        /// The folder; a bucket is a folder in it
        #[arg(long)]
        root: PathBuf,
        /// The address to listen on
        #[arg(long)]
        listen: SocketAddr,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let told = std::env::var("RUST_LOG").ok();
    let filter = told
        .and_then(|text| text.parse::<Targets>().ok())
        .unwrap_or_else(|| {
            Targets::new()
                .with_default(LevelFilter::WARN)
                .with_target("devfleet", LevelFilter::INFO)
        });
    tracing_subscriber::registry()
        .with(filter)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .init();
    match run(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            Report::begin().fail(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    let report = Report::begin();
    match command {
        Command::Up { nodes } => up::up(&report, &Layout::find()?, nodes).await?,
        Command::Down {
            node: Some(node), ..
        } => down::one(&report, node).await?,
        Command::Down { node: None, images } => {
            down::everything(&report, &Layout::find()?, images).await?;
        }
        Command::Cut { node } => {
            network::cut(node).await?;
            report.say(format_args!(
                "{node}: cut off; `devfleet heal {node}` takes it back in"
            ));
        }
        Command::Heal { node } => {
            network::heal(node).await?;
            report.say(format_args!("{node}: back in"));
        }
        Command::Kill { node } => {
            nodes::kill(node).await?;
            report.say(format_args!(
                "{node}: killed; `devfleet start {node}` starts it again"
            ));
        }
        Command::Start { node } => nodes::start(&report, node).await?,
        Command::Logs { node, lines } => report::print(nodes::logs(node, lines).await?),
        Command::Exec { node, command } => {
            let status = nodes::exec(node).args(command).on_terminal().await?;
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
        Command::Release(wanted) => {
            let file = releases::make(&report, &Layout::find()?, &wanted).await?;
            report::print(file.display());
        }
        Command::Load(wanted) => return load::command(&report, &wanted).await,
        Command::Demo => demo::demo(&report, &Layout::find()?).await?,
        Command::Bench => bench::bench(&report, &Layout::find()?).await?,
        Command::BenchSnapshot => {
            bench::bench_snapshots(&report, &Layout::find()?).await?;
        }
        Command::Record { out } => record::record(&report, &Layout::find()?, &out).await?,
        Command::S3 { root, listen } => s3::serve(&root, listen).await?,
    }
    Ok(ExitCode::SUCCESS)
}
