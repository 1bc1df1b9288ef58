//! Images fetched ahead of their deployment: how far, as messages, and how long they stay.

use futures::{Stream, stream};
use jiff::SignedDuration;
use togather_model::{Digest, Failure, FailureKind, Release, Timestamp};
use togather_proto::{time, to_status, v1};
use tokio::sync::watch;
use tonic::Status;

use crate::{
    fetches::{Fetched, Stage},
    node::Node,
    progress::Progress,
};

/// How long an image stays that no rollout came for.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Fetches the release's image, or joins the fetch of it; the stream ends with the fetch.
pub(super) async fn fetch(
    node: &Node,
    file: &[u8],
) -> Result<impl Stream<Item = Result<v1::FetchProgress, Status>> + use<>, Failure> {
    let release = Release::from_bytes(file).map_err(|e| {
        Failure::caused_by(FailureKind::Other, "this is not a release", &e)
            .next("make one with `togather-ctl release create`")
    })?;
    let until = node.host.now().checked_add(KEPT).unwrap_or(Timestamp::MAX);
    // Before it is there: from its first moment on nothing may tidy it away.
    let kept = node
        .state
        .keep_image(Digest::of(file), &release.image, until);
    kept.await.map_err(|e| {
        Failure::caused_by(FailureKind::Other, "nothing was fetched", &e)
            .next("look at `df -h` and the agent's journal on the node")
    })?;
    let stages = node.fetches.fetch(node, &release.image);
    Ok(messages(stages, until))
}

fn messages(
    stages: watch::Receiver<Stage>,
    until: Timestamp,
) -> impl Stream<Item = Result<v1::FetchProgress, Status>> + use<> {
    let begun = Some((stages, true));
    stream::unfold(begun, move |state| async move {
        let (mut stages, is_first) = state?;
        if !is_first && stages.changed().await.is_err() {
            return None;
        }
        let stage = stages.borrow_and_update().clone();
        Some(match stage {
            Stage::UnderWay(progress) => (Ok(under_way(progress)), Some((stages, false))),
            Stage::Ended(Ok(fetched)) => (Ok(over(fetched, until)), None),
            Stage::Ended(Err(failure)) => (Err(to_status(&failure)), None),
        })
    })
}

/// How far a fetch is.
pub(super) fn under_way(progress: Progress) -> v1::FetchProgress {
    v1::FetchProgress {
        message: progress.message,
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total.unwrap_or_default(),
        fetched: None,
        elapsed: Some(time::duration(progress.elapsed)),
    }
}

fn over(fetched: Fetched, until: Timestamp) -> v1::FetchProgress {
    let message = match fetched.was_here {
        true => "already on the node",
        false => "fetched",
    };
    v1::FetchProgress {
        message: message.to_owned(),
        bytes_done: fetched.bytes,
        bytes_total: fetched.bytes,
        fetched: Some(v1::Fetched {
            was_here: fetched.was_here,
            bytes: fetched.bytes,
            kept_until: Some(time::timestamp(until)),
        }),
        elapsed: None,
    }
}
