//! What is wanted of the node: a release, or one it has run before.

use bytes::Bytes;
use togather_model::{Digest, Failure, FailureKind, Image, Operation, OperationKind, Release};

use super::unreadable;
use crate::{node::Node, state::StateError};

/// What is wanted of the node.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// This release file.
    Release(Bytes),
    /// A version it has run before; `None`: the one that ran before the live one.
    Back(Option<String>),
}

/// The release that is meant.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) kind: OperationKind,
    pub(super) release_id: Digest,
    pub(super) release: Release,
    /// The release file, when the node may not have it yet.
    file: Option<Bytes>,
}

impl Wanted {
    /// The node that it is wanted of. What is deployed is made from the files as they are now; to go
    /// back, nobody needs to mend them first.
    pub(super) fn node(&self, node: &Node) -> Result<Node, Failure> {
        match self {
            Self::Release(_) => node.as_configured_now(),
            Self::Back(_) => Ok(node.in_force()),
        }
    }

    /// Finds the release that is meant.
    pub(super) async fn choose(&self, node: &Node) -> Result<Chosen, Failure> {
        match self {
            Self::Release(bytes) => {
                let release = Release::from_bytes(bytes).map_err(|e| {
                    Failure::caused_by(FailureKind::Other, "this is not a release", &e)
                        .next("make one with `togather-ctl release create`")
                })?;
                Ok(Chosen {
                    kind: OperationKind::Deploy,
                    release_id: Digest::of(bytes),
                    release,
                    file: Some(bytes.clone()),
                })
            }
            Self::Back(version) => choose_served(node, version.as_deref()).await,
        }
    }

    /// Whether an operation that the node knows already can have come of this.
    pub(super) fn must_be_that_of(&self, known: &Operation) -> Result<(), Failure> {
        let is_it = match self {
            Self::Release(bytes) => {
                known.kind == OperationKind::Deploy && known.release == Digest::of(bytes)
            }
            Self::Back(version) => {
                known.kind == OperationKind::Rollback
                    && version
                        .as_ref()
                        .is_none_or(|version| *version == known.version)
            }
        };
        if is_it {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Other,
            format!("operation {} was something else on this node", known.id),
        )
        .next("run the command again; it chooses a new id"))
    }
}

impl Chosen {
    /// Keeps the release file, so that the operation can be taken up and gone back to.
    pub(super) async fn keep(&self, node: &Node) -> Result<(), StateError> {
        match &self.file {
            Some(file) => node.state.keep_release(file).await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether the image comes as an archive that the node does not have. If Docker cannot be
    /// asked, the plan says so already.
    pub(super) async fn image_missing(&self, node: &Node) -> bool {
        match &self.release.image {
            image @ Image::Archive { .. } => {
                matches!(node.containers.has_image(image).await, Ok(false))
            }
            Image::Registry { .. } => false,
        }
    }
}

/// Among the releases that served here, newest first: the one of this version, or the first that
/// is not live.
async fn choose_served(node: &Node, version: Option<&str>) -> Result<Chosen, Failure> {
    let live = node.live().await?.map(|live| live.release);
    let served = node.state.served_releases().await;
    for release_id in served.map_err(|e| unreadable(&e))? {
        if version.is_none() && live == Some(release_id) {
            continue;
        }
        let release = node.state.release(release_id).await;
        let Some(release) = release.map_err(|e| unreadable(&e))? else {
            continue;
        };
        if version.is_none_or(|version| version == release.version) {
            return Ok(Chosen {
                kind: OperationKind::Rollback,
                release_id,
                release,
                file: None,
            });
        }
    }
    let what = version.map_or_else(
        || "no version ran on this node before the live one".to_owned(),
        |version| format!("version {version} never served on this node"),
    );
    Err(Failure::new(FailureKind::Other, what)
        .next("see which versions did with `togather-ctl history`, or roll a release out"))
}
