//! Questions, which are asked only on a terminal.

use std::{io, path::Path};

use secrecy::SecretString;

use super::{Ui, somebody_is_there};
use crate::error::{Error, Result};

impl Ui {
    /// Asks whether to go on; `yes` has answered already.
    ///
    /// # Errors
    /// The answer is no, or nobody is there to be asked.
    pub fn confirm(self, question: &str, yes: bool) -> Result<()> {
        if yes {
            return Ok(());
        }
        if !somebody_is_there() {
            return Err(
                Error::usage("this needs a yes, and there is no terminal to ask on")
                    .next("add --yes, after a look with --dry-run where there is one"),
            );
        }
        let terminal = console::Term::stderr();
        let answer = terminal
            .write_str(&format!("{question} [y/N] "))
            .and_then(|()| terminal.read_line())
            .map_err(|error| Error::other("the answer cannot be read").because(&error))?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Error::other("not confirmed; nothing was changed")),
        }
    }
}

impl Ui {
    /// Asks for the live database's name to be typed, or takes the one that was given instead. Which
    /// name is right, the node knows.
    ///
    /// # Errors
    /// Nothing was typed, or nobody is there to be asked.
    pub fn database_name(self, given: Option<String>) -> Result<String> {
        if let Some(name) = given {
            return Ok(name);
        }
        if !somebody_is_there() {
            return Err(Error::usage(
                "this needs the database's name, and there is no terminal to ask on",
            )
            .next("name the live database to go on: --yes-restore NAME"));
        }
        let terminal = console::Term::stderr();
        let answer = terminal
            .write_str("Type the name of the live database to go on: ")
            .and_then(|()| terminal.read_line())
            .map_err(|error| Error::other("the answer cannot be read").because(&error))?;
        match answer.trim() {
            "" => Err(Error::other("not confirmed; nothing was changed")),
            name => Ok(name.to_owned()),
        }
    }
}

impl Ui {
    /// Asks for the node's name to be typed, unless it is among those that were given.
    ///
    /// # Errors
    /// Another name was typed, or nobody is there to be asked.
    pub fn node_name(self, node: &str, given: &[String]) -> Result<String> {
        if given.iter().any(|name| name == node) {
            return Ok(node.to_owned());
        }
        if !somebody_is_there() {
            return Err(Error::usage(format!(
                "this needs the node's name, {node}, and there is no terminal to ask on"
            ))
            .next(format!("name it to go on: --confirm {node}")));
        }
        let terminal = console::Term::stderr();
        let answer = terminal
            .write_str(&format!("Type the node's name, {node}, to go on: "))
            .and_then(|()| terminal.read_line())
            .map_err(|error| Error::other("the answer cannot be read").because(&error))?;
        match answer.trim() {
            typed if typed == node => Ok(typed.to_owned()),
            _ => Err(Error::other("not confirmed; nothing was changed")),
        }
    }
}

/// Asks for the passphrase of a key, if somebody is there.
pub(crate) fn passphrase(key: &Path) -> io::Result<SecretString> {
    if !somebody_is_there() {
        return Err(io::Error::other(
            "there is no terminal to ask on; unlock the key with ssh-add",
        ));
    }
    let terminal = console::Term::stderr();
    terminal.write_str(&format!("passphrase for {}: ", key.display()))?;
    terminal.read_secure_line().map(SecretString::from)
}
