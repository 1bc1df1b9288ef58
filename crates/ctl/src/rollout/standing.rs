//! Where each node of a rollout stands, and why.

use std::{collections::BTreeMap, time::Duration};

use togather_model::{FailureKind, OperationKind, rollout::Progress};

use super::order::Ended;
use crate::error::{Error, Kind, Result};

/// Where one node stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// How far it has come.
    pub progress: Progress,
    /// What went wrong there.
    pub error: Option<Error>,
    /// How long its last operation took.
    pub took: Option<Duration>,
}

impl From<Progress> for Standing {
    fn from(progress: Progress) -> Self {
        Self {
            progress,
            error: None,
            took: None,
        }
    }
}

impl Standing {
    /// A node that cannot be reached.
    #[must_use]
    pub const fn behind(error: Error) -> Self {
        Self {
            progress: Progress::Behind,
            error: Some(error),
            took: None,
        }
    }

    /// What came of an order. A node that refused it, or could not be reached, stands somewhere
    /// too; `ordered` says what that refusal means.
    ///
    /// # Errors
    /// Somebody else has the node: then it is not for us to judge the rollout.
    pub(super) fn of(node: &str, ordered: OperationKind, ended: Result<Ended>) -> Result<Self> {
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_held() => return Err(error),
            Err(error) if error.is_unreachable() && ordered == OperationKind::Deploy => {
                return Ok(Self::behind(error));
            }
            Err(error) => {
                return Ok(Self {
                    progress: match ordered {
                        OperationKind::Deploy | OperationKind::Redeploy => Progress::Failed,
                        OperationKind::Rollback => Progress::NotTakenBack,
                    },
                    error: Some(error),
                    took: None,
                });
            }
        };
        let state = ended.ending.state;
        Ok(Self {
            progress: match ended.kind {
                OperationKind::Deploy | OperationKind::Redeploy => Progress::of_deployment(state),
                OperationKind::Rollback => Progress::of_taking_back(state),
            },
            error: ended
                .ending
                .failure
                .map(|failure| Error::of_node(node, failure)),
            took: Some(ended.ending.took),
        })
    }
}

/// Where all nodes of a rollout stand; a node that is not in it has not begun.
#[derive(Debug, Clone, Default)]
pub struct Standings(BTreeMap<String, Standing>);

impl Standings {
    /// Takes down where a node stands.
    pub fn set(&mut self, node: &str, standing: Standing) {
        self.0.insert(node.to_owned(), standing);
    }

    /// Where a node stands.
    #[must_use]
    pub fn of(&self, node: &str) -> Standing {
        let known = self.0.get(node).cloned();
        known.unwrap_or_else(|| Progress::Pending.into())
    }

    /// The same, in the terms of [`togather_model::rollout::next`].
    #[must_use]
    pub fn progress(&self) -> BTreeMap<String, Progress> {
        let progress = |(node, standing): (&String, &Standing)| (node.clone(), standing.progress);
        self.0.iter().map(progress).collect()
    }

    /// Whether a node could not be reached.
    #[must_use]
    pub fn is_behind(&self, node: &str) -> bool {
        self.of(node).progress == Progress::Behind
    }

    /// The error that matters most: a node that is stuck, then one that failed, then one that could
    /// not be reached.
    #[must_use]
    pub fn worst(&self) -> Option<(&str, &Error)> {
        let weight = |(_, error): &(&str, &Error)| match error.kind {
            Kind::Failed(FailureKind::Stuck) => 0,
            Kind::Failed(FailureKind::Unreachable) => 2,
            Kind::Failed(_) | Kind::Usage | Kind::Interrupted => 1,
        };
        self.0
            .iter()
            .filter_map(|(node, standing)| Some((node.as_str(), standing.error.as_ref()?)))
            .min_by_key(weight)
    }
}
