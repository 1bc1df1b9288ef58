//! `togather-agent`: a systemd service, one per node.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Parser, Subcommand};
use togather_agent::{
    archive::Inbox,
    assembly::Parts,
    config::Config,
    configuration,
    containers::compose,
    gate::Gate,
    jobs::Jobs,
    lookout::Lookout,
    metrics::Metrics,
    operations::Operations,
    reload::Reloaded,
    schedule::{Schedule, ScheduleSettings},
    server::{self, Services, Tls},
    service,
};
use togather_model::{Failure, FailureKind};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    prelude::*,
};

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
    Check(Check),
}

#[derive(clap::Args)]
struct Check {
    #[command(flatten)]
    files: Files,
    /// Asks the snapshot store as well: whether it can be read and written, and whether it keeps an
    /// object from being replaced. Stores a tiny object for that, and removes it. Needs the agent's
    /// environment, where the store's credentials are.
    #[arg(long)]
    store: bool,
    /// Prints the Compose file as it will be run instead, every value filled in and secrets masked.
    #[arg(long)]
    resolved: bool,
}

#[derive(clap::Args)]
struct Files {
    /// The node's agent.yml; the other files lie beside it.
    #[arg(long, default_value = "/etc/togather/agent.yml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Run(files) => on_threads(run(files.config)),
        Command::Check(wanted) => on_threads(check(wanted)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

/// Two threads: one may be busy with a signature while the other answers.
fn on_threads(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| failed("the agent could not start its threads", &e))?;
    let ended = runtime.block_on(Box::pin(work));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn check(wanted: Check) -> Result<(), Failure> {
    install_ring();
    let config = Config::load(&wanted.files.config).map_err(|e| misconfigured(&e))?;
    let parts = Parts::of(&config).map_err(|e| misconfigured(&e))?;
    if wanted.resolved {
        return print(&resolved(&config)?);
    }
    let effective = config.effective().map_err(|e| misconfigured(&e))?;
    // What follows from several values is a comment, so that the whole stays YAML.
    let place = parts.place_of_programs();
    let mut shown = format!("{}\n# {place}\n", effective.trim_end());
    for warning in &config.warnings {
        shown.push_str(&format!("# warning: {warning}\n"));
    }
    let service = &config.deployment.app.service;
    let compose = compose::load(&config.compose, &config.environment, service);
    for warning in compose.map_err(|e| misconfigured(&e))?.warnings {
        shown.push_str(&format!("# warning: docker-compose.yml, {warning}\n"));
    }
    if let Err(error) = parts.check_registries() {
        let failure = misconfigured(&error);
        shown.push_str(&format!("# no image can be pulled: {failure}\n"));
    }
    if let Some(warning) = parts.caddy().warning() {
        shown.push_str(&format!("# warning: {warning}\n"));
    }
    if wanted.store {
        shown.push_str(&parts.look_at_store().await?);
    }
    print(&shown)?;
    parts.caddy().look().await.map_err(|e| misconfigured(&e))
}

/// The Compose file as it will be run, for people to look at.
fn resolved(config: &Config) -> Result<String, Failure> {
    let service = &config.deployment.app.service;
    let shown = compose::resolved(&config.compose, &config.environment, service);
    let mut shown = shown.map_err(|e| misconfigured(&e))?;
    for name in compose::SUPPLIED {
        if shown.contains(&format!("${{{name}}}")) {
            shown.push_str(&format!(
                "# {name} is known only when the app's container is made\n"
            ));
        }
    }
    Ok(shown)
}

fn print(text: &str) -> Result<(), Failure> {
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|e| failed("the values in effect could not be printed", &e))
}

async fn run(agent_yml: PathBuf) -> Result<(), Failure> {
    start_logging();
    install_ring();
    let (config, parts, files) = configuration::to_start_with(&agent_yml)?;
    let (services, tls) = assemble(&config, parts, files).await?;
    serve_metrics(&config, &services).await?;
    let (operations, jobs) = (services.operations.clone(), services.jobs.clone());
    let fetches = services.node.fetches.clone();
    remove_left_overs(&services);
    take_up_what_was_interrupted(&operations, &jobs).await?;
    let snapshots = &config.agent.snapshots;
    let schedule = ScheduleSettings {
        create: snapshots.schedule.clone(),
        verify: snapshots.verify.clone(),
        prune: snapshots.prune.clone(),
        jitter: snapshots.jitter,
    };
    let schedule = Schedule::start(services.node.clone(), jobs.clone(), schedule).await;
    let schedule = schedule.map_err(|e| failed("the schedule did not start", &e))?;

    let stopping = services.stopping.clone();
    services.lookout.keep(&jobs, stopping.clone());
    let listen = config.agent.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| failed(&format!("cannot listen on {listen}"), &e))?;
    let serving = tokio::spawn(server::serve(listener, tls, services));
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(node = %config.agent.node.name, %listen, version, "ready");
    service::announce();

    let asked = service::asked_to_stop().await;
    asked.map_err(|e| failed("the agent could not listen for signals", &e))?;
    tracing::info!("stopping");
    service::announce_stop();
    stopping.cancel();
    schedule.stop().await;
    fetches.stop();
    let (answered, interrupted, broken_off) = tokio::join!(
        timeout(STOP_WITHIN, serving),
        operations.wait(STOP_WITHIN),
        jobs.wait(STOP_WITHIN)
    );
    if answered.is_err() {
        tracing::warn!("stopped while calls were under way");
    }
    if interrupted {
        tracing::warn!("stopped in the middle of a deployment; it is taken up at the next start");
    }
    if broken_off {
        tracing::warn!("stopped in the middle of a job; the next start puts it in order");
    }
    Ok(())
}

/// ring, for the whole process: whatever library asks for a default gets this one. It can only have
/// been installed before, and then it is there.
fn install_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Opens the node's memory and puts the parts together.
async fn assemble(
    config: &Config,
    parts: Parts,
    files: configuration::Files,
) -> Result<(Services, Arc<Reloaded<Tls>>), Failure> {
    let agent = &config.agent;
    let (keys, caddy) = (Arc::clone(&parts.keys), parts.caddy());
    let unusable =
        |e: &dyn std::error::Error| failed("the folder `state` in agent.yml cannot be used", e);
    std::fs::create_dir_all(&agent.state).map_err(|e| unusable(&e))?;
    let inbox = Inbox::open(agent.state.clone()).map_err(|e| unusable(&e))?;
    let node = parts.into_node(config, Arc::new(files)).await;
    let (node, tls) = node.map_err(|e| failed("the node's memory cannot be opened", &e))?;
    let tls = Arc::new(tls);
    if let Some(warning) = caddy.warning() {
        tracing::warn!("{warning}");
    }
    if let Err(error) = caddy.reload().await {
        let failure = failed("Caddy was not reloaded", &error);
        tracing::warn!(%failure, "what Caddy serves may differ from the snippet on disk");
    }
    service::reload_on_hangup(Arc::clone(&keys), Arc::clone(&tls))
        .map_err(|e| failed("the agent could not listen for signals", &e))?;
    let (fleet_id, node_id) = (agent.fleet.to_string(), agent.node.id.to_string());
    let (state, host) = (node.state.clone(), Arc::clone(&node.host));
    let lookout = Lookout::open(node.clone(), agent.snapshots.overdue_after).await;
    let lookout = lookout.map_err(|e| failed("the node's memory cannot be read", &e))?;
    let services = Services {
        gate: Gate::new(fleet_id, node_id.clone(), keys, state, host),
        operations: Operations::new(node.clone()),
        jobs: Jobs::new(node.clone()),
        lookout,
        node,
        node_id,
        inbox,
        stopping: CancellationToken::new(),
    };
    Ok((services, tls))
}

/// Before anything is taken up: an address that cannot be used is to be seen at once.
async fn serve_metrics(config: &Config, services: &Services) -> Result<(), Failure> {
    let Some(listen) = config.agent.metrics.listen else {
        return Ok(());
    };
    let (state, lookout) = (services.node.state.clone(), services.lookout.clone());
    let metrics = Metrics::listen(listen, state, lookout).await.map_err(|e| {
        failed(&format!("cannot listen on {listen} for metrics"), &e)
            .next("set `metrics.listen` in agent.yml to a free address of this machine")
    })?;
    let address = metrics.address().unwrap_or(listen);
    tracing::info!(%address, "metrics");
    tokio::spawn(metrics.serve(services.stopping.clone()));
    Ok(())
}

/// Removes the containers of programs that the last run of the agent left. No new one is started
/// before that was done; if it fails now, the first that is to be started tries again.
fn remove_left_overs(services: &Services) {
    let snapshots = services.node.in_force().snapshots;
    tokio::spawn(async move {
        if let Err(error) = snapshots.remove_left_overs().await {
            let failure = failed("programs may still run", &error);
            tracing::warn!(%failure, "left until the next program is started");
        }
    });
}

async fn take_up_what_was_interrupted(operations: &Operations, jobs: &Jobs) -> Result<(), Failure> {
    let interrupted = operations.resume().await;
    let interrupted = interrupted.map_err(|e| failed("the journal cannot be read", &e))?;
    if let Some(operation) = interrupted {
        let (id, version) = (operation.id, operation.version);
        tracing::warn!(operation = %id, version, "taking up what was interrupted");
    }
    let interrupted = jobs.resume().await;
    let interrupted = interrupted.map_err(|e| failed("the state cannot be read", &e))?;
    if let Some(job) = interrupted {
        let kind = job.kind.as_str();
        tracing::warn!(job = %job.id, kind, "putting in order what was interrupted");
    }
    Ok(())
}

/// Logs go to standard error. The journal adds time and colour by itself.
fn start_logging() {
    let asked = std::env::var("RUST_LOG").ok();
    let filter = asked
        .and_then(|text| text.parse::<Targets>().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let logs = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(io::stderr);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        logs.with(lines.without_time().with_ansi(false)).init();
    } else {
        logs.with(lines.with_ansi(io::stderr().is_terminal()))
            .init();
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
