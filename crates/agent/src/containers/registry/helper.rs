//! Docker's credential helpers: `docker-credential-NAME get`, the registry on standard input, JSON on
//! standard output.

use std::{io, path::Path, process::Stdio, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

use super::Credential;

/// How long a helper may take: those of clouds ask over the network.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes; tokens have a few thousand.
const LONGEST: u64 = 64 << 10;

/// What keeps credentials in the session of somebody who is logged in.
const NEED_A_SESSION: [&str; 6] = [
    "desktop",
    "osxkeychain",
    "pass",
    "secretservice",
    "wincred",
    "desktop.exe",
];

/// What helpers say for a registry they know nothing of.
const UNKNOWN: &str = "credentials not found in native keychain";

/// The user's name that says that the secret is a token.
const TOKEN: &str = "<token>";

/// Why a helper gave no credential. What it printed is never told if it may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// Not a word that could end a program's name.
    #[error(
        "that is no helper's name; expected letters, digits and `-`, such as `ecr-login` for /usr/bin/docker-credential-ecr-login"
    )]
    Name,
    /// It works only where somebody is logged in.
    #[error(
        "it keeps credentials in a user's session, and the agent has none; name a user and a `password_file` under `registries.logins` in agent.yml"
    )]
    NeedsSession,
    /// It cannot be run.
    #[error("cannot run {program}; helpers must be in /usr/bin, where the agent may run them")]
    NotRun {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It takes too long.
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// It says why it has none.
    #[error("it says: {0}")]
    Said(String),
    /// It answered something else than a credential.
    #[error("it did not answer as docker's credential helpers do")]
    Answer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: SecretString,
}

/// Asks the helper of this name in this folder for the registry's credential; `None`: it has none.
pub(super) async fn ask(
    folder: &Path,
    name: &str,
    registry: &str,
) -> Result<Option<Credential>, HelperError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(HelperError::Name);
    }
    if NEED_A_SESSION.contains(&name) {
        return Err(HelperError::NeedsSession);
    }
    let program = folder.join(format!("docker-credential-{name}"));
    let answered = timeout(PATIENCE, run(&program, registry)).await;
    let (is_success, printed) = answered.map_err(|_| HelperError::Slow)?.map_err(|source| {
        let program = program.display().to_string();
        HelperError::NotRun { program, source }
    })?;
    if !is_success {
        return failed(printed.expose_secret());
    }
    // The parser's own words are not told: they quote what they stumble over.
    let answer: Answer =
        serde_json::from_str(printed.expose_secret()).map_err(|_| HelperError::Answer)?;
    Ok(match (answer.username, answer.secret) {
        (_, secret) if secret.expose_secret().is_empty() => None,
        (user, token) if user == TOKEN => Some(Credential::IdentityToken(token)),
        (user, password) => Some(Credential::Password { user, password }),
    })
}

/// Runs the program to its end; whether that was a success, and what it printed.
async fn run(program: &Path, registry: &str) -> io::Result<(bool, SecretString)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that has ended already says by its exit code what it thought of the question.
        let _ = stdin.write_all(registry.as_bytes()).await;
    }
    let mut printed = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(LONGEST).read_to_string(&mut printed).await?;
    }
    let ended = child.wait().await?;
    Ok((ended.success(), printed.into()))
}

/// A helper that fails says why on standard output, by docker's protocol. Whatever looks like an
/// answer all the same is kept back.
fn failed(printed: &str) -> Result<Option<Credential>, HelperError> {
    let said = printed.lines().next().unwrap_or_default().trim();
    match said {
        UNKNOWN => Ok(None),
        "" => Err(HelperError::Answer),
        said if said.len() <= 200 && !printed.contains(['{', '"']) => {
            Err(HelperError::Said(said.to_owned()))
        }
        _ => Err(HelperError::Answer),
    }
}
