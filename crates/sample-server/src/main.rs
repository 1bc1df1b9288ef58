//! sample-server: a stand-in for the Togather server, for demonstrations and tests.
//!
//! It is not the Togather server and shares no code with it. It promises what a deployment relies
//! on and no more: the same health, version and metrics answers, events in a real PostgreSQL with
//! PostGIS, a live stream, `scrape sync`, and a graceful stop. It is as strict as the Togather
//! server: what it demands before it starts, how often a client may ask, and the tables it needs
//! are the same. It can also be broken on purpose, in each way that matters to a rollout: see
//! [`fault`].

mod app;
mod events;
mod fault;
mod health;
mod healthcheck;
mod jobs;
mod limits;
mod metrics;
mod scrape;
mod seed;
mod serve;
mod settings;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::{
    fault::Fault,
    settings::{LogFormat, Settings},
};

/// A stand-in for the Togather server, for demonstrations and tests.
///
/// Everything but the command comes from the environment: DATABASE_URL; for `serve` also JWT_SECRET,
/// CORS_ALLOWED_ORIGINS, CSRF_KEY, SERVER_HOST, SERVER_PORT, DEPLOYMENT_SLOT or SLOT, ENVIRONMENT,
/// LOG_LEVEL, RATE_LIMIT_PUBLIC, TRUSTED_PROXY_CIDRS, JOB_TABLES (required or none),
/// SHUTDOWN_POOL_CLOSE_TIMEOUT_SECONDS, SCRAPER_POLL_*; and, set by the image, APP_VERSION,
/// APP_COMMIT, APP_BUILD_DATE, FAULT, and in seconds FAULT_AFTER, SLOW_START and SLOW_STOP.
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
    /// What events are taken from
    Scrape {
        #[command(subcommand)]
        what: Scrape,
    },
    /// Ask the server on this machine for its health; ends with 0 if it is healthy or degraded
    Healthcheck {
        /// Ask only whether it takes requests, which no limit counts
        #[arg(long)]
        ready: bool,
    },
    /// Fill the events table up to a number of made-up events, the same ones every time
    Seed {
        /// How many made-up events there are in the end
        #[arg(long, value_name = "N")]
        events: u32,
    },
    /// List the ways in which this server can be broken on purpose (FAULT)
    Faults,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Scrape {
    /// Write the sources that this version knows to the database; needs DATABASE_URL only
    Sync {
        /// Print what came of it as JSON
        #[arg(long)]
        json: bool,
    },
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
            let settings = Settings::of_a_server(variable)?;
            begin(&settings);
            serve::serve(settings).await?;
        }
        Command::Scrape {
            what: Scrape::Sync { json },
        } => {
            let settings = Settings::read(variable)?;
            begin(&settings);
            let summary = scrape::sync(&settings).await?;
            say(&if json {
                serde_json::to_string(&summary)?
            } else {
                format!("{} sources are in step", summary.total)
            })?;
        }
        Command::Healthcheck { ready } => {
            let address = Settings::address(variable)?;
            if Settings::fault(variable)? == Some(Fault::FailingHook) {
                bail!("this release's check is made to fail (FAULT=failing-hook)");
            }
            say(&healthcheck::ask(address, if ready { "/readyz" } else { "/health" }).await?)?;
        }
        Command::Seed { events } => {
            let settings = Settings::read(variable)?;
            begin(&settings);
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

fn variable(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

/// Starts the log.
fn begin(settings: &Settings) {
    let log = tracing_subscriber::fmt()
        .with_max_level(settings.log_level)
        .with_writer(io::stderr);
    match settings.log_format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
    }
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("standard output is closed")
}
