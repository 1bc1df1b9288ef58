//! sample-server: a stand-in for the Togather server, for demonstrations and tests.
//!
//! It is not the Togather server and shares no code with it. It promises what a deployment relies
//! on and no more: the same health, version and metrics answers, events in a real PostgreSQL with
//! PostGIS, a live stream, the `sync` hook, and a graceful stop. It can also be broken on purpose,
//! in each way that matters to a rollout: see [`fault`].

mod app;
mod events;
mod fault;
mod health;
mod healthcheck;
mod metrics;
mod seed;
mod serve;
mod settings;
mod sync;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::{
    fault::Fault,
    settings::{LogFormat, Settings},
};

/// A stand-in for the Togather server, for demonstrations and tests.
///
/// Everything but the command comes from the environment: DATABASE_URL, SERVER_HOST, SERVER_PORT,
/// DEPLOYMENT_SLOT, ENVIRONMENT, LOG_LEVEL; and, set by the image, APP_VERSION, APP_COMMIT,
/// APP_BUILD_DATE, FAULT, FAULT_AFTER and SLOW_START (both in seconds).
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Serve until SIGTERM (what it does without a command)
    Serve,
    /// The hook of a release: stands for the Togather server's `server scrape sync`
    Sync,
    /// Ask the server on this machine for its health; ends with 0 only if it is healthy
    Healthcheck,
    /// Fill the events table up to a number of made-up events, the same ones every time
    Seed {
        /// How many made-up events there are in the end
        #[arg(long, value_name = "N")]
        events: u32,
    },
    /// List the ways in which this server can be broken on purpose (FAULT)
    Faults,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let command = Arguments::parse().command.unwrap_or(Command::Serve);
    match run(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error takes nothing from the exit code.
            let _ = writeln!(io::stderr(), "sample-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Serve => {
            let settings = begin()?;
            serve::serve(settings).await?;
        }
        Command::Sync => {
            let settings = begin()?;
            let sources = sync::sync(&settings).await?;
            say(&format!("{sources} sources are in step"))?;
        }
        Command::Healthcheck => {
            let address = Settings::address(|key| std::env::var(key).ok())?;
            say(&healthcheck::ask(address).await?)?;
        }
        Command::Seed { events } => {
            let settings = begin()?;
            let added = seed::seed(&settings.pool(), events.into()).await?;
            say(&format!("{added} events added, {events} wanted"))?;
        }
        Command::Faults => {
            for fault in Fault::ALL {
                say(fault.as_str())?;
            }
        }
    }
    Ok(())
}

/// Reads the settings and starts the log.
fn begin() -> Result<Settings> {
    let settings = Settings::read(|key| std::env::var(key).ok())?;
    let log = tracing_subscriber::fmt()
        .with_max_level(settings.log_level)
        .with_writer(io::stderr);
    match settings.log_format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
    }
    Ok(settings)
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("standard output is closed")
}
