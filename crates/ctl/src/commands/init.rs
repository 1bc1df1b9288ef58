//! `init`: a fleet file, a certificate authority, and the operator's certificate, key and role.

use std::{
    error::Error as _,
    path::{Path, PathBuf},
};

use clap::Args;
use togather_model::{Timestamp, Ulid};
use togather_trust::{
    NAMESPACE, OperatorName, Role, Roles, Signer, secret_file,
    signers::Entry,
    signing,
    tls::{Authority, Identity},
};

use super::Context;
use crate::{
    error::{Error, Result},
    files::{self, Together},
    fleet::{self, Fleet, Operator},
    ui::ask,
};

/// Begin a fleet: its file, its certificate authority and its first operator
///
/// Writes fleet.yml and, beside it, ca.crt, ca.key, operator.crt, operator.key, allowed_signers and
/// roles.yml, and a new SSH key unless --identity names yours. Nothing is ever overwritten. Keep
/// ca.key where no node can read it: whoever has it can make operators.
#[derive(Args)]
pub(crate) struct Init {
    /// What people call the fleet
    #[arg(long, default_value = "togather", value_name = "NAME")]
    name: String,
    /// The first operator, who becomes its admin [default: your user name]
    #[arg(long, env = "USER", hide_env = true, value_name = "NAME")]
    operator: Option<OperatorName>,
}

impl Init {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let path = context
            .fleet
            .clone()
            .unwrap_or_else(|| PathBuf::from("fleet.yml"));
        let Some(operator) = self.operator else {
            return Err(
                Error::usage("who begins the fleet is not known").next("name them with --operator")
            );
        };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let Some(file_name) = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
        else {
            return Err(Error::usage(format!(
                "{} is no file's name",
                path.display()
            )));
        };
        let mut names = vec![
            "ca.crt",
            "ca.key",
            "operator.crt",
            "operator.key",
            "allowed_signers",
            "roles.yml",
        ];
        if context.identity.is_none() {
            names.extend(["id_ed25519", "id_ed25519.pub"]);
        }
        // The fleet file comes last: while it is not there, there is no fleet.
        names.push(&file_name);

        let together = Together::begin(&folder, &names)?;
        let fleet = write(
            &together,
            &self.name,
            &operator,
            context.identity.as_deref(),
        )?;
        together.write(&file_name, &fleet::render(&fleet))?;
        together.finish()?;

        context.ui.say(format!(
            "fleet `{}` begun: {}\n\
             operator: {operator} (admin); commands are signed with {}\n\
             keep {} away from nodes: whoever has it can make operators\n\
             next: {}",
            self.name,
            path.display(),
            folder.join(&fleet.operator.identity).display(),
            folder.join("ca.key").display(),
            context.command("node add NAME --address HOST:PORT"),
        ));
        Ok(())
    }
}

/// Writes everything but the fleet file, and returns what that is to say.
fn write(
    together: &Together,
    name: &str,
    operator: &OperatorName,
    identity: Option<&Path>,
) -> Result<Fleet> {
    let now = Timestamp::now();
    let root = Authority::create(name, now).map_err(|error| cannot_make(&error))?;
    let authority = Authority::open(&root).map_err(|error| cannot_make(&error))?;
    let certificate = authority
        .issue_operator(operator, now)
        .map_err(|error| cannot_make(&error))?;
    put(together, &root, "ca")?;
    put(together, &certificate, "operator")?;

    let (entry, identity) = match identity {
        Some(path) => (own_key(operator, path)?, files::absolute(path)?),
        None => {
            let path = together.path("id_ed25519");
            let key = signing::generate_identity(&path, operator.as_str())
                .map_err(|error| cannot_make(&error))?;
            let entry = Entry::new(operator.clone(), &[NAMESPACE], key);
            (entry, PathBuf::from("id_ed25519"))
        }
    };
    together.write("allowed_signers", &format!("{entry}\n"))?;
    let mut roles = Roles::default();
    roles.set(operator.clone(), Role::Admin);
    together.write("roles.yml", &roles.to_yaml())?;
    Ok(Fleet {
        schema: fleet::SCHEMA.to_owned(),
        id: Ulid::generate(),
        name: name.to_owned(),
        authority: "ca.crt".into(),
        operator: Operator {
            name: operator.clone(),
            certificate: "operator.crt".into(),
            key: "operator.key".into(),
            identity,
        },
        nodes: Vec::new(),
    })
}

fn put(together: &Together, identity: &Identity, name: &str) -> Result<()> {
    let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
    identity
        .write(&together.path(&certificate), &together.path(&key))
        .map_err(|error| cannot_make(&error))
}

/// The signers file's line for the operator's own key.
fn own_key(operator: &OperatorName, path: &Path) -> Result<Entry> {
    let beside = PathBuf::from(format!("{}.pub", path.display()));
    let is_public = path.extension().is_some_and(|extension| extension == "pub");
    let key = if is_public {
        signing::read_public(path)
    } else if path.exists() && beside.exists() {
        secret_file::refuse_if_others_can_read(path)
            .map_err(Into::into)
            .and_then(|()| signing::read_public(&beside))
    } else {
        let agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
        Signer::open(path, agent.as_deref(), Some(&ask::passphrase))
            .map(|signer| signer.public_key().clone())
    };
    match key {
        Ok(key) => Ok(Entry::new(operator.clone(), &[NAMESPACE], key)),
        Err(error) => Err(match error.source() {
            Some(source) => Error::usage(error.to_string()).because(source),
            None => Error::usage(error.to_string()),
        }),
    }
}

fn cannot_make(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::other("the fleet cannot be begun").because(error)
}
