//! `release`: one file that says what is deployed.

mod fetch;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use togather_model::{
    Hook, Image, Timestamp,
    release::{Attestation, Expected, Prepare, Release as Content, SCHEMA},
};

use super::{Context, span};
use crate::{
    client::Archive,
    error::{Error, Result},
    files,
    release::{
        self,
        lines::{self, OfLine, of_line},
    },
    ui::release::ReleaseInfo,
};

const SIGNATURE: &str = "-----BEGIN SSH SIGNATURE-----";

/// Make release files, look into them, and have nodes fetch their images
#[derive(Subcommand)]
pub(crate) enum Release {
    Create(Box<Create>),
    Inspect(Inspect),
    Fetch(fetch::Fetch),
}

/// Make a release file out of an image, a commit and migrations
///
/// The file's SHA-256 is the release's id: nodes check it, and keep the bytes as they are.
#[derive(Args)]
pub(crate) struct Create {
    /// The version people say, for example 1.4.0
    #[arg(long)]
    version: String,
    /// The full git commit the image was built from
    #[arg(long, value_name = "SHA40")]
    commit: String,
    /// The image, by digest: a tag may name something else tomorrow
    #[arg(long, value_name = "REPOSITORY@sha256:…", value_parser = release::image)]
    #[arg(required_unless_present = "archive", conflicts_with = "archive")]
    image: Option<Image>,
    /// Instead of --image: the file that `docker save` wrote, for hosts without a registry
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// The folder of migrations in golang-migrate's format; of River's migrations with `river=`
    /// before it. They run in the order given
    #[arg(long, value_name = "[river=]DIR", value_parser = of_line)]
    migrations: Vec<OfLine>,
    /// Code built for this schema or a later one also runs on this release's; it decides what can
    /// be rolled back to afterwards. For River's schema with `river=` before it
    #[arg(long, value_name = "[river=]N", value_parser = of_line)]
    oldest_schema: Vec<OfLine>,
    /// A command run once after the migrations and before the new container starts, in a container of
    /// its own that gets no traffic
    #[arg(long, value_name = "COMMAND", value_parser = words)]
    prepare: Option<Words>,
    /// How long it may take
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = some_time, requires = "prepare")]
    prepare_timeout: Duration,
    /// What a field of the JSON object that it prints must be, for example errors=0; can be given
    /// several times
    #[arg(long, value_name = "FIELD=VALUE", requires = "prepare")]
    prepare_expect: Vec<Expected>,
    /// A command run inside the new container before it gets traffic; can be given several times
    #[arg(long = "hook", value_name = "COMMAND", value_parser = words)]
    hooks: Vec<Words>,
    /// How long each hook may take
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = some_time)]
    hook_timeout: Duration,
    /// When the image was built [default: now]
    #[arg(long, value_name = "TIME")]
    built_at: Option<Timestamp>,
    /// The CI's signature (SSHSIG) over commit and digest
    #[arg(long, value_name = "FILE")]
    attestation: Option<PathBuf>,
    /// Where the release file goes; one that is there is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Show what a release file holds
#[derive(Args)]
pub(crate) struct Inspect {
    /// The release file
    file: PathBuf,
}

/// A command in words; no shell will read it.
#[derive(Clone)]
struct Words(Vec<String>);

impl Release {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let (content, bytes) = match self {
            Self::Create(create) => create.make().await?,
            Self::Inspect(inspect) => release::read(&inspect.file)?,
            Self::Fetch(fetch) => return fetch.run(context).await,
        };
        let info = ReleaseInfo::of(&content, &bytes);
        context.ui.data(|| info.text(), &info)
    }
}

impl Create {
    async fn make(self) -> Result<(Content, Vec<u8>)> {
        let image = match (self.image, &self.archive) {
            (Some(image), _) => image,
            (None, Some(path)) => {
                let Archive { digest, bytes, .. } = Archive::read(path).await?;
                Image::Archive { digest, bytes }
            }
            (None, None) => return Err(Error::usage("give --image or --archive")),
        };
        let timeout = self.hook_timeout;
        let hook = |Words(command)| Hook { command, timeout };
        let lines = lines::read(&self.migrations, &self.oldest_schema)?;
        let content = Content {
            schema: SCHEMA.to_owned(),
            version: self.version,
            git_commit: self.commit,
            image,
            migrations: lines.app,
            oldest_schema: lines.oldest_schema,
            other_lines: lines.others,
            prepare: self.prepare.map(|Words(command)| Prepare {
                command,
                timeout: self.prepare_timeout,
                expect: self.prepare_expect,
            }),
            hooks: self.hooks.into_iter().map(hook).collect(),
            built_at: self.built_at.unwrap_or_else(Timestamp::now),
            attestation: self.attestation.as_deref().map(attestation).transpose()?,
        };
        let bytes = content
            .to_bytes()
            .map_err(|error| Error::usage("this makes no release").because(&error))?;
        // Bytes made of JSON are text.
        let text = String::from_utf8_lossy(&bytes);
        files::write_whole(&self.out, &text)?;
        Ok((content, bytes))
    }
}

fn attestation(path: &std::path::Path) -> Result<Attestation> {
    let signature = std::fs::read_to_string(path).map_err(|error| {
        Error::usage(format!("cannot read the attestation {}", path.display())).because(&error)
    })?;
    if !signature.starts_with(SIGNATURE) {
        return Err(
            Error::usage(format!("{} is not a signature", path.display()))
                .cause(format!("expected it to begin with {SIGNATURE}"))
                .next("make it with: ssh-keygen -Y sign -n attestation@fleet.togather"),
        );
    }
    Ok(Attestation { signature })
}

/// A span of time in which something can happen.
fn some_time(text: &str) -> std::result::Result<Duration, String> {
    match span(text)? {
        Duration::ZERO => {
            Err("nothing can be done in no time: expected for example 90s or 5m".into())
        }
        span => Ok(span),
    }
}

/// Splits a command as a shell would, without one.
fn words(text: &str) -> std::result::Result<Words, String> {
    match shell_words::split(text) {
        Ok(words) if !words.is_empty() => Ok(Words(words)),
        Ok(_) => Err("a command needs a word at least".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
