//! Signs of life of long steps, journalled while the step is under way.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use togather_model::{EventKind, Step};
use tokio::{sync::mpsc, time::Instant};

use super::Deployment;
use crate::snapshots::Progress;

/// How long a stage goes on before it is told again.
const EVERY: Duration = Duration::from_secs(10);

/// What a step says, and what hears it. The step's code calls the first where it cannot wait.
pub(super) fn signs_of_life() -> (
    impl Fn(String) + Send + Sync,
    mpsc::UnboundedReceiver<String>,
) {
    let (sender, heard) = mpsc::unbounded_channel();
    let say = move |message| {
        // Nobody listens any more only when the step itself was given up.
        let _ = sender.send(message);
    };
    (say, heard)
}

/// Tells a stage when it begins, and now and then how far it is: what is journalled stays.
pub(super) fn now_and_then(say: impl Fn(String) + Send + Sync) -> impl Fn(Progress) + Send + Sync {
    let last = Mutex::new(None::<(String, Instant)>);
    move |progress: Progress| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told =
            |(stage, at): &(String, Instant)| *stage == progress.message && at.elapsed() < EVERY;
        if !last.as_ref().is_some_and(is_told) {
            say(progress.text());
            *last = Some((progress.message, Instant::now()));
        }
    }
}

impl Deployment<'_> {
    /// Writes a step's signs of life down until the step has no more to say.
    pub(super) async fn write_down(&self, step: Step, mut heard: mpsc::UnboundedReceiver<String>) {
        while let Some(message) = heard.recv().await {
            self.journal
                .mention(EventKind::StepProgress { step, message })
                .await;
        }
    }
}
