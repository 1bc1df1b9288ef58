//! What a machine is given to become a node of the fleet.

use std::path::{Path, PathBuf};

use togather_model::Timestamp;
use togather_trust::{
    NodeName, Roles, Signers, secret_file,
    tls::{Authority, Identity},
};

use crate::{
    error::{Error, Result},
    files,
    fleet::{FleetFile, Node},
};

const DEPLOYMENT: &str = "\
# How this node deploys the app. Every key has a default: deploy/config/deployment.yml of the
# distribution states and explains them all, and `togather-agent check` prints those in use.
app:
  # What the Togather server answers however often it is asked; all else it limits for each client.
  ready_path: /readyz
  # A degraded release may serve, if it is no more degraded than the one it replaces.
  accept: [healthy, degraded]
  # Pages that a new version must answer before it gets traffic, and again once it does; three at most.
  expect:
    - {path: /version, contains: git_commit}
    - {path: /api/v1/openapi.json, contains: openapi}
    - {path: /api/v1/events}
";

/// Where a node's bundle is.
pub(super) fn folder(file: &FleetFile, node: &NodeName) -> PathBuf {
    file.resolve(Path::new("nodes")).join(node.as_str())
}

/// Makes a node's bundle, whole or not at all, and returns its folder.
///
/// # Errors
/// There is one already, the authority's key is not here, or nobody could command the node.
pub(super) fn make(file: &FleetFile, node: &Node, environment: &str) -> Result<PathBuf> {
    let place = folder(file, &node.name);
    if place.symlink_metadata().is_ok() {
        return Err(Error::usage(format!(
            "{} is there already, and nothing is overwritten",
            place.display()
        ))
        .next("it belongs to a node that is not in the fleet file: move it away"));
    }
    let authority_file = file.resolve(&file.fleet.authority);
    let authority = Identity {
        certificate: read(&authority_file)?,
        key: secret_file::read(&authority_file.with_extension("key")).map_err(|error| {
            Error::configuration("the certificate authority's key cannot be used")
                .because(&error)
                .next("nodes are enrolled where it is kept: in the folder `togather-ctl init` made")
        })?,
    };
    let identity = Authority::open(&authority)
        .and_then(|open| open.issue_node(&node.id.to_string(), Timestamp::now()))
        .map_err(|error| {
            Error::configuration("the node's certificate cannot be made").because(&error)
        })?;
    let (signers, roles) = operators(file)?;

    let nodes = file.resolve(Path::new("nodes"));
    files::make_folder(&nodes)?;
    let staging = tempfile::Builder::new()
        .prefix(".togather-")
        .tempdir_in(&nodes)
        .map_err(|error| files::cannot("write in", &nodes, &error))?;
    let bundle = staging.path().join("bundle");
    files::make_folder(&bundle.join("tls"))?;
    for (name, text) in [
        ("agent.yml", agent(file, node, environment).as_str()),
        ("deployment.yml", DEPLOYMENT),
        ("allowed_signers", &signers),
        ("roles.yml", &roles),
        ("tls/ca.crt", &authority.certificate),
    ] {
        files::write_whole(&bundle.join(name), text)?;
    }
    identity
        .write(&bundle.join("tls/node.crt"), &bundle.join("tls/node.key"))
        .map_err(|error| Error::other("the bundle cannot be written").because(&error))?;
    std::fs::rename(&bundle, &place).map_err(|error| files::cannot("write", &place, &error))?;
    Ok(place)
}

/// The fleet's signers and roles, as they are, if they let anybody in.
fn operators(file: &FleetFile) -> Result<(String, String)> {
    let signers_file = file.resolve(Path::new("allowed_signers"));
    let roles_file = file.resolve(Path::new("roles.yml"));
    let wrong = |error: &(dyn std::error::Error + 'static)| {
        Error::configuration("the node would not know its operators").because(error)
    };
    let signers = Signers::load(&signers_file, None).map_err(|error| wrong(&error))?;
    let roles = Roles::load(&roles_file).map_err(|error| wrong(&error))?;
    let known = |entry: &togather_trust::signers::Entry| roles.role_of(&entry.operator).is_some();
    if !signers.entries().iter().any(known) {
        return Err(Error::configuration(format!(
            "nobody could command the node: no operator is in both {} and {}",
            signers_file.display(),
            roles_file.display()
        ))
        .next("both are made by `togather-ctl init`; put them back"));
    }
    Ok((read(&signers_file)?, read(&roles_file)?))
}

fn agent(file: &FleetFile, node: &Node, environment: &str) -> String {
    format!(
        "# Who this node is, made by `togather-ctl node add`. Everything else has a default:\n\
         # deploy/config/agent.yml of the distribution states and explains every key.\n\
         node:\n  name: \"{}\"\n  id: {}\n\
         # Commands for other fleets are refused.\n\
         fleet: {}\n\
         # Its values are in .env.{environment}.\n\
         environment: {environment}\n",
        node.name, node.id, file.fleet.id
    )
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::configuration(format!("cannot read {}", path.display())).because(&error)
    })
}
