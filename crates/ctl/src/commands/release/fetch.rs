//! `release fetch`: the image on the nodes, the evening before.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use togather_model::{Image, Timestamp};

use super::super::{Context, Nodes, pace::Patience, walk::interruption};
use crate::{
    error::{Error, Kind, Result},
    release,
    rollout::fetch,
    ui::fetched::{Images, complete},
};

/// Have the nodes fetch a release's image now, so that its rollout need not wait for it
///
/// All of them at the same time, whatever else they do. What was fetched stays until the release's
/// rollout has ended, or for 7 days.
#[derive(Args)]
pub(crate) struct Fetch {
    /// The release file, as `release create` made it
    #[arg(long, value_name = "FILE")]
    release: PathBuf,
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    patience: Patience,
}

impl Fetch {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let (release, bytes) = release::read(&self.release)?;
        if let Image::Archive { .. } = release.image {
            return Err(Error::usage(
                "this release's image is an archive, which no node can fetch",
            )
            .next("`rollout --archive FILE` sends it to all nodes before the first is touched"));
        }
        let session = context.signing_session()?;
        let clients = session.clients(&session.file.choose(&self.nodes.nodes)?)?;
        let reporter = context.ui.reporter();
        let (bytes, patience) = (Bytes::from(bytes), self.patience.retry_for);
        // Installed before anything is ordered, so that no order goes out without it.
        let interrupted = interruption()?;
        let outcomes = tokio::select! {
            outcomes = fetch::everywhere(&clients, &bytes, patience, reporter.as_ref()) => outcomes,
            () = interrupted => return Err(left_alone(context)),
        };
        let images = Images::of(&outcomes);
        context.ui.data(|| images.text(Timestamp::now()), &images)?;
        complete(outcomes)
    }
}

fn left_alone(context: &Context) -> Error {
    Error::new(
        Kind::Interrupted,
        "interrupted; what the nodes are fetching they go on with",
    )
    .next(format!(
        "to see how far they are: {}",
        context.command("status --watch")
    ))
}
