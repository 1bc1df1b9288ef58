//! Snapshots of the database: dumped and streamed to a store, proven by restoring.
//!
//! Nothing is a snapshot until its manifest is stored; the manifest is written last, create-only.
//! Nothing counts as verified until it was read back, its SHA-256 matched, and what it restored to
//! was compared with what was counted when it was taken.

mod address;
mod contents;
mod dump;
mod error;
mod forget;
mod leftovers;
mod load;
mod manifest;
mod probe;
mod program;
mod programs;
mod prove;
mod roles;
mod shelf;
mod spool;
mod store;
mod upload;
mod uploads;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, PoisonError},
};

use async_trait::async_trait;
use object_store::{ObjectStore, multipart::MultipartStore};
use togather_model::{
    Timestamp, Ulid,
    retention::{Policy, RollbackTarget},
};
use tokio::sync::Mutex;
use url::Url;

pub use self::{
    dump::DUMPING,
    error::SnapshotError,
    forget::reasons,
    manifest::{FORMAT, Globals, Manifest, Origin, Reason, Wanted},
    probe::{Answer, ConditionalWrites},
    programs::Programs,
    shelf::{Orphan, Survey},
};
use self::{prove::Purpose, store::Store};
use crate::database::Postgres;
pub use crate::progress::{Progress, Say};

/// What the node asks of its snapshots.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Dumps the database into the store. `on_progress` is told what is going on. A scheduled one
    /// goes into the spool if the store does not take it.
    async fn create(
        &self,
        wanted: &Wanted,
        on_progress: Say<'_>,
    ) -> Result<Manifest, SnapshotError>;

    /// Reads the snapshot back, its roles too, checks the SHA-256 of both and restores it into the
    /// scratch database of this operation, where it stays until it is dropped; compares extensions,
    /// schema version, catalogue fingerprint and row counts; marks it verified. What turns out not
    /// to be whole loses the mark it may have. After a failure no scratch database is left.
    async fn prove(
        &self,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: Say<'_>,
    ) -> Result<Manifest, SnapshotError>;

    /// The snapshots in the store, newest first. One whose manifest cannot be read is an error that
    /// names it, never left out in silence.
    async fn list(&self) -> Result<Vec<Manifest>, SnapshotError>;

    /// Forgets what neither the policy nor a release that can be rolled back to asks to keep, and
    /// clears away what interrupted snapshots left.
    async fn prune(&self, rollback_targets: &[RollbackTarget], now: Timestamp) -> Pruned;

    /// Everything in this place; without one, in the node's own.
    async fn survey(&self, place: Option<&Url>) -> Result<Survey, SnapshotError>;

    /// How long, and how many, are kept.
    fn retention(&self) -> &Policy;

    /// Restores a snapshot from this place, or the node's own, into the scratch database of this
    /// operation, fit to become the live one, with the roles it needs; compares it as proving does.
    /// After a failure no scratch database is left.
    async fn restore(
        &self,
        place: Option<&Url>,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: Say<'_>,
    ) -> Result<Restored, SnapshotError>;

    /// Where PostgreSQL's programs run, for people.
    fn place_of_programs(&self) -> String;

    /// How many bytes of this machine's disk taking and proving a snapshot of a database of this
    /// size takes at most.
    fn disk_needed(&self, database_bytes: u64) -> u64;

    /// Whether PostgreSQL's programs can be run and fit the server. With `fetch` what is missing for
    /// that is brought to the node; without, nothing is changed.
    async fn check_programs(&self, fetch: bool) -> Result<(), SnapshotError>;

    /// Ends what an interruption left running of this job.
    async fn end_programs(&self, job: Ulid) -> Result<(), SnapshotError>;

    /// Ends whatever an earlier run of the agent left running. To be asked for at the start.
    async fn remove_left_overs(&self) -> Result<(), SnapshotError>;

    /// The jobs and operations that have a scratch database, or a dump to restore from beside the
    /// database: those under way, and those that could not clear up after themselves.
    async fn leftovers(&self) -> Result<Vec<Ulid>, SnapshotError>;

    /// Clears away what an interruption left of the snapshot with this id. Returns it if it is whole
    /// after all.
    async fn clear_away(&self, snapshot: Ulid) -> Result<Option<Manifest>, SnapshotError>;

    /// The snapshots that wait on the node's own disk for the store, newest first.
    async fn spooled(&self) -> Result<Vec<Manifest>, SnapshotError>;

    /// Brings the oldest that is spooled to the store. Returns the dump's name; `None`: none waits.
    async fn deliver_next(&self) -> Result<Option<String>, SnapshotError>;

    /// Brings what is spooled to the store, oldest first. Returns the dumps' names.
    async fn deliver(&self) -> Result<Vec<String>, SnapshotError> {
        let mut delivered = Vec::new();
        while let Some(dump) = self.deliver_next().await? {
            delivered.push(dump);
        }
        Ok(delivered)
    }

    /// The store's address for people, without any secret.
    fn address(&self) -> String;

    /// Whether the store keeps an object from being replaced that may only be created. Tries it out,
    /// unless that is known, with a tiny object that it removes again.
    async fn conditional_writes(&self) -> ConditionalWrites;

    /// Has this be known of the store, as it was found out earlier.
    fn recall(&self, known: ConditionalWrites);
}

/// What a pruning did: also one that did not come to its end has removed something for good.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The dumps' names, and those of leftovers.
    pub forgotten: Vec<String>,
    /// What it could not do, or could not make sense of.
    pub failure: Option<SnapshotError>,
}

/// A snapshot that was restored beside the live database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The snapshot.
    pub snapshot: Manifest,
    /// What is otherwise than it was when the snapshot was taken, a phrase each.
    pub notes: Vec<String>,
}

/// Where snapshots go, what makes them, and which are kept.
#[derive(Debug, Clone)]
pub struct SnapshotSettings {
    /// `file:///…`, `s3://bucket/prefix`, `gs://…` or `az://…`. Credentials and endpoint come from
    /// the environment, as object_store reads it. One place belongs to one node.
    pub store: Url,
    /// How long, and how many, are kept.
    pub retention: Policy,
    /// Whose they are. What lies in the node's own place and is somebody else's is left alone.
    pub origin: Option<Origin>,
    /// A folder of the node's own in which uploads under way are noted, so that what an
    /// interruption left of them in the store can be taken back; `None`: the store's own rules do.
    pub uploads: Option<PathBuf>,
    /// Where scheduled ones wait when the store does not take them; `None`: they fail.
    pub spool: Option<Spool>,
    /// How many bytes of a local disk a snapshot must leave free.
    pub min_disk_free: u64,
}

/// A folder of the node's own for snapshots that wait for the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// What it may hold, in bytes.
    pub at_most: u64,
}

/// Snapshots made by `pg_dump` and kept through object_store.
pub struct Dumps {
    store: Store,
    address: String,
    spool: Option<Store>,
    origin: Option<Origin>,
    /// One delivery at a time.
    delivering: Arc<Mutex<()>>,
    /// The snapshots that are being read.
    in_use: Arc<std::sync::Mutex<BTreeSet<Ulid>>>,
    /// Whether the store is on this machine's disk.
    keeps_here: bool,
    retention: Policy,
    programs: Programs,
    database: Arc<Postgres>,
}

impl Dumps {
    /// Snapshots of this database in this store; nothing is asked of either yet.
    ///
    /// # Errors
    /// The store's address cannot be used.
    pub fn new(
        settings: SnapshotSettings,
        programs: Programs,
        database: Arc<Postgres>,
    ) -> Result<Self, SnapshotError> {
        let store = Store::at(&settings.store, settings.uploads.as_deref())?;
        Self::with_store(settings, store, programs, database)
    }

    /// The same in an object store that was made elsewhere; the address in the settings is only its
    /// name for people.
    ///
    /// # Errors
    /// The spool's folder cannot be one.
    pub fn over<T: ObjectStore + MultipartStore>(
        settings: SnapshotSettings,
        objects: Arc<T>,
        programs: Programs,
        database: Arc<Postgres>,
    ) -> Result<Self, SnapshotError> {
        let store = Store::over(objects, &settings.store, settings.uploads.as_deref());
        Self::with_store(settings, store, programs, database)
    }

    fn with_store(
        settings: SnapshotSettings,
        store: Store,
        programs: Programs,
        database: Arc<Postgres>,
    ) -> Result<Self, SnapshotError> {
        let (origin, free) = (settings.origin, settings.min_disk_free);
        let own = |store: Store| store.of(origin.clone()).leaving_free(free);
        let spool = settings.spool.as_ref().map(Store::spool).transpose()?;
        Ok(Self {
            store: own(store),
            address: address::of(&settings.store),
            spool: spool.map(own),
            origin: origin.clone(),
            delivering: Arc::default(),
            in_use: Arc::default(),
            keeps_here: settings.store.scheme() == "file",
            retention: settings.retention,
            programs,
            database,
        })
    }

    /// The same places for another configuration of the database. Who reads a snapshot there is known
    /// to both.
    #[must_use]
    pub fn with(
        &self,
        retention: Policy,
        min_disk_free: u64,
        programs: Programs,
        database: Arc<Postgres>,
    ) -> Self {
        let own = |store: &Store| store.clone().leaving_free(min_disk_free);
        Self {
            store: own(&self.store),
            address: self.address.clone(),
            spool: self.spool.as_ref().map(own),
            origin: self.origin.clone(),
            delivering: Arc::clone(&self.delivering),
            in_use: Arc::clone(&self.in_use),
            keeps_here: self.keeps_here,
            retention,
            programs,
            database,
        }
    }

    /// The place of the node's own that this snapshot is in: the spool, if it waits there. There it
    /// stays for as long as it is used.
    async fn holding(&self, snapshot: Ulid) -> (&Store, InUse<'_>) {
        let in_use = InUse::of(&self.in_use, snapshot);
        match &self.spool {
            Some(spool) if spool.find(snapshot).await.is_ok() => (spool, in_use),
            _ => (&self.store, in_use),
        }
    }

    fn is_in_use(&self, snapshot: Ulid) -> bool {
        in_use(&self.in_use).contains(&snapshot)
    }
}

/// A snapshot that is being read.
struct InUse<'a> {
    all: &'a std::sync::Mutex<BTreeSet<Ulid>>,
    snapshot: Ulid,
}

impl<'a> InUse<'a> {
    fn of(all: &'a std::sync::Mutex<BTreeSet<Ulid>>, snapshot: Ulid) -> Self {
        in_use(all).insert(snapshot);
        Self { all, snapshot }
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        in_use(self.all).remove(&self.snapshot);
    }
}

/// A poisoned lock means a panic elsewhere; the set is whole.
fn in_use(all: &std::sync::Mutex<BTreeSet<Ulid>>) -> std::sync::MutexGuard<'_, BTreeSet<Ulid>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Snapshots for Dumps {
    async fn create(
        &self,
        wanted: &Wanted,
        on_progress: Say<'_>,
    ) -> Result<Manifest, SnapshotError> {
        let taken = self.take(wanted, on_progress).await;
        match (taken, &self.spool, wanted.reason) {
            (Err(error @ SnapshotError::Store { .. }), Some(spool), Reason::Scheduled) => {
                self.take_aside(spool, wanted, on_progress, error).await
            }
            (taken, ..) => taken,
        }
    }

    async fn prove(
        &self,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: Say<'_>,
    ) -> Result<Manifest, SnapshotError> {
        let (store, _in_use) = self.holding(snapshot).await;
        let proof = Purpose::Proof;
        let proven = self.restore_and_compare(store, snapshot, operation, proof, on_progress);
        let mut proven = match proven.await {
            Ok(proven) => proven.snapshot,
            Err(e) => {
                Self::doubt(store, snapshot, &e).await;
                return Err(e);
            }
        };
        if let Err(e) = Self::mark_verified(store, &mut proven).await {
            self.drop_copy(operation).await;
            return Err(e);
        }
        Ok(proven)
    }

    async fn list(&self) -> Result<Vec<Manifest>, SnapshotError> {
        let survey = self.survey().await?;
        match survey.unreadable.is_empty() {
            true => Ok(survey.snapshots),
            false => Err(SnapshotError::Unreadable(survey.unreadable)),
        }
    }

    async fn prune(&self, rollback_targets: &[RollbackTarget], now: Timestamp) -> Pruned {
        self.forget_by_policy(rollback_targets, now).await
    }

    async fn survey(&self, place: Option<&Url>) -> Result<Survey, SnapshotError> {
        match place {
            Some(place) => Store::at(place, None)?.survey().await,
            None => self.survey().await,
        }
    }

    fn retention(&self) -> &Policy {
        &self.retention
    }

    async fn restore(
        &self,
        place: Option<&Url>,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: Say<'_>,
    ) -> Result<Restored, SnapshotError> {
        let (own_store, _in_use) = self.holding(snapshot).await;
        let store = match place {
            Some(place) => Store::at(place, None)?,
            None => own_store.clone(),
        };
        let (own, its_use) = (place.is_none(), Purpose::Use);
        let restored = self.restore_and_compare(&store, snapshot, operation, its_use, on_progress);
        let mut restored = match restored.await {
            Ok(restored) => restored,
            Err(e) => {
                if own {
                    Self::doubt(&store, snapshot, &e).await;
                }
                return Err(e);
            }
        };
        // It has just been proven; another node's marks are not ours to make.
        if own && let Err(error) = Self::mark_verified(&store, &mut restored.snapshot).await {
            tracing::warn!(%error, "a restored snapshot could not be marked as verified");
        }
        Ok(restored)
    }

    fn place_of_programs(&self) -> String {
        self.programs.place()
    }

    fn disk_needed(&self, database_bytes: u64) -> u64 {
        // A dump is never larger than the database, and the scratch restore is about as large.
        match &self.programs {
            Programs::InService { .. } => database_bytes.saturating_mul(2),
            Programs::OneShot { .. } if self.keeps_here => database_bytes,
            Programs::OneShot { .. } => 0,
        }
    }

    async fn check_programs(&self, fetch: bool) -> Result<(), SnapshotError> {
        self.must_fit(fetch).await
    }

    async fn end_programs(&self, job: Ulid) -> Result<(), SnapshotError> {
        self.end_programs_of(job).await
    }

    async fn remove_left_overs(&self) -> Result<(), SnapshotError> {
        self.programs.remove_left_overs().await
    }

    async fn leftovers(&self) -> Result<Vec<Ulid>, SnapshotError> {
        self.find_leftovers().await
    }

    async fn clear_away(&self, snapshot: Ulid) -> Result<Option<Manifest>, SnapshotError> {
        self.clear_away_interrupted(snapshot).await
    }

    async fn spooled(&self) -> Result<Vec<Manifest>, SnapshotError> {
        match &self.spool {
            Some(spool) => Ok(spool.survey().await?.snapshots),
            None => Ok(vec![]),
        }
    }

    async fn deliver_next(&self) -> Result<Option<String>, SnapshotError> {
        self.deliver_oldest().await
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    async fn conditional_writes(&self) -> ConditionalWrites {
        self.store.conditional_writes().await
    }

    fn recall(&self, known: ConditionalWrites) {
        self.store.remember(known);
    }
}
