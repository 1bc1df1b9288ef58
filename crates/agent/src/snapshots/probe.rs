//! What kind of store it is: whether it keeps an object from being replaced that may only be created.
//!
//! Not every S3-compatible store does: some refuse such a write, some take it like any other without
//! a word. Snapshots are safe with all of them, because each has a name of its own; with the first
//! kind, two agents that share a place by mistake cannot even replace each other's manifests.

use object_store::{Error, ObjectStoreExt, PutMode};
use serde::{Deserialize, Serialize};
use togather_model::{Timestamp, Ulid};

use super::{error::SnapshotError, store::Store};
use crate::deploy::journal::new_id;

/// How the objects are called that a store is tried out with.
const TRIAL: &str = "trial.";
/// An interrupted trial's object is removed by a later one, but not by one that runs beside it.
const OLD: std::time::Duration = std::time::Duration::from_hours(1);

/// Whether a store refuses to replace an object that may only be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionalWrites {
    /// The answer.
    #[serde(rename = "conditional_writes")]
    pub answer: Answer,
    /// Why that is so, or is not known; empty: there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Yes, no, or not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It could not be tried out.
    Unknown,
}

impl Answer {
    /// In a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

impl ConditionalWrites {
    /// The store does it.
    #[must_use]
    pub const fn yes() -> Self {
        Self {
            answer: Answer::Yes,
            reason: String::new(),
        }
    }

    fn no(reason: &str) -> Self {
        Self {
            answer: Answer::No,
            reason: reason.to_owned(),
        }
    }

    /// It was not tried out, or could not be.
    #[must_use]
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self {
            answer: Answer::Unknown,
            reason: reason.into(),
        }
    }
}

impl Store {
    /// What is known of writes that may only create.
    pub(super) fn known(&self) -> Option<ConditionalWrites> {
        self.conditional().clone()
    }

    /// Has this be known of them from now on.
    pub(super) fn remember(&self, known: ConditionalWrites) {
        *self.conditional() = Some(known);
    }

    pub(super) async fn is_unconditional(&self) -> bool {
        self.conditional_writes().await.answer == Answer::No
    }

    /// Tries the store out, unless it is known. It takes a tiny object of a name of its own, which is
    /// removed again.
    pub(super) async fn conditional_writes(&self) -> ConditionalWrites {
        if let Some(known) = self.known() {
            return known;
        }
        if self.is_folder_to_be_made() {
            return ConditionalWrites {
                reason: "the folder is not there yet; the agent makes it".into(),
                ..ConditionalWrites::yes()
            };
        }
        self.remove_old_trials().await;
        let name = format!("{TRIAL}{}", new_id(Timestamp::now())).to_lowercase();
        let found = self.try_out(&name).await;
        if let Err(error) = self.remove(&name).await {
            tracing::warn!(%error, "what the store was tried out with is left behind");
        }
        if found.answer != Answer::Unknown {
            self.remember(found.clone());
        }
        found
    }

    async fn try_out(&self, name: &str) -> ConditionalWrites {
        let (create, path) = (PutMode::Create, self.path(name));
        let put = |text: &'static str, mode: PutMode| {
            self.objects().put_opts(&path, text.into(), mode.into())
        };
        match put("first", create.clone()).await {
            Ok(_) => {}
            Err(error) if is_refused(&error) => {
                return match put("first", PutMode::Overwrite).await {
                    Ok(_) => ConditionalWrites::no("it refuses writes that may only create"),
                    Err(error) => unknown(&error),
                };
            }
            Err(error) => return unknown(&error),
        }
        match put("second", create).await {
            Ok(_) => ConditionalWrites::no("it replaces what may only be created, without a word"),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                ConditionalWrites::yes()
            }
            Err(error) => unknown(&error),
        }
    }

    /// What cannot be removed now is removed by the next trial.
    async fn remove_old_trials(&self) {
        let Ok(names) = self.names().await else {
            return;
        };
        let before = Timestamp::now().as_second() - OLD.as_secs().cast_signed();
        for (name, meta) in names {
            let is_trial = name
                .strip_prefix(TRIAL)
                .is_some_and(|id| id.parse::<Ulid>().is_ok());
            if is_trial && meta.last_modified.timestamp() < before {
                // The new trial shows whether anything can be removed.
                let _ = self.remove(&name).await;
            }
        }
    }

    /// Stores a small object that must not be there yet, in a store that does not see to that itself.
    pub(super) async fn create_if_absent(
        &self,
        name: &str,
        bytes: bytes::Bytes,
    ) -> Result<(), SnapshotError> {
        let path = self.path(name);
        let failed = |e: Error| SnapshotError::store(format!("take {name}"), &e);
        match self.objects().get(&path).await {
            Ok(found) => match found.bytes().await.map_err(failed)? == bytes {
                true => Ok(()),
                false => Err(SnapshotError::Taken(name.to_owned())),
            },
            Err(Error::NotFound { .. }) => {
                let put = self.objects().put(&path, bytes.into()).await;
                put.map(|_| ()).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Whether the store says that it does not know such a write. S3's word for it is `NotImplemented`,
/// with status 501, which object_store has no error of its own for.
pub(super) fn is_refused(error: &Error) -> bool {
    matches!(error, Error::NotImplemented { .. })
        || matches!(error, Error::Generic { .. }) && error.to_string().contains("NotImplemented")
}

fn unknown(error: &Error) -> ConditionalWrites {
    ConditionalWrites::unknown(format!("the store could not be tried out: {error}"))
}

#[cfg(test)]
mod tests;
