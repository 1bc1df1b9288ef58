//! What a fresh Debian machine lacks: a Docker Engine, and base images where no public registry can
//! be reached. Everything is looked for first, and installed only if it is not there.

use std::{
    fs, io::ErrorKind, os::unix::fs::MetadataExt, path::Path, process::Stdio, time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use crate::{
    layout::LABEL,
    process::{Call, docker},
    report::Report,
};

/// How long packages may take to come, on a slow line.
const INSTALLING: Duration = Duration::from_secs(900);
/// How long to try a public registry before making the base image here.
const PULLING: Duration = Duration::from_secs(90);
const DOCKERD_LOG: &str = "/var/log/dockerd.log";

/// What must be known of the Docker Engine to run a node in it.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// 1 or 2.
    pub(crate) cgroups: u8,
}

/// Looks for a working Docker Engine, and installs and starts one if there is none.
pub(crate) async fn engine(report: &Report) -> Result<Engine> {
    if !answers().await? {
        if !Path::new("/usr/sbin/dockerd").exists() && !Path::new("/usr/bin/dockerd").exists() {
            install(report, &["docker.io", "iptables"]).await?;
        }
        if !on_path("docker").await {
            // Since Debian 13 the `docker` command is a package of its own.
            install(report, &["docker-cli"]).await?;
        }
        if !answers().await? {
            start(report).await?;
        }
    }
    let facts = docker([
        "info",
        "--format",
        "{{.ServerVersion}}|{{.CgroupVersion}}|{{.Driver}}|{{.NCPU}}|{{.MemTotal}}",
    ])
    .run()
    .await?;
    let [version, cgroups, driver, cores, memory] = facts.split('|').collect::<Vec<_>>()[..] else {
        bail!("`docker info` said something unexpected: {facts}");
    };
    let gigabytes = memory.parse::<u64>().unwrap_or(0) >> 30;
    report.say(format_args!(
        "Docker Engine {version}, cgroup v{cgroups}, {driver}; {cores} cores, {gigabytes} GB of memory"
    ));
    if driver == "vfs" {
        report.say(
            "Docker uses the vfs driver, which copies every file: this will be slow; \
             installing fuse-overlayfs and restarting Docker helps",
        );
    }
    Ok(Engine {
        cgroups: if cgroups == "2" { 2 } else { 1 },
    })
}

/// The name of a Debian base image of this release that is on this machine in the end.
pub(crate) async fn base_image(report: &Report, release: &str) -> Result<String> {
    let official = format!("debian:{release}-slim");
    let own = format!("togather-base:{release}");
    for image in [&official, &own] {
        if docker(["image", "inspect", image]).succeeds().await? {
            return Ok(image.clone());
        }
    }
    let pull = docker(["pull", "--quiet", &official]).within(PULLING);
    if pull.succeeds().await.unwrap_or(false) {
        report.say(format_args!("{official}: pulled"));
        return Ok(official);
    }
    if !on_path("mmdebstrap").await {
        install(report, &["mmdebstrap"]).await?;
    }
    require_root("make a Debian base image")?;
    let stage = report.stage(format_args!(
        "{official} cannot be pulled; making {own} from Debian's packages"
    ));
    Call::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", release, "-"])
        .within(INSTALLING)
        .pipe_into(docker([
            "import",
            "--change",
            &format!("LABEL {LABEL}"),
            "-",
            &own,
        ]))
        .await
        .with_context(|| format!("no base image: {official} cannot be pulled, nor {own} made"))?;
    stage.done();
    Ok(own)
}

/// Whether the Engine answers. That there is no `docker` command is an answer too.
async fn answers() -> Result<bool> {
    let call = docker(["version", "--format", "{{.Server.Version}}"]);
    match call.within(Duration::from_secs(20)).succeeds().await {
        Ok(answer) => Ok(answer),
        Err(error) => match error.downcast_ref::<std::io::Error>() {
            Some(cause) if cause.kind() == ErrorKind::NotFound => Ok(false),
            _ => Err(error),
        },
    }
}

async fn on_path(program: &str) -> bool {
    let call = Call::new("sh").args(["-c", "command -v \"$1\"", "sh", program]);
    call.succeeds().await.unwrap_or(false)
}

async fn install(report: &Report, packages: &[&str]) -> Result<()> {
    require_root(&format!("install {}", packages.join(" and ")))?;
    if !on_path("apt-get").await {
        bail!(
            "{} is needed, and this is not a Debian machine: install it by hand and run again",
            packages.join(" and ")
        );
    }
    let stage = report.stage(format_args!("installing {}", packages.join(" ")));
    let apt = || Call::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
    apt().args(["update"]).within(INSTALLING).run().await?;
    apt()
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages)
        .within(INSTALLING)
        .run()
        .await?;
    stage.done();
    Ok(())
}

async fn start(report: &Report) -> Result<()> {
    require_root("start the Docker Engine")?;
    let log = if Path::new("/run/systemd/system").is_dir() {
        Call::new("systemctl")
            .args(["start", "docker"])
            .run()
            .await?;
        "journalctl --unit docker".to_owned()
    } else {
        let log =
            fs::File::create(DOCKERD_LOG).with_context(|| format!("cannot write {DOCKERD_LOG}"))?;
        // It outlives this program: other fleets and a second `up` use it too.
        std::process::Command::new("setsid")
            .args(["dockerd", "--mtu", &outgoing_mtu().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start dockerd")?;
        DOCKERD_LOG.to_owned()
    };
    let until = Instant::now() + Duration::from_secs(60);
    while !answers().await? {
        if Instant::now() > until {
            bail!("the Docker Engine was started but does not answer; see {log}");
        }
        sleep(Duration::from_millis(200)).await;
    }
    report.say(format_args!("Docker Engine started; its log: {log}"));
    Ok(())
}

fn require_root(purpose: &str) -> Result<()> {
    let user = fs::metadata("/proc/self").context("cannot tell which user this is")?;
    if user.uid() != 0 {
        bail!("only root may {purpose}; run this as root, or see to it yourself and run again");
    }
    Ok(())
}

/// The largest packet, in bytes, that leaves this machine whole. Containers that believe in more
/// lose their long answers on the way.
pub(crate) fn outgoing_mtu() -> u32 {
    const ETHERNET: u32 = 1500;
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let default = routes.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        let interface = columns.next()?;
        (columns.next()? == "00000000").then_some(interface)
    });
    default
        .and_then(|name| fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(ETHERNET)
}
