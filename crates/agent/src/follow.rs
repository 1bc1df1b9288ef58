//! The events of an operation, from the journal and then as they are written, until its ending.

use std::collections::VecDeque;

use futures::{Stream, stream};
use togather_model::{Event, OperationState, Ulid};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::state::{State, StateError};

struct Follower {
    state: State,
    ticks: watch::Receiver<u64>,
    stopping: CancellationToken,
    operation: Ulid,
    last: u64,
    page: VecDeque<Event>,
    over: bool,
}

/// The operation's events after this number, each once and in order; the stream is over after the
/// ending. It is over without one when the agent stops: then nothing is known of the operation but
/// that it is taken up again.
pub fn follow(
    state: &State,
    operation: Ulid,
    after: u64,
    stopping: CancellationToken,
) -> impl Stream<Item = Result<Event, StateError>> + use<> {
    let follower = Follower {
        // Before the first look, so that no event falls between the look and the wait.
        ticks: state.ticks(),
        state: state.clone(),
        stopping,
        operation,
        last: after,
        page: VecDeque::new(),
        over: false,
    };
    stream::try_unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Ok(event.map(|event| (event, follower)))
    })
}

impl Follower {
    async fn next(&mut self) -> Result<Option<Event>, StateError> {
        loop {
            if let Some(event) = self.page.pop_front() {
                self.last = event.sequence;
                self.over = event.kind.is_ending();
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            // If the operation has ended by now, whatever the journal holds is all there will be,
            // also when the ending itself could not be written to it.
            let ended = !self.is_running().await?;
            self.page = self.state.events(self.operation, self.last).await?.into();
            if !self.page.is_empty() {
                continue;
            }
            if ended {
                return Ok(None);
            }
            tokio::select! {
                ticked = self.ticks.changed() => if ticked.is_err() { return Ok(None) },
                () = self.stopping.cancelled() => return Ok(None),
            }
        }
    }

    async fn is_running(&self) -> Result<bool, StateError> {
        let operation = self.state.operation(self.operation).await?;
        Ok(operation.is_some_and(|operation| operation.state == OperationState::Running))
    }
}
