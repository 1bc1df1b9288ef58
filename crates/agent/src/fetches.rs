//! Images on their way to the node: each once at a time, whoever asks for it, a deployment or an
//! operator ahead of one. Whoever asks for one that is under way waits for that.
//!
//! A fetch goes on when nobody listens any more; it ends with the agent. It is bounded in time, and
//! given up before the disk is too full for what else lives on it.

pub mod prune;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use togather_model::{Failure, FailureKind, Image};
use tokio::{
    sync::{OwnedRwLockWriteGuard, RwLock, watch},
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    containers::{ContainersError, UNPACKING},
    node::Node,
    progress::{Progress, Say},
};

/// The longest a fetch may take, retries and all.
const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// How often the disk is looked at meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// How far a fetch is.
#[derive(Debug, Clone)]
pub enum Stage {
    /// It goes on.
    UnderWay(Progress),
    /// It is over.
    Ended(Result<Fetched, Failure>),
}

/// An image that is on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// It was there before.
    pub was_here: bool,
    /// What it takes on disk, in bytes; 0 where that was not asked.
    pub bytes: u64,
}

/// The fetches under way.
#[derive(Debug, Clone, Default)]
pub struct Fetches {
    under_way: Arc<Mutex<BTreeMap<String, watch::Receiver<Stage>>>>,
    stopping: CancellationToken,
    /// Read by each fetch, written while images are removed.
    held_back: Arc<RwLock<()>>,
}

impl Fetches {
    /// Fetches the image, or joins the fetch of it that is under way.
    #[must_use]
    pub fn fetch(&self, node: &Node, image: &Image) -> watch::Receiver<Stage> {
        let mut under_way = self.under_way();
        let reference = image.reference();
        if let Some(stages) = under_way.get(&reference) {
            return stages.clone();
        }
        let begun = Stage::UnderWay(Progress::stage("looking for the image"));
        let (tell, stages) = watch::channel(begun);
        under_way.insert(reference.clone(), stages.clone());
        drop(under_way);
        let (this, node, image) = (self.clone(), node.clone(), image.clone());
        tokio::spawn(async move {
            let ended = this.until_the_end(&node, &image, &tell).await;
            // Before it is told: whoever asks now is answered by a fetch of its own.
            this.under_way().remove(&reference);
            tell.send_replace(Stage::Ended(ended));
        });
        stages
    }

    /// How far each fetch is, by the image's name.
    #[must_use]
    pub fn progress(&self) -> Vec<(String, Progress)> {
        let under_way = self.under_way();
        let stages = under_way
            .iter()
            .map(|(name, stages)| (name, stages.borrow().clone()));
        stages
            .filter_map(|(name, stage)| match stage {
                Stage::UnderWay(progress) => Some((name.clone(), progress)),
                Stage::Ended(_) => None,
            })
            .collect()
    }

    /// Lets no fetch begin until this is dropped; `None`: one is under way.
    #[must_use]
    pub fn hold_back(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        Arc::clone(&self.held_back).try_write_owned().ok()
    }

    /// Gives up what is under way; Docker keeps the layers that came.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    async fn until_the_end(
        &self,
        node: &Node,
        image: &Image,
        tell: &watch::Sender<Stage>,
    ) -> Result<Fetched, Failure> {
        let fetch = async {
            let _not_held_back = self.held_back.read().await;
            fetch(node, image, tell).await
        };
        tokio::select! {
            fetched = timeout(LIMIT, fetch) => {
                fetched.unwrap_or_else(|_| Err(given_up(format!(
                    "the image was not fetched within {} minutes", LIMIT.as_secs() / 60
                ))))
            }
            () = self.stopping.cancelled() => {
                Err(given_up("the agent stopped while the image was being fetched".into()))
            }
        }
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<String, watch::Receiver<Stage>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a fetch's end, and passes on how far it is.
///
/// # Errors
/// The image is not on the node.
pub async fn ended(
    mut stages: watch::Receiver<Stage>,
    say: impl Fn(Progress),
) -> Result<Fetched, Failure> {
    loop {
        let stage = stages.borrow_and_update().clone();
        match stage {
            Stage::UnderWay(progress) => say(progress),
            Stage::Ended(outcome) => return outcome,
        }
        if stages.changed().await.is_err() {
            return Err(given_up("fetching the image was broken off".into()));
        }
    }
}

/// Why the image cannot run on this node, if that is known before it is fetched.
pub async fn unfit(node: &Node, image: &Image) -> Option<Failure> {
    match node.containers.fits(image).await {
        Err(other @ ContainersError::OtherPlatform { .. }) => {
            let what = "the image is made for other machines";
            Some(Failure::caused_by(FailureKind::Other, what, &other).next(BUILD_FOR_BOTH))
        }
        // What else is wrong is found where it matters.
        Ok(()) | Err(_) => None,
    }
}

async fn fetch(
    node: &Node,
    image: &Image,
    tell: &watch::Sender<Stage>,
) -> Result<Fetched, Failure> {
    let failed = |e: ContainersError| not_fetched(image, &node.name, &e);
    let containers = &node.containers;
    if containers.has_image(image).await.map_err(failed)? {
        containers.fits(image).await.map_err(failed)?;
        return Ok(Fetched {
            was_here: true,
            bytes: 0,
        });
    }
    let say = |progress| {
        tell.send_replace(Stage::UnderWay(progress));
    };
    let say: Say<'_> = &say;
    let fetching = containers.fetch(image, say);
    tokio::pin!(fetching);
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            // First, so that nothing begins on a disk that is full already.
            biased;
            _ = look.tick() => refuse_without_room(node, &tell.borrow())?,
            fetched = &mut fetching => {
                let bytes = fetched.map_err(failed)?;
                return Ok(Fetched { was_here: false, bytes });
            }
        }
    }
}

/// How much of the image is still to come onto the disk, as far as Docker tells. Unpacked, an image
/// takes at least as much as packed: what is downloaded is there twice in the end.
fn to_come(stage: &Stage) -> u64 {
    let (message, left) = match stage {
        Stage::UnderWay(Progress {
            message,
            bytes_done,
            bytes_total: Some(total),
            ..
        }) => (message.as_str(), total.saturating_sub(*bytes_done)),
        Stage::UnderWay(_) | Stage::Ended(_) => return 0,
    };
    match message {
        UNPACKING => left,
        _ => left.saturating_mul(2),
    }
}

/// How much there is to come is known once Docker tells it; before, what must stay free decides.
fn refuse_without_room(node: &Node, stage: &Stage) -> Result<(), Failure> {
    let free = node.host.disk_free().map_err(|e| {
        let what = "the free disk could not be measured";
        Failure::caused_by(FailureKind::Other, what, &e).next("look at `df -h` on the node")
    })?;
    let (to_come, reserve) = (to_come(stage), node.strategy.min_disk_free);
    if free >= reserve.saturating_add(to_come) {
        return Ok(());
    }
    let of_the_image = match to_come {
        0 => String::new(),
        bytes => format!("the rest of the image takes {} MiB, and ", bytes >> 20),
    };
    let what = format!(
        "the image does not fit: the disk has {} MiB free; {of_the_image}{} MiB must stay free \
         (`strategy.min_disk_free`)",
        free >> 20,
        reserve >> 20
    );
    Err(Failure::new(FailureKind::Other, what)
        .next("free some room: `docker system df`, old logs, old snapshots"))
}

/// Why an image is not on the node, and what to do about it.
fn not_fetched(image: &Image, node: &str, error: &ContainersError) -> Failure {
    let failure = Failure::caused_by(FailureKind::Other, "the image could not be fetched", error);
    match (error, image) {
        (ContainersError::Pull(pull), _) => failure.next(pull.next()),
        (ContainersError::Login { .. }, _) => {
            failure.next("look at `registries` in agent.yml on the node, and at the file it names")
        }
        (ContainersError::OtherPlatform { .. }, _) => failure.next(BUILD_FOR_BOTH),
        (_, Image::Registry { repository, .. }) => failure.next(format!(
            "check that the node reaches the registry of `{repository}` and may pull from it"
        )),
        (_, Image::Archive { .. }) => failure.next(format!(
            "stream it with `togather-ctl rollout --nodes {node} --release FILE --archive FILE`"
        )),
    }
}

/// What to do about an image for another processor.
pub(crate) const BUILD_FOR_BOTH: &str = "build the image for the node's processor too, for example `docker buildx build --platform linux/amd64,linux/arm64`, and create the release from that";

fn given_up(what: String) -> Failure {
    Failure::new(FailureKind::Other, what)
        .next("run the command again; what was downloaded is not downloaded again")
}

#[cfg(test)]
mod tests;
