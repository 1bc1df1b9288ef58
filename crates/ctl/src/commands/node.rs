//! `node`: which machines belong to the fleet, and what each is given to prove it.

mod bundle;

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use togather_model::Ulid;
use togather_trust::NodeName;

use super::Context;
use crate::{
    error::{Error, Result},
    files, fleet,
    ui::inventory::Inventory,
};

/// Enrol nodes, take them out, list them
#[derive(Subcommand)]
pub(crate) enum Node {
    Add(Add),
    Remove(Remove),
    /// List the fleet file's nodes
    List,
}

/// Enrol a node: its entry in the fleet file, and the bundle that makes a machine this node
///
/// The bundle is the folder nodes/NAME beside the fleet file: agent.yml, deployment.yml, the
/// signers and roles of this fleet, and the node's certificate and key. Carry it to the machine and
/// give it to deploy/packaging/install.sh.
#[derive(Args)]
pub(crate) struct Add {
    /// What people call the node
    name: NodeName,
    /// Where its agent listens
    #[arg(long, value_name = "HOST[:PORT]", value_parser = fleet::address)]
    address: String,
    /// For --nodes label=value
    #[arg(long = "label", value_name = "LABEL=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// What the node is for; it reads its values from the file .env.ENVIRONMENT
    #[arg(long, value_name = "ENVIRONMENT", value_enum, default_value_t)]
    environment: Environment,
}

/// What a node is for.
#[derive(Clone, Copy, Default, ValueEnum)]
enum Environment {
    /// To develop on
    Development,
    /// To try releases on
    Staging,
    /// For the public
    #[default]
    Production,
}

impl Environment {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// Take a node out of the fleet file, and remove the bundle with its key
#[derive(Args)]
pub(crate) struct Remove {
    /// The node's name
    name: NodeName,
}

impl Node {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Add(add) => add.run(context),
            Self::Remove(remove) => remove.run(context),
            Self::List => {
                let file = context.fleet_file()?;
                let inventory = Inventory::of(&file.fleet);
                context.ui.data(|| inventory.text(), &inventory)
            }
        }
    }
}

impl Add {
    fn run(self, context: &Context) -> Result<()> {
        let mut file = context.fleet_file()?;
        let mut labels = BTreeMap::new();
        for (label, value) in self.labels {
            if labels.insert(label.clone(), value).is_some() {
                return Err(Error::usage(format!("the label `{label}` is given twice")));
            }
        }
        let node = fleet::Node {
            name: self.name,
            id: Ulid::generate(),
            address: self.address,
            labels,
        };
        if file.fleet.nodes.iter().any(|other| other.name == node.name) {
            return file.add(node);
        }
        let environment = self.environment.as_str();
        let folder = bundle::make(&file, &node, environment)?;
        if let Err(error) = file.add(node.clone()) {
            // Made a moment ago for a node that is not there now.
            let _ = std::fs::remove_dir_all(&folder);
            return Err(error);
        }
        context.ui.say(format!(
            "{} enrolled at {}; its bundle: {}\n\
             next: make an environment file from deploy/config/environments/{environment}.env.example, \
             carry it, the bundle and deploy/ to the machine, and run there\n  \
             deploy/packaging/install.sh --binary togather-agent --bundle {} \
             --compose deploy/docker/docker-compose.yml --env .env.{environment}",
            node.name,
            node.address,
            folder.display(),
            node.name,
        ));
        Ok(())
    }
}

impl Remove {
    fn run(self, context: &Context) -> Result<()> {
        let mut file = context.fleet_file()?;
        let node = file.remove(self.name.as_str())?;
        let folder = bundle::folder(&file, &node.name);
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => context
                .ui
                .say(format!("removed {} with its key", folder.display())),
            Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(files::cannot("remove", &folder, &error)),
        }
        context.ui.say(format!(
            "{} is out of the fleet file. The machine itself was not touched: it goes on serving, \
             and takes commands from whoever still has its address and id.\n\
             next: on {}, `systemctl disable --now togather-agent`, then remove /etc/togather",
            node.name, node.address,
        ));
        Ok(())
    }
}

/// Reads `label=value`. A comma would end the word in `--nodes`.
fn label(text: &str) -> std::result::Result<(String, String), String> {
    let plain = |word: &str| {
        let letters = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        !word.is_empty() && word.chars().all(letters)
    };
    match text.split_once('=') {
        Some((label, value)) if plain(label) && plain(value) => {
            Ok((label.to_owned(), value.to_owned()))
        }
        Some(_) | None => Err(format!(
            "`{text}` is not a label: expected LABEL=VALUE out of letters, digits, `.`, `-` and `_`"
        )),
    }
}
