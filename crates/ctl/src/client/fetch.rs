//! A node that fetches an image ahead of its deployment.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use togather_model::Timestamp;
use togather_proto::{
    WireError, time,
    v1::{self, command::Body},
};
use tonic::{Code, Response, Status, Streaming};
use ulid::Ulid;

use super::{ANSWER_TIMEOUT, Client};
use crate::error::{Error, Result};

/// How long a fetch may go without a word. The node itself gives a pull up that stands still, sooner.
const SILENCE: Duration = Duration::from_secs(600);

/// How far a fetch is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetching {
    /// What goes on, for people; the same for as long as it is the same.
    pub message: String,
    /// How much of it is done, in bytes.
    pub bytes_done: u64,
    /// How much it will be; 0: not known.
    pub bytes_total: u64,
    /// Since when that goes on, as far as the node says, in milliseconds.
    pub elapsed_ms: u64,
}

impl From<v1::FetchProgress> for Fetching {
    fn from(wire: v1::FetchProgress) -> Self {
        let elapsed = wire.elapsed.and_then(|span| Duration::try_from(span).ok());
        let millis = elapsed.unwrap_or_default().as_millis();
        Self {
            message: wire.message,
            bytes_done: wire.bytes_done,
            bytes_total: wire.bytes_total,
            elapsed_ms: u64::try_from(millis).unwrap_or(u64::MAX),
        }
    }
}

/// An image that is on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// It was there before.
    pub was_here: bool,
    /// What it takes on disk, in bytes; 0 where it was there before.
    pub bytes: u64,
    /// When the node may let it go again.
    pub kept_until: Timestamp,
}

/// What a node says of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It goes on.
    Going(Fetching),
    /// The image is there.
    Ended(Fetched),
}

/// A fetch, as the node tells of it.
pub struct Fetch {
    client: Client,
    stream: Streaming<v1::FetchProgress>,
}

impl Client {
    /// Has the node fetch the release's image, or listens to the fetch that is under way. `None`: its
    /// agent is of a version that fetches an image only for a deployment.
    ///
    /// # Errors
    /// The node could not be reached, or refuses.
    pub async fn fetch_image(&self, release: &Bytes) -> Result<Option<Fetch>> {
        let body = Body::FetchImage(v1::FetchImage {
            release: release.clone(),
        });
        let command = self.sign(Ulid::generate(), body).await?;
        // A deadline on the request would be one on the whole stream.
        let mut deployments = self.deployments();
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, deployments.fetch_image(command)).await;
        match answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time"))) {
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            answer => Ok(Some(Fetch {
                client: self.clone(),
                stream: self.answered(answer)?,
            })),
        }
    }
}

impl Fetch {
    /// What the node says next; `None` when the stream is over, which means nothing about the fetch.
    ///
    /// # Errors
    /// The fetch failed, or the connection broke.
    pub async fn next(&mut self) -> Result<Option<Told>> {
        let told = tokio::time::timeout(SILENCE, self.stream.message()).await;
        let Ok(told) = told else {
            return Err(Error::unreachable(format!(
                "{} has said nothing of the fetch for {} s",
                self.client.name(),
                SILENCE.as_secs()
            )));
        };
        let told = self.client.answered(told.map(Response::new))?;
        self.client.understand(told.map(Told::try_from).transpose())
    }
}

impl TryFrom<v1::FetchProgress> for Told {
    type Error = WireError;

    fn try_from(wire: v1::FetchProgress) -> Result<Self, WireError> {
        Ok(match wire.fetched {
            Some(fetched) => Self::Ended(Fetched {
                was_here: fetched.was_here,
                bytes: fetched.bytes,
                kept_until: time::read_timestamp("kept_until", fetched.kept_until)?,
            }),
            None => Self::Going(wire.into()),
        })
    }
}
