//! From bare nodes to a fleet: identities by `togather-ctl`, each node's bundle installed by the same
//! `install.sh` that real operators run, the agents started and asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use crate::{
    images::copy,
    layout::{Layout, Node},
    nodes,
    process::{Call, docker, last_lines},
    report::Report,
    services::{agent_environment, secret, snapshot_store, write_secret},
};

/// Where a node keeps what was last installed in it.
const STAGED: &str = "/var/lib/devfleet";
/// How long an agent may take from its start to its first answer.
const STARTING: Duration = Duration::from_secs(60);

/// A call of `togather-ctl` on this fleet.
pub(crate) fn ctl(layout: &Layout) -> Result<Call> {
    Ok(Call::new(layout.program("togather-ctl")?)
        .arg("--fleet")
        .arg(layout.fleet_file()))
}

/// Makes the fleet's certificate authority, the operator, and each node's bundle, where missing.
pub(crate) async fn enrol(report: &Report, layout: &Layout, nodes: &[Node]) -> Result<()> {
    if !layout.fleet_file().exists() {
        ctl(layout)?
            .args(["init", "--name", "devfleet", "--operator", "dev"])
            .run()
            .await?;
        report.say(format_args!(
            "fleet file: {}",
            layout.fleet_file().display()
        ));
    }
    for node in nodes {
        if layout.state(&format!("nodes/{node}/tls/node.key")).exists() {
            continue;
        }
        ctl(layout)?
            .args(["node", "add", &node.to_string(), "--address", &node.agent()])
            .run()
            .await
            .with_context(|| format!("{node} could not be enrolled"))?;
        report.say(format_args!("{node}: enrolled"));
    }
    Ok(())
}

/// Installs the agent and the node's bundle, if either differs from what the node has.
pub(crate) async fn install(report: &Report, layout: &Layout, node: Node) -> Result<()> {
    let agent = layout.program("togather-agent")?;
    let staged = stage(layout, &agent, node)?;
    let mark = fingerprint(staged.path())?;
    let have = nodes::exec(node)
        .args(["cat", &format!("{STAGED}/fingerprint")])
        .ended()
        .await?;
    if have.stdout == mark && agent_is_active(node).await? {
        return Ok(());
    }
    let container = node.container();
    nodes::exec(node).args(["rm", "-rf", STAGED]).run().await?;
    nodes::exec(node)
        .args(["install", "-d", "-m", "0700", STAGED])
        .run()
        .await?;
    docker(["cp", "--quiet"])
        .arg(staged.path().join("."))
        .arg(format!("{container}:{STAGED}"))
        .run()
        .await?;
    nodes::exec(node)
        .args(["chown", "-R", "root:root", STAGED])
        .run()
        .await?;
    let installing = nodes::exec(node)
        .args([
            "sh",
            &format!("{STAGED}/packaging/install.sh"),
            "--replace-caddyfile",
            "--overwrite",
        ])
        .args(["--binary", &format!("{STAGED}/togather-agent")])
        .args(["--bundle", &format!("{STAGED}/bundle")])
        .args(["--compose", &format!("{STAGED}/docker-compose.yml")])
        .args(["--env", &format!("{STAGED}/env")])
        .args(["--agent-env", &format!("{STAGED}/agent.env")])
        .ended()
        .await?;
    if !installing.status.success() {
        bail!(
            "{node}: install.sh failed:\n{}\n{}\n{}",
            installing.stdout,
            installing.stderr,
            last_lines(&nodes::logs(node, 20).await?, 60)
        );
    }
    nodes::exec(node)
        .args(["tee", &format!("{STAGED}/fingerprint")])
        .input(mark.into_bytes())
        .run()
        .await?;
    report.say(format_args!("{node}: agent and bundle installed"));
    Ok(())
}

/// Waits until the controller gets an answer from this node's agent.
pub(crate) async fn await_agent(layout: &Layout, node: Node) -> Result<()> {
    let until = Instant::now() + STARTING;
    loop {
        let ended = ctl(layout)?
            .args(["status", "--nodes", &node.to_string(), "--output", "json"])
            .ended()
            .await?;
        if ended.status.success() {
            return Ok(());
        }
        if Instant::now() > until {
            bail!(
                "{node} does not answer togather-ctl within {STARTING:?}:\n{}\n{}",
                ended.stderr,
                nodes::logs(node, 30).await?
            );
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn agent_is_active(node: Node) -> Result<bool> {
    nodes::exec(node)
        .args(["systemctl", "is-active", "--quiet", "togather-agent"])
        .succeeds()
        .await
}

/// Everything a node is given, in one folder: what an operator would carry to a real one.
fn stage(layout: &Layout, agent: &Path, node: Node) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let at = |path: &str| folder.path().join(path);
    copy(agent, &at("togather-agent"))?;
    copy_folder(&layout.state(&format!("nodes/{node}")), &at("bundle"))?;
    for part in ["systemd", "caddy", "sysctl", "packaging"] {
        copy_folder(&layout.source("deploy").join(part), &at(part))?;
    }
    copy(
        &layout.source("deploy/docker/docker-compose.yml"),
        &at("docker-compose.yml"),
    )?;
    copy(&environment(layout, node)?, &at("env"))?;
    write_secret(&at("agent.env"), &agent_environment(layout)?)?;
    let settings = at("bundle/agent.yml");
    let text = fs::read_to_string(&settings)
        .with_context(|| format!("cannot read {}", settings.display()))?;
    fs::write(&settings, with_store(text, &snapshot_store(node)))
        .with_context(|| format!("cannot write {}", settings.display()))?;
    Ok(folder)
}

/// The agent's settings with this store for its snapshots, unless they name one themselves.
fn with_store(mut settings: String, store: &str) -> String {
    if !settings.lines().any(|line| line.starts_with("snapshots:")) {
        settings.push_str(&format!("snapshots:\n  store: {store}\n"));
    }
    settings
}

/// The node's `.env.production`: the sample with its secrets filled in. What is in it stays; keys that
/// the sample has got since are added.
fn environment(layout: &Layout, node: Node) -> Result<std::path::PathBuf> {
    let folder = layout.state("env");
    let path = folder.join(format!("{node}.env"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let sample = layout.source("deploy/config/environments/production.env.example");
    let text =
        fs::read_to_string(&sample).with_context(|| format!("cannot read {}", sample.display()))?;
    let have = fs::read_to_string(&path).unwrap_or_default();
    let own = format!("http://{}:8080", node.loopback());
    let values = [
        ("SERVER_BASE_URL", own.as_str()),
        ("CORS_ALLOWED_ORIGINS", own.as_str()),
        ("PUBLIC_URL", own.trim_start_matches("http://")),
        ("ADMIN_EMAIL", "admin@example.org"),
        // A load is one client, and would be turned away after its first minute's allowance.
        ("RATE_LIMIT_PUBLIC", "0"),
    ];
    let filled = fill_in(&text, &values, secret);
    write_secret(&path, &completed(have, &filled))?;
    Ok(path)
}

/// What there is, and the lines of `filled` whose keys it lacks.
fn completed(mut have: String, filled: &str) -> String {
    if have.is_empty() {
        return filled.to_owned();
    }
    let name = |line: &str| {
        let (name, _) = line.split_once('=')?;
        (!name.starts_with('#')).then(|| name.to_owned())
    };
    let known: BTreeSet<_> = have.lines().filter_map(name).collect();
    for line in filled.lines() {
        if name(line).is_some_and(|name| !known.contains(&name)) {
            have.push_str(&format!("{line}\n"));
        }
    }
    have
}

/// The sample with these values, at its end those it does not know, and with a new secret wherever it leaves a value empty.
fn fill_in(sample: &str, values: &[(&str, &str)], secret: impl Fn() -> String) -> String {
    let mut values: BTreeMap<_, _> = values.iter().copied().collect();
    let mut text: String = sample
        .lines()
        .map(|line| match line.split_once('=') {
            Some((name, old)) => match values.remove(name) {
                Some(value) => format!("{name}={value}\n"),
                None if old.is_empty() && !name.starts_with('#') => {
                    format!("{name}={}\n", secret())
                }
                None => format!("{line}\n"),
            },
            None => format!("{line}\n"),
        })
        .collect();
    for (name, value) in values {
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let reading = || format!("cannot read {}", from.display());
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn fingerprint(folder: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    crate::images::add(&mut hash, folder, folder)?;
    Ok(hex::encode(hash.finalize()))
}

/// A program built against a newer C library than the node's does not start there; systemd would
/// only say that it exited.
///
/// # Errors
/// Says what the agent needs, what the node has, and how to build for it.
pub(crate) async fn check_c_library(layout: &Layout, node: Node) -> Result<()> {
    let program = layout.program("togather-agent")?;
    let bytes = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    let Some(needed) = newest_glibc(&bytes) else {
        return Ok(());
    };
    // "glibc 2.36"
    let answer = nodes::exec(node)
        .args(["getconf", "GNU_LIBC_VERSION"])
        .run()
        .await?;
    let there = answer.split_whitespace().last().and_then(version);
    if there.is_some_and(|there| there < needed) {
        bail!(
            "{} needs glibc {}.{}, and the nodes (Debian 12) have {answer}: build it for them, \
             in a Debian 12 container or with `cargo zigbuild --target x86_64-unknown-linux-gnu.2.36`",
            program.display(),
            needed.0,
            needed.1
        );
    }
    Ok(())
}

/// The newest `GLIBC_x.y` symbol version that a program names.
fn newest_glibc(program: &[u8]) -> Option<(u32, u32)> {
    const NAME: &[u8] = b"GLIBC_";
    program
        .windows(NAME.len())
        .enumerate()
        .filter(|(_, window)| *window == NAME)
        .filter_map(|(at, _)| {
            let rest = &program[at + NAME.len()..];
            let end = rest.iter().position(|byte| *byte == 0)?;
            version(std::str::from_utf8(rest.get(..end)?).ok()?)
        })
        .max()
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_version_counts_as_a_number() {
        let program = b"\0GLIBC_2.4\0junk GLIBC_2.36\0GLIBC_2.9\0GLIBC_PRIVATE\0GLIBC_2.2.5\0";
        assert_eq!(newest_glibc(program), Some((2, 36)));
        assert_eq!(newest_glibc(b"a static program"), None);
    }

    #[test]
    fn a_store_that_was_chosen_by_hand_stays() {
        let bare = with_store("fleet: x\n".to_owned(), "s3://b/node-1");
        assert_eq!(bare, "fleet: x\nsnapshots:\n  store: s3://b/node-1\n");
        let own = "snapshots:\n  store: file:///mnt\n";
        assert_eq!(with_store(own.to_owned(), "s3://b/node-1"), own);
    }

    #[test]
    fn empty_values_become_secrets_and_the_rest_stays() {
        let sample = "# A=\nUSER=togather\nPASSWORD=\nURL=https://example.org\n";
        let values = [("URL", "http://127.0.10.1:8080"), ("LIMIT", "0")];
        let filled = fill_in(sample, &values, || "s3cret".to_owned());
        assert_eq!(
            filled,
            "# A=\nUSER=togather\nPASSWORD=s3cret\nURL=http://127.0.10.1:8080\nLIMIT=0\n"
        );
    }

    #[test]
    fn an_environment_that_is_there_only_gets_what_it_lacks() {
        let filled = "# A\nUSER=togather\nPASSWORD=new\nLIMIT=0\n";
        assert_eq!(completed(String::new(), filled), filled);
        let have = "USER=togather\nPASSWORD=old\n";
        let whole = "USER=togather\nPASSWORD=old\nLIMIT=0\n";
        assert_eq!(completed(have.to_owned(), filled), whole);
        assert_eq!(completed(whole.to_owned(), filled), whole);
    }
}
