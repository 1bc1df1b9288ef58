//! Jobs on nodes: ordered once, and watched until their end, whatever happens to the connection.
//!
//! A stream that breaks off means nothing, and least of all that a job succeeded: the node is asked
//! again until it says how the job ended, or could not be reached for so long that it counts as out
//! of reach.

pub mod news;

use std::{future::Future, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;
use ulid::Ulid;

use self::news::{News, Reporter};
use crate::{
    client::{Client, Job, Order},
    error::{Error, Result},
};

/// The pause before a node that broke off, or could not be reached, is asked again.
const PAUSE: Duration = Duration::from_millis(300);

/// What came of an order on one node.
#[derive(Debug)]
pub struct Outcome {
    /// The node's name.
    pub node: String,
    /// The job as it ended, also one that failed; or why nobody knows of its end.
    pub job: Result<Job>,
}

impl Outcome {
    /// Why this is no success, as the command's error.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        match &self.job {
            Ok(job) => job
                .failure
                .clone()
                .map(|failure| Error::of_node(&self.node, failure)),
            Err(error) => Some(error.clone()),
        }
    }
}

/// Has all these nodes carry out the order at the same time, and waits until each is through or out
/// of reach for longer than our patience. The outcomes come in the order of the nodes.
pub async fn carry_out(
    clients: &[Client],
    order: &Order,
    patience: Duration,
    news: &dyn Reporter,
) -> Vec<Outcome> {
    let nodes = clients.iter().map(|client| async move {
        let job = Watcher {
            client,
            patience,
            news,
        }
        .carry_out(order)
        .await;
        let outcome = Outcome {
            node: client.name().to_owned(),
            job,
        };
        news.tell(&News::Ended(&outcome));
        outcome
    });
    join_all(nodes).await
}

/// Somebody who waits for one node's job.
struct Watcher<'a> {
    client: &'a Client,
    patience: Duration,
    news: &'a dyn Reporter,
}

impl Watcher<'_> {
    async fn carry_out(&self, order: &Order) -> Result<Job> {
        // A node that cannot be reached from the start is told at once: nothing was ordered yet.
        self.client.reach().await?;
        let id = Ulid::generate();
        let begun = self.insist(|| self.client.begin_job(id, order)).await;
        let begun = begun.map_err(|error| self.unknown(error))?;
        let node = self.client.name();
        self.news.tell(&News::Job { node, job: &begun });
        if begun.ended_at.is_some() {
            return Ok(begun);
        }
        let ended = self.watch(&begun.id).await;
        ended.map_err(|error| self.unknown(error))
    }

    /// The same error; if it says nothing about the job, with that and where to look.
    fn unknown(&self, error: Error) -> Error {
        if !error.is_unreachable() {
            return error;
        }
        let node = self.client.name();
        error
            .cause("what came of the job is not known; if the node has begun it, it goes on")
            .next(format!(
                "see how it ended: `togather-ctl status --nodes {node} --output json`, under `jobs`"
            ))
    }

    async fn watch(&self, id: &str) -> Result<Job> {
        let (mut alive, mut lost) = (Instant::now(), false);
        loop {
            match self.attend(id, &mut alive, &mut lost).await {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) if alive.elapsed() < self.patience => {}
                Ok(None) => {
                    let node = self.client.name();
                    return Err(Error::unreachable(format!(
                        "{node} breaks off whenever it is asked about the job {id}"
                    )));
                }
                Err(error) if error.is_unreachable() && alive.elapsed() < self.patience => {
                    self.tell_lost(&error, &mut lost);
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Passes on how far the job is, until its end or that of the stream.
    async fn attend(&self, id: &str, alive: &mut Instant, lost: &mut bool) -> Result<Option<Job>> {
        let node = self.client.name();
        let mut jobs = self.client.watch_job(id).await?;
        while let Some(job) = jobs.next().await? {
            *alive = Instant::now();
            if std::mem::take(lost) {
                self.news.tell(&News::Found { node });
            }
            self.news.tell(&News::Job { node, job: &job });
            if job.ended_at.is_some() {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// Gives the same order again for as long as our patience lasts.
    async fn insist<T, F, Fut>(&self, call: F) -> Result<T>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let begun = Instant::now();
        let mut lost = false;
        loop {
            match call().await {
                Err(error) if error.is_unreachable() && begun.elapsed() < self.patience => {
                    self.tell_lost(&error, &mut lost);
                }
                answer => return answer,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn tell_lost(&self, error: &Error, told: &mut bool) {
        if !std::mem::replace(told, true) {
            self.news.tell(&News::Lost {
                node: self.client.name(),
                why: error.to_string(),
            });
        }
    }
}
