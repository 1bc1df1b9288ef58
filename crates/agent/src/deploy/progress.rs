//! Signs of life of long steps, journalled while the step is under way.

use togather_model::{EventKind, Step};
use tokio::sync::mpsc;

use super::Deployment;

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
