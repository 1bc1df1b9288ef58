//! What the nodes share: an image registry and an S3-compatible store, each a container whose data
//! lives in a volume.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    images,
    layout::{LABEL, Layout, NETWORK, Node, REGISTRY, S3, S3_INSIDE},
    network::Subnet,
    nodes,
    process::docker,
    report::Report,
};

/// The bucket that is there from the start.
pub(crate) const BUCKET: &str = "togather-snapshots";

/// Starts both, or repairs what is missing of them.
pub(crate) async fn ensure(report: &Report, layout: &Layout, subnet: Subnet) -> Result<()> {
    let keys = s3_keys(layout)?;
    let registry = Service {
        name: "registry",
        image: images::REGISTRY,
        published: REGISTRY,
        port: 5000,
        host_number: 10,
        data: "/var/lib/docker-registry",
        environment: None,
        ready: "/v2/",
    };
    let s3 = Service {
        name: "s3",
        image: images::S3,
        published: S3,
        port: 9000,
        host_number: 11,
        data: "/var/lib/s3",
        environment: Some(&keys),
        ready: "/",
    };
    registry.ensure(subnet).await?;
    s3.ensure(subnet).await?;
    report.say(format_args!(
        "registry on {REGISTRY}, here and in the nodes; S3 on {S3}, keys in {}",
        keys.display()
    ));
    Ok(())
}

/// Gives a node the registry at the address it has on this machine, so that an image has one name:
/// what `docker push` took is what a release names.
pub(crate) async fn show_registry(layout: &Layout, node: Node) -> Result<()> {
    for unit in ["registry.socket", "registry.service"] {
        docker(["cp", "--quiet"])
            .arg(layout.source("deploy/docker/node").join(unit))
            .arg(format!("{}:/etc/systemd/system/{unit}", node.container()))
            .run()
            .await?;
    }
    nodes::exec(node)
        .args(["systemctl", "enable", "--quiet", "--now", "registry.socket"])
        .run()
        .await
        .with_context(|| format!("{node} cannot be given the registry"))?;
    Ok(())
}

/// The store's address and keys, as the AWS tools read them; made once.
fn s3_keys(layout: &Layout) -> Result<std::path::PathBuf> {
    let path = layout.state("s3.env");
    if !path.exists() {
        let text = format!(
            "AWS_ENDPOINT_URL=http://{S3}\n\
             AWS_REGION=us-east-1\n\
             AWS_ACCESS_KEY_ID=devfleet\n\
             AWS_SECRET_ACCESS_KEY={}\n\
             S3_BUCKET={BUCKET}\n\
             S3_ENDPOINT_IN_NODES=http://{S3_INSIDE}\n",
            secret()
        );
        write_secret(&path, &text)?;
    }
    Ok(path)
}

/// What a node's agent reads to reach its store, as object_store names it.
///
/// # Errors
/// The store's keys are not there; `devfleet up` makes them.
pub(crate) fn agent_environment(layout: &Layout) -> Result<String> {
    let path = layout.state("s3.env");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}; `devfleet up` writes it", path.display()))?;
    agent_variables(&text).with_context(|| format!("{} lacks a value", path.display()))
}

fn agent_variables(keys: &str) -> Result<String> {
    let value = |name: &str| {
        keys.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .with_context(|| format!("{name} is missing"))
    };
    Ok(format!(
        "AWS_ENDPOINT_URL={}\n\
         AWS_ALLOW_HTTP=true\n\
         AWS_VIRTUAL_HOSTED_STYLE_REQUEST=false\n\
         AWS_REGION={}\n\
         AWS_ACCESS_KEY_ID={}\n\
         AWS_SECRET_ACCESS_KEY={}\n",
        value("S3_ENDPOINT_IN_NODES")?,
        value("AWS_REGION")?,
        value("AWS_ACCESS_KEY_ID")?,
        value("AWS_SECRET_ACCESS_KEY")?,
    ))
}

/// Where a node's snapshots go.
pub(crate) fn snapshot_store(node: Node) -> String {
    format!("s3://{BUCKET}/{node}")
}

/// 192 random bits as hexadecimal digits: safe in a URL, an environment file and a shell.
pub(crate) fn secret() -> String {
    hex::encode(rand::random::<[u8; 24]>())
}

/// Writes a file that only its owner can read.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    let writing = || format!("cannot write {}", path.display());
    fs::write(path, "").with_context(writing)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with_context(writing)?;
    fs::write(path, text).with_context(writing)
}

struct Service<'a> {
    /// Its name for the nodes; the container's is `togather-` and this.
    name: &'a str,
    image: &'a str,
    /// Its address on this machine.
    published: &'a str,
    port: u16,
    host_number: u8,
    data: &'a str,
    environment: Option<&'a Path>,
    /// The path that answers, whatever the status, when it is ready.
    ready: &'a str,
}

impl Service<'_> {
    async fn ensure(&self, subnet: Subnet) -> Result<()> {
        let container = format!("togather-{}", self.name);
        let image = images::id(self.image).await?;
        let have = docker([
            "container",
            "inspect",
            "--format",
            "{{.Image}}|{{.State.Running}}",
        ])
        .arg(&container)
        .ended()
        .await?;
        let state = have
            .stdout
            .split_once('|')
            .filter(|_| have.status.success());
        match state {
            Some((made_from, running)) if Some(made_from) == image.as_deref() => {
                if running != "true" {
                    docker(["start", &container]).run().await?;
                }
            }
            other => {
                if other.is_some() {
                    docker(["rm", "--force", &container]).run().await?;
                }
                self.create(&container, subnet).await?;
            }
        }
        self.await_answer(&container).await
    }

    async fn create(&self, container: &str, subnet: Subnet) -> Result<()> {
        let mut run = docker(["run", "--detach", "--name", container, "--label", LABEL])
            .args(["--hostname", self.name])
            .args(["--network", NETWORK, "--network-alias", self.name])
            .args(["--ip", &subnet.host(self.host_number).to_string()])
            .args(["--publish", &format!("{}:{}", self.published, self.port)])
            .args(["--volume", &format!("{container}:{}", self.data)]);
        docker(["volume", "create", "--label", LABEL, container])
            .run()
            .await?;
        if let Some(file) = self.environment {
            run = run.arg("--env-file").arg(file);
        }
        run.arg(self.image)
            .run()
            .await
            .with_context(|| format!("the {} could not be started", self.name))?;
        Ok(())
    }

    async fn await_answer(&self, container: &str) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        while let Err(error) = http_status(self.published, self.ready).await {
            if Instant::now() > until {
                let logs = docker(["logs", "--tail", "20", container]).ended().await?;
                bail!(
                    "{container} does not answer on {} ({error:#}); its log ends:\n{}\n{}",
                    self.published,
                    logs.stdout,
                    logs.stderr
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// The status of an answer to a plain `GET`, from a server on this machine.
pub(crate) async fn http_status(address: &str, path: &str) -> Result<u16> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(64 * 1024).read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(Duration::from_secs(5), asking)
        .await
        .context("no answer within 5 s")??;
    String::from_utf8_lossy(&answer)
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .with_context(|| format!("{address} does not answer in HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_reaches_the_store_by_the_name_that_nodes_know() {
        let keys = "AWS_ENDPOINT_URL=http://127.0.10.101:9000\nAWS_REGION=us-east-1\n\
                    AWS_ACCESS_KEY_ID=devfleet\nAWS_SECRET_ACCESS_KEY=s3cret\n\
                    S3_ENDPOINT_IN_NODES=http://s3:9000\n";
        let variables = agent_variables(keys).unwrap();
        assert!(variables.starts_with("AWS_ENDPOINT_URL=http://s3:9000\n"));
        assert!(variables.contains("\nAWS_SECRET_ACCESS_KEY=s3cret\n"));
        let lacking = keys.replace("S3_ENDPOINT_IN_NODES", "S3_ENDPOINT");
        let error = agent_variables(&lacking).unwrap_err().to_string();
        assert_eq!(error, "S3_ENDPOINT_IN_NODES is missing");
    }
}
