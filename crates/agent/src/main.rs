//! `togather-agent`: a systemd service, one per node.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Parser, Subcommand};
use togather_agent::{
    archive::Inbox,
    assembly::Parts,
    config::Config,
    gate::Gate,
    operations::Operations,
    server::{self, Services},
    service,
};
use togather_model::{Failure, FailureKind};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How long a stop waits for calls and for a deployment under way. What has not ended by then is in
/// the journal, and is taken up at the next start.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Looks after one Togather node.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Looks after the node until it is told to stop.
    Run(Files),
    /// Checks the whole configuration and prints every value in effect. Changes nothing.
    Check(Files),
}

#[derive(clap::Args)]
struct Files {
    /// The node's agent.yml; the other files lie beside it.
    #[arg(long, default_value = "/etc/togather/agent.yml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Run(files) => run(&files.config),
        Command::Check(files) => check(&files.config),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

fn check(agent_yml: &Path) -> Result<(), Failure> {
    install_crypto();
    let config = configure(agent_yml)?;
    Parts::of(&config).map_err(|e| misconfigured(&e))?;
    let effective = config.effective().map_err(|e| misconfigured(&e))?;
    let written = io::stdout().lock().write_all(effective.as_bytes());
    written.map_err(|e| failed("the values in effect could not be printed", &e))
}

fn run(agent_yml: &Path) -> Result<(), Failure> {
    start_logging();
    install_crypto();
    let config = configure(agent_yml)?;
    let parts = Parts::of(&config).map_err(|e| misconfigured(&e))?;
    // Two threads: one may be busy with a signature while the other answers.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| failed("the agent could not start its threads", &e))?;
    let ended = runtime.block_on(Box::pin(serve(config, parts)));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(config: Config, parts: Parts) -> Result<(), Failure> {
    let agent = &config.agent;
    let (keys, caddy) = (Arc::clone(&parts.keys), Arc::clone(&parts.caddy));
    std::fs::create_dir_all(&agent.state)
        .map_err(|e| failed("the folder `state` in agent.yml could not be made", &e))?;
    let inbox = Inbox::open(agent.state.clone())
        .map_err(|e| failed("the folder `state` in agent.yml could not be read", &e))?;
    let (node, tls) = parts
        .into_node(&config)
        .await
        .map_err(|e| failed("the node's memory could not be opened", &e))?;

    if let Err(error) = caddy.reload().await {
        let failure = Failure::caused_by(FailureKind::Other, "Caddy was not reloaded", &error);
        tracing::warn!(%failure, "if Caddy serves by another snippet than the one on disk, that stays so");
    }
    let operations = Operations::new(node.clone());
    let interrupted = operations.resume().await;
    if let Some(operation) = interrupted.map_err(|e| failed("the journal could not be read", &e))? {
        tracing::warn!(operation = %operation.id, version = operation.version, "taking up what was interrupted");
    }

    let listener = TcpListener::bind(agent.listen)
        .await
        .map_err(|e| failed(&format!("cannot listen on {}", agent.listen), &e))?;
    let stopping = CancellationToken::new();
    let tls = Arc::new(tls);
    service::reload_on_hangup(Arc::clone(&keys), Arc::clone(&tls))
        .map_err(|e| failed("the agent could not listen for signals", &e))?;
    let services = Services {
        gate: Gate::new(
            agent.fleet.to_string(),
            agent.node.id.to_string(),
            keys,
            node.state.clone(),
            Arc::clone(&node.host),
        ),
        node,
        node_id: agent.node.id.to_string(),
        operations: operations.clone(),
        inbox,
        stopping: stopping.clone(),
    };
    let serving = tokio::spawn(server::serve(listener, tls, services));
    tracing::info!(node = %agent.node.name, listen = %agent.listen, version = env!("CARGO_PKG_VERSION"), "ready");
    service::announce();

    let asked = service::asked_to_stop().await;
    asked.map_err(|e| failed("the agent could not listen for signals", &e))?;
    tracing::info!("stopping");
    service::announce_stop();
    stopping.cancel();
    let (unanswered, interrupted) =
        tokio::join!(timeout(STOP_WITHIN, serving), operations.wait(STOP_WITHIN));
    if unanswered.is_err() {
        tracing::warn!("stopped while calls were under way");
    }
    if interrupted {
        tracing::warn!("stopped in the middle of a deployment; it is taken up at the next start");
    }
    Ok(())
}

fn configure(agent_yml: &Path) -> Result<Config, Failure> {
    Config::load(agent_yml).map_err(|e| misconfigured(&e))
}

/// ring, for the whole process: whatever library asks for a default gets this one.
fn install_crypto() {
    // It can only have been installed before, and then it is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Logs go to standard error. The journal adds time and colour by itself.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        logs.without_time().with_ansi(false).init();
    } else {
        logs.with_ansi(io::stderr().is_terminal()).init();
    }
}

fn misconfigured(error: &dyn std::error::Error) -> Failure {
    Failure::caused_by(
        FailureKind::Configuration,
        "the configuration is wrong",
        error,
    )
}

fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::caused_by(FailureKind::Other, what, error)
}

fn tell(failure: &Failure) {
    let mut text = format!("togather-agent: {failure}\n");
    for next in &failure.next {
        text.push_str(&format!("  {next}\n"));
    }
    // Where standard error is gone, the exit code still tells.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
