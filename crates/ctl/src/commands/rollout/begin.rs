//! `rollout --nodes … --release FILE`.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use togather_model::{Digest, rollout::Rollout};

use super::super::{
    Context,
    pace::{Consent, Pace},
    walk::{self, Intent},
};
use crate::{client::Wanted, error::Result, release};

/// The group is named because clap leaves it empty where something is flattened, and could not see
/// then whether any of this was given.
#[derive(Args)]
#[group(args = ["nodes", "release"], multiple = true)]
pub(super) struct Begin {
    /// Which nodes: `all`, names, or label=value; comma separated
    #[arg(long, value_name = "NODES", value_delimiter = ',', required = true)]
    nodes: Vec<String>,
    /// The release file, as `release create` made it
    #[arg(long, value_name = "FILE")]
    release: PathBuf,
    /// The image archive, for a release made with --archive; sent to nodes that lack it
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    consent: Consent,
    /// Fetch the image on each node only when it is its turn, not on all of them before the first
    #[arg(long)]
    no_prefetch: bool,
}

impl Begin {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let (release, bytes) = release::read(&self.release)?;
        let archive = walk::archive(self.archive.as_deref(), &release).await?;
        let session = walk::session(context, &self.consent)?;
        let nodes = session.file.choose(&self.nodes)?;
        let names = walk::names(&nodes);
        let bytes = Bytes::from(bytes);
        let intent = Intent {
            rollout: Rollout {
                release: Digest::of(&bytes),
                version: release.version,
                ..self.pace.rollout(session.operator().to_string(), names)
            },
            wanted: Wanted::Release(bytes.clone()),
            stored: Some(bytes),
            archive,
            prefetch: !self.no_prefetch,
            question: |version, nodes| format!("Roll {version} across {}?", walk::nodes(nodes)),
            unnamed: "",
            nothing: "nothing to do: every node that answers is there already",
        };
        walk::survey_and_walk(context, session.clients(&nodes)?, intent, &self.consent).await
    }
}
