//! The inventory: `fleet.yml`, which says whose fleet it is, who acts for it and which nodes it has.
//!
//! All paths in it are relative to the file, so the folder can be copied to another machine and
//! used there as it is.

mod edit;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use togather_trust::{NodeName, OperatorName};
use ulid::Ulid;

use crate::error::{Error, Result};

/// The `schema` field of a fleet file.
pub const SCHEMA: &str = "togather.fleet/fleet/v1";

/// The port an agent listens on, unless told otherwise.
pub const DEFAULT_PORT: u16 = 7443;

/// A fleet file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Names the fleet in commands; its nodes take no others.
    pub id: Ulid,
    /// What people call it.
    pub name: String,
    /// The certificate authority's certificate.
    pub authority: PathBuf,
    /// Who acts.
    pub operator: Operator,
    /// The nodes, in the order in which rollouts walk through them.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub nodes: Vec<Node>,
}

/// Who acts for the fleet, and what with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// As signers file and roles know them.
    pub name: OperatorName,
    /// Their certificate.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// The SSH key that signs commands: a private key, or a `.pub` whose other half ssh-agent has.
    pub identity: PathBuf,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What people call it.
    pub name: NodeName,
    /// Names it in commands and in its certificate; a node enrolled again gets a new one.
    pub id: Ulid,
    /// Where its agent listens: host and port.
    pub address: String,
    /// For `--nodes label=value`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A fleet file with its place.
#[derive(Debug, Clone)]
pub struct FleetFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub fleet: Fleet,
    text: String,
}

impl FleetFile {
    /// The fleet file that was asked for, or the first that is there: `./fleet.yml`, then
    /// `togather/fleet.yml` in the user's configuration folder.
    #[must_use]
    pub fn locate(asked: Option<&Path>) -> PathBuf {
        if let Some(path) = asked {
            return path.to_owned();
        }
        let here = PathBuf::from("fleet.yml");
        let config = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".config")));
        match config.map(|folder| folder.join("togather/fleet.yml")) {
            Some(users) if !here.exists() && users.exists() => users,
            Some(_) | None => here,
        }
    }

    /// Reads a fleet file.
    ///
    /// # Errors
    /// It is not there, is not YAML, has a key it should not have, or names a node twice; always
    /// with the file, and with line and column where there is one.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::configuration(format!("cannot read the fleet file {}", path.display()))
                .because(&error)
                .next(
                    "make one with `togather-ctl init`, or name it with --fleet or TOGATHER_FLEET",
                )
        })?;
        let fleet = Self::parse(&text).map_err(|why| {
            Error::configuration(format!("the fleet file {} is not valid", path.display()))
                .cause(why)
        })?;
        Ok(Self {
            path: path.to_owned(),
            fleet,
            text,
        })
    }

    fn parse(text: &str) -> std::result::Result<Fleet, String> {
        let fleet: Fleet = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if fleet.schema != SCHEMA {
            return Err(format!(
                "schema: expected `{SCHEMA}`, found `{}`",
                fleet.schema
            ));
        }
        for (index, node) in fleet.nodes.iter().enumerate() {
            let earlier = &fleet.nodes[..index];
            if earlier.iter().any(|other| other.name == node.name) {
                return Err(format!("nodes: `{}` is there twice", node.name));
            }
            if earlier.iter().any(|other| other.id == node.id) {
                return Err(format!("nodes: the id {} is there twice", node.id));
            }
        }
        Ok(fleet)
    }

    /// A path that the fleet file names, as seen from here.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder().join(path)
    }

    /// The folder the fleet file is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Adds a node and writes the file; comments stay where the file's shape allows it.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be written.
    pub fn add(&mut self, node: Node) -> Result<()> {
        if self.fleet.nodes.iter().any(|other| other.name == node.name) {
            return Err(
                Error::usage(format!("the fleet has a node `{}` already", node.name)).next(
                    format!(
                        "to enrol it anew: `togather-ctl node remove {}` first",
                        node.name
                    ),
                ),
            );
        }
        let text = edit::with_node(&self.text, &node);
        let mut fleet = self.fleet.clone();
        fleet.nodes.push(node);
        self.write(fleet, text)
    }

    /// Takes a node out and writes the file; comments stay where the file's shape allows it.
    ///
    /// # Errors
    /// There is no such node, or the file cannot be written.
    pub fn remove(&mut self, name: &str) -> Result<Node> {
        let mut fleet = self.fleet.clone();
        let Some(index) = fleet.nodes.iter().position(|node| node.name == *name) else {
            return Err(self.unknown(name));
        };
        let node = fleet.nodes.remove(index);
        let text = edit::without_node(&self.text, name);
        self.write(fleet, text)?;
        Ok(node)
    }

    /// The edited text is taken if it says exactly what was meant; else the file is written anew.
    fn write(&mut self, fleet: Fleet, edited: Option<String>) -> Result<()> {
        let text = edited
            .filter(|text| Self::parse(text).is_ok_and(|found| found == fleet))
            .unwrap_or_else(|| edit::render(&fleet));
        crate::files::write_whole(&self.path, &text)?;
        self.fleet = fleet;
        self.text = text;
        Ok(())
    }

    /// The nodes that a `--nodes` selection means: `all`, names or `label=value`, each node once,
    /// names in the order given and the others in the file's.
    ///
    /// # Errors
    /// A name or label that no node has, or a fleet without nodes.
    pub fn choose(&self, selection: &[String]) -> Result<Vec<Node>> {
        let nodes = &self.fleet.nodes;
        if nodes.is_empty() {
            return Err(Error::configuration(format!(
                "the fleet file {} has no nodes",
                self.path.display()
            ))
            .next("add one: `togather-ctl node add NAME --address HOST:PORT`"));
        }
        let mut chosen: Vec<Node> = Vec::new();
        for word in selection {
            let matching: Vec<&Node> = match word.split_once('=') {
                _ if word == "all" => nodes.iter().collect(),
                Some((label, value)) => nodes
                    .iter()
                    .filter(|node| node.labels.get(label).is_some_and(|found| found == value))
                    .collect(),
                None => nodes
                    .iter()
                    .filter(|node| node.name == *word.as_str())
                    .collect(),
            };
            if matching.is_empty() {
                return Err(self.unknown(word));
            }
            for node in matching {
                if !chosen.contains(node) {
                    chosen.push(node.clone());
                }
            }
        }
        Ok(chosen)
    }

    fn unknown(&self, word: &str) -> Error {
        let known: Vec<&str> = self
            .fleet
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        let what = if word.contains('=') {
            format!("no node has the label {word}")
        } else {
            format!("the fleet has no node `{word}`")
        };
        let known = match known.as_slice() {
            [] => "it has none yet".to_owned(),
            some => format!("it has: {}", some.join(", ")),
        };
        Error::usage(what).next(known)
    }
}

/// The text of a new fleet file.
#[must_use]
pub fn render(fleet: &Fleet) -> String {
    edit::render(fleet)
}

/// Checks an address and completes it with the usual port.
///
/// # Errors
/// It is not `HOST` or `HOST:PORT`.
pub fn address(text: &str) -> std::result::Result<String, String> {
    let with_port = match text.rsplit_once(':') {
        Some((_, port)) if !text.ends_with(']') => {
            if port.parse::<u16>().is_ok_and(|port| port != 0) {
                text.to_owned()
            } else {
                return Err(format!("`{port}` is not a port: expected HOST:PORT"));
            }
        }
        Some(_) | None => format!("{text}:{DEFAULT_PORT}"),
    };
    let host = with_port.rsplit_once(':').map_or("", |(host, _)| host);
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let letters = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if host.is_empty() || !(bracketed || host.chars().all(letters)) {
        return Err(format!(
            "`{text}` is not an address: expected HOST:PORT, IPv6 in brackets"
        ));
    }
    Ok(with_port)
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Vec<Node>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests;
