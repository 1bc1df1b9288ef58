//! Names, addresses and folders of a fleet on one machine; every other file asks here.
//!
//! Each node publishes its ports on a loopback address of its own, so that controller, browser and
//! load tests talk to loopback only and nothing is reachable from outside the machine.

use std::{
    env, fmt, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, bail};

/// The label of everything devfleet makes; `down` touches nothing without it.
pub(crate) const LABEL: &str = "togather.devfleet=1";
/// The Docker network that the nodes, the registry and the S3 store share.
pub(crate) const NETWORK: &str = "togather-fleet";
/// The database image, by the name that the sample docker-compose.yml gives it.
pub(crate) const DATABASE_IMAGE: &str = "togather-database:17";
/// The registry, by the name that holds on this machine and in the nodes alike.
pub(crate) const REGISTRY: &str = "127.0.10.100:5000";
/// The S3 store as this machine reaches it.
pub(crate) const S3: &str = "127.0.10.101:9000";
/// The S3 store as the nodes reach it, by name.
pub(crate) const S3_INSIDE: &str = "s3:9000";

/// One node, known by its number, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node(u8);

impl Node {
    /// The most nodes a fleet may have; their addresses must stay clear of the registry's.
    pub(crate) const MOST: u8 = 50;

    /// The nodes 1 to `count`.
    pub(crate) fn first(count: u8) -> Vec<Self> {
        (1..=count).map(Self).collect()
    }

    pub(crate) fn container(self) -> String {
        format!("togather-{self}")
    }

    /// The volume of the node's own Docker Engine.
    pub(crate) fn volume(self) -> String {
        format!("togather-{self}-docker")
    }

    /// The loopback address the node is published on: port 8080 is its port 80, 7443 its agent.
    pub(crate) fn loopback(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 10, self.0)
    }

    /// The agent's address, `HOST:PORT`.
    pub(crate) fn agent(self) -> String {
        format!("{}:7443", self.loopback())
    }

    /// The last number of the node's address on the private network; a healed node keeps it.
    pub(crate) fn host_number(self) -> u8 {
        100 + self.0
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node-{}", self.0)
    }
}

impl FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_prefix("node-")
            .filter(|number| !number.starts_with('0'))
            .and_then(|number| number.parse().ok())
            .filter(|number| (1..=Self::MOST).contains(number))
            .map(Self)
            .ok_or_else(|| format!("expected node-1 to node-{}", Self::MOST))
    }
}

/// Where things are on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    programs: PathBuf,
}

impl Layout {
    /// Finds the checkout, from the current folder upwards or from this program's, and the other
    /// programs beside this one.
    pub(crate) fn find() -> Result<Self> {
        let own = env::current_exe().context("cannot tell where devfleet itself is")?;
        let current = env::current_dir().context("cannot tell the current folder")?;
        let programs = own.parent().map(Path::to_owned).unwrap_or_default();
        let is_root = |folder: &&Path| folder.join("deploy/docker/node/Dockerfile").is_file();
        let Some(root) = current
            .ancestors()
            .find(is_root)
            .or_else(|| own.ancestors().find(is_root))
        else {
            bail!(
                "neither {} nor a folder above it is a checkout of Togather Fleet; \
                 run devfleet from inside one",
                current.display()
            );
        };
        Ok(Self {
            root: root.to_owned(),
            programs,
        })
    }

    /// A path inside the checkout.
    pub(crate) fn source(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A path inside `.devfleet/`, which is everything devfleet writes on this machine.
    pub(crate) fn state(&self, path: &str) -> PathBuf {
        self.root.join(".devfleet").join(path)
    }

    /// The fleet file: what `togather-ctl --fleet` is given.
    pub(crate) fn fleet_file(&self) -> PathBuf {
        self.state("fleet.yml")
    }

    /// What tells this checkout's fleet from that of another one on the same machine; made once.
    pub(crate) fn fleet_id(&self) -> Result<String> {
        let path = self.state("id");
        if let Ok(id) = fs::read_to_string(&path) {
            return Ok(id.trim().to_owned());
        }
        let id = hex::encode(rand::random::<[u8; 8]>());
        fs::create_dir_all(self.state(""))
            .and_then(|()| fs::write(&path, format!("{id}\n")))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(id)
    }

    /// A program built from this workspace, beside devfleet's own.
    ///
    /// # Errors
    /// It has not been built; says how.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.programs.join(name);
        if !path.is_file() {
            let package = match name {
                "togather-agent" | "togather-ctl" | "devfleet" | "sample-server" => name,
                other => bail!("{other} is not a program of this workspace"),
            };
            bail!(
                "{} is missing; build it first: cargo build --release --bin {package}",
                path.display()
            );
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_as_it_is_read() {
        for node in Node::first(Node::MOST) {
            assert_eq!(node.to_string().parse(), Ok(node));
        }
    }

    #[test]
    fn what_is_no_node_is_refused() {
        for text in [
            "", "node-", "node-0", "node-01", "node-51", "node-1 ", "1", "NODE-1", "node--1",
        ] {
            assert!(text.parse::<Node>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn addresses_stay_clear_of_the_registry_and_the_store() {
        for node in Node::first(Node::MOST) {
            let published = node.loopback().to_string();
            assert!(!REGISTRY.starts_with(&format!("{published}:")));
            assert!(!S3.starts_with(&format!("{published}:")));
        }
    }
}
