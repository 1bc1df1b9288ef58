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
    /// The live release once more.
    Again,
}

/// The release that is meant.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) kind: OperationKind,
    pub(super) release_id: Digest,
    pub(super) release: Release,
    /// The release file, when the node may not have it yet.
    file: Option<Bytes>,
    /// The state of the files that its container was made from when it served last.
    configuration: Option<Digest>,
    /// The fingerprint of what its container was made from when it served last; `None`: not known.
    made_of: Option<Digest>,
    /// What the operator should know of it before saying yes.
    pub(super) warning: Option<String>,
}

impl Wanted {
    /// The node that it is wanted of. What is deployed is made from the files as they are now; to go
    /// back, nobody needs to mend them first.
    fn node(&self, node: &Node) -> Result<Node, Failure> {
        match self {
            Self::Release(_) | Self::Again => node.as_configured_now(),
            Self::Back(_) => Ok(node.in_force()),
        }
    }

    /// Finds the release that is meant, and the node that it is wanted of, as it is to be made.
    pub(super) async fn choose_of(&self, node: &Node) -> Result<(Node, Chosen), Failure> {
        let node = self.node(node)?;
        let mut chosen = self.choose(&node).await?;
        match self {
            Self::Release(_) | Self::Again => Ok((node, chosen)),
            Self::Back(_) => {
                let (node, warning) = chosen.as_it_served(node);
                chosen.warning = warning;
                Ok((node, chosen))
            }
        }
    }

    /// Finds the release that is meant.
    async fn choose(&self, node: &Node) -> Result<Chosen, Failure> {
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
                    configuration: None,
                    made_of: None,
                    warning: None,
                })
            }
            Self::Back(version) => choose_served(node, version.as_deref()).await,
            Self::Again => choose_live(node).await,
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
            Self::Again => known.kind == OperationKind::Redeploy,
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
    /// The node with the app as it was made when this release served last, and what is to be said of
    /// that.
    fn as_it_served(&self, node: Node) -> (Node, Option<String>) {
        let version = &self.release.version;
        let Some(configuration) = self.configuration else {
            let warning = self.unlike_it_served(&node);
            return (node, warning);
        };
        match node.configuration.with_app_of(&node, configuration) {
            Ok(earlier) => {
                let differs_from_the_files = || {
                    (earlier.containers.made_of() != node.containers.made_of()).then(|| {
                        format!(
                            "{version} is made from the environment and Compose file that it served with, not from \
                             what they say now: `togather-ctl redeploy --nodes {}` applies that afterwards",
                            node.name
                        )
                    })
                };
                let unlike = self.unlike_it_served(&earlier);
                let warning = unlike.or_else(differs_from_the_files);
                (earlier, warning)
            }
            Err(failure) => {
                let warning = format!(
                    "the files {version} was made from are no longer available ({failure}): it is made from the files \
                     as they are now"
                );
                (node, Some(warning))
            }
        }
    }

    /// What is to be said where what this node makes of the release is not, or may not be, what served.
    fn unlike_it_served(&self, node: &Node) -> Option<String> {
        let version = &self.release.version;
        match self.made_of {
            None => Some(format!(
                "it is not known what {version} was made from when it served: it is made from the environment and \
                 Compose file as they are now"
            )),
            Some(_) if node.containers.made_of() == self.made_of => None,
            Some(_) => Some(format!(
                "{version} cannot be made as it served: its environment or Compose file is not what it was then"
            )),
        }
    }

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

/// The release that gets the traffic.
async fn choose_live(node: &Node) -> Result<Chosen, Failure> {
    let nothing = || {
        Failure::new(FailureKind::Other, "no version is live on this node")
            .next("roll a release out: `togather-ctl rollout --nodes NAME --release FILE`")
    };
    let live = node.live().await?.ok_or_else(nothing)?;
    let release = node.state.release(live.release).await;
    let release = release.map_err(|e| unreadable(&e))?.ok_or_else(nothing)?;
    Ok(Chosen {
        kind: OperationKind::Redeploy,
        release_id: live.release,
        release,
        file: None,
        configuration: None,
        made_of: None,
        warning: None,
    })
}

/// Among what served here, newest first: the one of this version, or the first that is not live. The
/// same release made from something else is another one.
async fn choose_served(node: &Node, version: Option<&str>) -> Result<Chosen, Failure> {
    let live = node.live().await?;
    let served = node.state.served().await;
    for served in served.map_err(|e| unreadable(&e))? {
        // Where it is known what the live one was made from, one of which it is not known is another.
        let is_live = live
            .as_ref()
            .is_some_and(|live| live.release == served.release && served.made_of == live.made_of);
        if version.is_none() && is_live {
            continue;
        }
        let release = node.state.release(served.release).await;
        let Some(release) = release.map_err(|e| unreadable(&e))? else {
            continue;
        };
        if version.is_none_or(|version| version == release.version) {
            return Ok(Chosen {
                kind: OperationKind::Rollback,
                release_id: served.release,
                release,
                file: None,
                configuration: served.configuration,
                made_of: served.made_of,
                warning: None,
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
