//! One order to one node: given once, watched until its ending, whatever happens to the connection.
//!
//! A stream that breaks off means nothing: the node is asked again until it says how the operation
//! ended, or could not be reached for so long that it counts as out of reach.

use std::{future::Future, time::Duration};

use togather_model::{
    EventKind, Failure, Operation, OperationKind, OperationState, Ulid,
    rollout::{Rollout, operation_id},
};
use togather_proto::v1;

use super::{
    news::{News, Reporter},
    patience::{PAUSE, Patience},
    taken_up::MANY,
};
use crate::{
    client::{Client, Wanted},
    error::{Error, Result},
};

/// What was ordered, and how it ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) kind: OperationKind,
    pub(super) ending: Ending,
}

impl Ended {
    /// The same ending of an order that was the rollout's own purpose, whatever its kind.
    pub(super) fn on_purpose(self) -> Self {
        Self {
            kind: OperationKind::Deploy,
            ..self
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) state: OperationState,
    pub(super) took: Duration,
    pub(super) failure: Option<Failure>,
}

impl Ending {
    /// What an event says about the ending; `None` if it is none.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "everything else is no ending, also what is yet to come"
    )]
    fn of_event(kind: EventKind) -> Option<Self> {
        let (state, took, failure) = match kind {
            EventKind::Completed { took } => (OperationState::Done, took, None),
            EventKind::Undone { took, failure } => (OperationState::Undone, took, Some(failure)),
            EventKind::Stuck { took, failure } => (OperationState::Stuck, took, Some(failure)),
            _ => return None,
        };
        Some(Self {
            state,
            took,
            failure,
        })
    }

    /// What the node remembers about the ending; `None` while the operation is under way.
    fn of_operation(operation: Operation) -> Option<Self> {
        let ended_at = operation.ended_at?;
        if operation.state == OperationState::Running {
            return None;
        }
        let took = ended_at.duration_since(operation.started_at);
        Some(Self {
            state: operation.state,
            took: took.try_into().unwrap_or_default(),
            failure: operation.failure,
        })
    }
}

/// Somebody who gives orders to one node.
pub(super) struct Officer<'a> {
    pub(super) client: &'a Client,
    pub(super) rollout: &'a Rollout,
    /// For how long a node that cannot be reached is tried again.
    pub(super) patience: Duration,
    pub(super) news: &'a dyn Reporter,
}

impl Officer<'_> {
    /// Gives the order, unless the node has had it before, and watches what comes of it.
    ///
    /// # Errors
    /// The node refuses, or stays out of reach; what came of the order is then not known.
    pub(super) async fn carry_out(
        &self,
        kind: OperationKind,
        wanted: &Wanted,
        lease: v1::LeaseProof,
    ) -> Result<Ended> {
        let earlier = self.operations().await?;
        let counts = |past: &&Operation| {
            past.kind == kind
                && matches!(past.state, OperationState::Running | OperationState::Done)
        };
        if let Some(known) = earlier.first().filter(counts) {
            return self.watch(known.id, kind).await;
        }
        let node = self.client.name();
        let tried = earlier.iter().filter(|past| past.kind == kind).count();
        let id = operation_id(self.rollout.id, node, kind, tried);
        let soak = self.rollout.soak_of(node);
        let begun = self
            .insist(|| self.client.begin(id, wanted, soak, lease.clone()))
            .await?;
        self.watch(begun.id, kind).await
    }

    /// Watches the latest operation of this rollout on the node.
    ///
    /// # Errors
    /// The node stays out of reach, or has none.
    pub(super) async fn watch_latest(&self) -> Result<Ended> {
        match self.operations().await?.first() {
            Some(latest) => self.watch(latest.id, latest.kind).await,
            None => Err(Error::other(format!(
                "{} does not know of this rollout any more",
                self.client.name()
            ))),
        }
    }

    /// The node's operations of this rollout, newest first.
    async fn operations(&self) -> Result<Vec<Operation>> {
        self.insist(|| self.client.history(MANY, Some(self.rollout.id)))
            .await
    }

    async fn watch(&self, id: Ulid, kind: OperationKind) -> Result<Ended> {
        let (mut seen, mut patience) = (0, self.patience());
        loop {
            let before = seen;
            let ending = self.attend(id, &mut seen).await;
            if seen > before {
                patience.renew();
            }
            match ending {
                Ok(ending) => return Ok(Ended { kind, ending }),
                Err(error) => patience.bear(error).await?,
            }
        }
    }

    /// Passes events on, from the one after `seen`, until the operation's ending; attaches again
    /// for as long as the node answers.
    async fn attend(&self, id: Ulid, seen: &mut u64) -> Result<Ending> {
        let mut remembered = None;
        loop {
            let mut events = self.client.follow(id, *seen).await?;
            while let Some(event) = events.next().await? {
                if event.sequence <= *seen {
                    continue;
                }
                *seen = event.sequence;
                self.news.tell(&News::Node(&event));
                if let Some(ending) = Ending::of_event(event.kind) {
                    return Ok(ending);
                }
            }
            // The stream is over and said nothing of an ending: only the node knows. If it does,
            // the events that were missed are asked for once more.
            if let Some(ending) = remembered {
                return Ok(ending);
            }
            remembered = Ending::of_operation(self.client.operation(id).await?);
            if remembered.is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Asks or orders the same again for as long as our patience lasts.
    pub(super) async fn insist<T, F, Fut>(&self, call: F) -> Result<T>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let mut patience = self.patience();
        loop {
            match call().await {
                Ok(answer) => {
                    patience.heard();
                    return Ok(answer);
                }
                Err(error) => patience.bear(error).await?,
            }
        }
    }

    fn patience(&self) -> Patience<'_> {
        Patience::new(self.client.name(), self.patience, self.news)
    }
}
