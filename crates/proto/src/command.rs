//! Which call each command's body belongs to.

use crate::{method, v1::command::Body};

impl Body {
    /// The path of the RPC this body is for; an envelope whose method is another is refused.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Deploy(_) => method::DEPLOY,
            Self::Rollback(_) => method::ROLLBACK,
            Self::Redeploy(_) => method::REDEPLOY,
            Self::LoadImage(_) => method::LOAD_IMAGE,
            Self::FetchImage(_) => method::FETCH_IMAGE,
            Self::AcquireLease(_) => method::ACQUIRE_LEASE,
            Self::RenewLease(_) => method::RENEW_LEASE,
            Self::ReleaseLease(_) => method::RELEASE_LEASE,
            Self::EndRollout(_) => method::END_ROLLOUT,
            Self::CreateSnapshot(_) => method::CREATE_SNAPSHOT,
            Self::VerifySnapshot(_) => method::VERIFY_SNAPSHOT,
            Self::RestoreSnapshot(_) => method::RESTORE_SNAPSHOT,
            Self::UndoRestore(_) => method::UNDO_RESTORE,
            Self::PruneSnapshots(_) => method::PRUNE_SNAPSHOTS,
            Self::SetSchema(_) => method::SET_SCHEMA,
        }
    }
}
