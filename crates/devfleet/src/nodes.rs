//! A node is a container that runs systemd, its own Docker Engine, Caddy and the agent's real
//! service, so that the real unit, the real sockets and the real proxy are what is tried.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use crate::{
    images,
    layout::{LABEL, NETWORK, Node},
    network::{self, Subnet},
    process::{Call, docker},
    report::Report,
    seed,
    setup::Engine,
};

const BOOTING: Duration = Duration::from_secs(90);

/// What systemd and a Docker Engine need inside a container where `--privileged` may not be asked
/// for: everything but CAP_SYS_RESOURCE and what nobody here uses.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PTRACE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
];

/// A command inside a node.
pub(crate) fn exec(node: Node) -> Call {
    docker(["exec", "--interactive", &node.container()])
}

/// The nodes that exist, running or not, in order.
pub(crate) async fn existing() -> Result<Vec<Node>> {
    let names = docker(["ps", "--all", "--format", "{{.Names}}", "--filter"])
        .arg(format!("label={LABEL}"))
        .run()
        .await?;
    let mut nodes: Vec<Node> = names
        .lines()
        .filter_map(|name| name.strip_prefix("togather-")?.parse().ok())
        .collect();
    nodes.sort();
    Ok(nodes)
}

/// Makes the node, or starts it if it stands still, and waits until all of it runs.
pub(crate) async fn ensure(
    report: &Report,
    node: Node,
    engine: &Engine,
    subnet: Subnet,
) -> Result<()> {
    let network = format!("{{{{if index .NetworkSettings.Networks \"{NETWORK}\"}}}}on{{{{end}}}}");
    let format = format!("{{{{.Image}}}}|{{{{.State.Running}}}}|{network}");
    let have = docker(["container", "inspect", "--format", &format])
        .arg(node.container())
        .ended()
        .await?;
    let facts: Vec<_> = have.stdout.split('|').collect();
    let [made_from, running, network] = facts[..] else {
        create(node, engine, subnet).await?;
        await_running(report, node).await?;
        report.say(format_args!(
            "{node}: runs, http://{}:8080",
            node.loopback()
        ));
        return Ok(());
    };
    if images::id(images::NODE).await?.as_deref() != Some(made_from) {
        // Renewing it would throw its database away; the agent, its unit and Caddy's files are
        // brought up to date in place anyway.
        report.say(format_args!(
            "{node}: kept, though made from an older node image; \
             `devfleet down {node}` and `devfleet up` make it anew, without its data"
        ));
    }
    if network != "on" {
        network::heal(node).await?;
        report.say(format_args!("{node}: was cut off, and is back in"));
    }
    if running != "true" {
        start(report, node).await?;
    }
    Ok(())
}

/// Starts a node that stands still, as after a power cut, and waits until all of it runs.
pub(crate) async fn start(report: &Report, node: Node) -> Result<()> {
    docker(["start", &node.container()])
        .run()
        .await
        .with_context(|| format!("{node} cannot be started"))?;
    await_running(report, node).await?;
    report.say(format_args!("{node}: runs again"));
    Ok(())
}

/// Takes the power from a node: nothing in it gets a chance to finish.
pub(crate) async fn kill(node: Node) -> Result<()> {
    docker(["kill", &node.container()])
        .run()
        .await
        .with_context(|| format!("{node} cannot be killed; does it run?"))?;
    Ok(())
}

async fn create(node: Node, engine: &Engine, subnet: Subnet) -> Result<()> {
    let (name, loopback) = (node.to_string(), node.loopback());
    seed::fill(node).await?;
    let mut run = machine(engine, &node.container());
    // A container cannot set it for itself; why it matters is said in deploy/sysctl/.
    if Path::new("/proc/sys/net/ipv4/tcp_migrate_req").exists() {
        run = run.args(["--sysctl", "net.ipv4.tcp_migrate_req=1"]);
    }
    run.args(["--hostname", &name])
        .args(["--network", NETWORK, "--network-alias", &name])
        .args(["--ip", &subnet.host(node.host_number()).to_string()])
        .args(["--publish", &format!("{loopback}:8080:80")])
        .args(["--publish", &format!("{loopback}:7443:7443")])
        .args(["--volume", &format!("{}:/var/lib/docker", node.volume())])
        .arg(images::NODE)
        .run()
        .await
        .with_context(|| format!("{node} could not be made"))?;
    Ok(())
}

/// The beginning of a `docker run` that can carry systemd and a Docker Engine; image, network and
/// volumes are still to be added.
pub(crate) fn machine(engine: &Engine, container: &str) -> Call {
    let run = docker(["run", "--detach", "--name", container, "--label", LABEL]).args([
        "--tmpfs",
        "/run",
        "--tmpfs",
        "/run/lock",
    ]);
    if engine.cgroups == 2 {
        return run.args(["--privileged", "--cgroupns=private"]);
    }
    run.args([
        "--cgroupns=host",
        "--volume",
        "/sys/fs/cgroup:/sys/fs/cgroup:rw",
    ])
    .args([
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "apparmor=unconfined",
    ])
    .args(
        CAPABILITIES
            .iter()
            .flat_map(|capability| ["--cap-add", capability]),
    )
}

/// Waits until systemd has started everything, Docker and Caddy among it.
async fn await_running(report: &Report, node: Node) -> Result<()> {
    await_systemd(&node.container()).await?;
    let failed = exec(node)
        .args([
            "systemctl",
            "list-units",
            "--failed",
            "--plain",
            "--no-legend",
        ])
        .run()
        .await?;
    for unit in failed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        report.say(format_args!(
            "{node}: {unit} has failed; `devfleet logs {node}` tells more"
        ));
    }
    Ok(())
}

/// Waits until systemd in this container has nothing left to start.
pub(crate) async fn await_systemd(container: &str) -> Result<()> {
    let until = Instant::now() + BOOTING;
    loop {
        // Until systemd listens, this fails at once; from then on it waits by itself.
        let state = docker([
            "exec",
            container,
            "systemctl",
            "is-system-running",
            "--wait",
        ])
        .within(BOOTING)
        .ended()
        .await?;
        if matches!(state.stdout.as_str(), "running" | "degraded") {
            return Ok(());
        }
        if Instant::now() > until {
            let log = docker(["logs", "--tail", "20", container]).ended().await?;
            bail!(
                "{container} did not come up within {BOOTING:?}; systemd says `{}{}`:\n{}\n{}",
                state.stdout,
                state.stderr,
                log.stdout,
                log.stderr
            );
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The last lines of what the node's agent, proxy and Docker Engine had to say.
pub(crate) async fn logs(node: Node, lines: u32) -> Result<String> {
    let mut text = String::new();
    for unit in ["togather-agent", "caddy", "docker"] {
        let log = exec(node)
            .args([
                "journalctl",
                "--no-pager",
                "--output",
                "short-iso-precise",
                "--unit",
                unit,
            ])
            .args(["--lines", &lines.to_string()])
            .run()
            .await
            .with_context(|| format!("the log of {unit} on {node} cannot be read; does it run?"))?;
        text.push_str(&format!("==> {node}: {unit} <==\n{log}\n"));
    }
    Ok(text)
}
