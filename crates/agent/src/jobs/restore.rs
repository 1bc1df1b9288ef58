//! The story of a restore on one node, and of taking one back.
//!
//! A snapshot is restored beside the live database and compared. Then the app stands still while
//! the two change names, and starts again. If it is not healthy on what it finds, they change names
//! back. Nothing is overwritten at any point: the replaced database is kept, so a restore can be
//! taken back as well, by the same swap.

use futures::future::BoxFuture;
use togather_model::{Failure, FailureKind, JobKind, Schema, Ulid};
use tokio::time::Instant;
use url::Url;

use super::{Done, Swap, Task, app, unreadable, write_ending};
use crate::{
    database::{DatabaseError, replaced_name, scratch_name},
    snapshots::{Manifest, Progress},
};

/// A restored database is this much larger than its dump where the manifest does not say its size.
const USUAL_RATIO: u64 = 10;

impl Task<'_> {
    /// Puts a snapshot in the live database's place.
    pub(super) async fn restore(
        &self,
        snapshot: Ulid,
        place: Option<&Url>,
    ) -> Result<Done, Failure> {
        let node = self.node;
        self.settle_stuck().await?;
        // On a new machine there is not even a database server yet.
        let exists = node.has_database().await;
        if !exists.map_err(|e| failed("the base services could not be looked at", &e))? {
            self.say(Progress::stage("bringing the base services up"));
            let up = node.containers.base_up().await;
            up.map_err(|e| failed("the base services did not come up", &e))?;
        }
        self.say(Progress::stage("looking for the snapshot"));
        let found = self.find(place, |manifest| manifest.id == snapshot).await?;
        let found = found.ok_or_else(|| {
            Failure::new(
                FailureKind::Other,
                format!("there is no snapshot {snapshot} in the store"),
            )
            .next("see which there are with `togather-ctl snapshot list`")
        })?;
        self.clear_leftovers().await;
        self.must_have_room(&found)?;
        let say = |progress| self.say(progress);
        let restored = node.snapshots.restore(place, snapshot, self.id, &say).await;
        let restored =
            restored.map_err(|e| failed("the snapshot could not be restored beside", &e))?;
        let swap = match self.prepare(scratch_name(self.id), true).await {
            Ok(swap) => swap,
            Err(failure) => {
                self.drop_scratch().await;
                return Err(failure);
            }
        };
        self.swap_in(swap).await?;
        let message = self.what_came_of_it(&restored).await;
        Ok(Done::about(restored, message))
    }

    /// Puts the database that was replaced last back in its place.
    pub(super) async fn undo_restore(&self) -> Result<Done, Failure> {
        if self.settle_stuck().await? == Some(JobKind::Restore) {
            // That was the restore to be taken back; another undo would go back to an older one.
            let live = self.node.database.live_name();
            return Ok(Done::saying(format!(
                "the restore that was stuck is taken back; {live} is what it was before"
            )));
        }
        let replaced = self.node.database.replaced().await;
        let replaced = replaced.map_err(|e| failed("the databases could not be listed", &e))?;
        let Some(last) = replaced.into_iter().next() else {
            return Err(Failure::new(
                FailureKind::Other,
                "no restore has left a database to go back to",
            )
            .next("restore another snapshot: `togather-ctl snapshot list` shows which there are"));
        };
        let swap = self.prepare(last.clone(), false).await?;
        let outgoing = swap.outgoing.clone();
        self.swap_in(swap).await?;
        Ok(Done::saying(format!(
            "{last} is the live database again; the one it replaced is kept as {outgoing}"
        )))
    }

    /// Takes an earlier swap back that was stuck, if that loses nothing: what is done next must not
    /// begin with the app stopped and the databases in each other's place. Returns what kind of job
    /// it was; `None`: there was none, or a version is served on what it left, and goes on from there.
    async fn settle_stuck(&self) -> Result<Option<JobKind>, Failure> {
        let node = self.node;
        let stuck = node.state.stuck_job().await.map_err(|e| unreadable(&e))?;
        let Some(stuck) = stuck else {
            return Ok(None);
        };
        if let Some(swap) = &stuck.swap {
            let swapped = node.database.exists(&swap.outgoing).await;
            let swapped = swapped.map_err(|e| failed("the databases could not be listed", &e))?;
            if swapped && self.is_served().await? {
                return Ok(None);
            }
        }
        let kind = stuck.job.kind;
        let earlier = Task {
            id: stuck.job.id,
            ..*self
        };
        let ended = earlier.put_in_order(&stuck).await?;
        let job = write_ending(node, stuck.job, ended, self.stopping).await;
        match job
            .failure
            .filter(|failure| failure.kind == FailureKind::Stuck)
        {
            Some(failure) => Err(failure),
            None => Ok(Some(kind)),
        }
    }

    /// Whether users are served by a version of the app now.
    pub(super) async fn is_served(&self) -> Result<bool, Failure> {
        let live = self.node.traffic.live().await;
        let live = live.map_err(|e| failed("the traffic snippet could not be read", &e))?;
        Ok(live.is_some())
    }

    /// The swap that makes this database the live one, written down.
    async fn prepare(&self, incoming: String, incoming_is_scratch: bool) -> Result<Swap, Failure> {
        let (running, live) = app::look(self.node).await?;
        let database = &self.node.database;
        // The database of a new machine, which nothing was ever written to.
        let outgoing_is_empty =
            incoming_is_scratch && matches!(database.schema().await, Ok(Schema::Empty));
        let swap = Swap {
            incoming,
            outgoing: replaced_name(database.live_name(), self.id),
            outgoing_is_empty,
            incoming_is_scratch,
            running,
            live,
            taking_back: None,
        };
        self.keep(&swap).await?;
        Ok(swap)
    }

    async fn swap_in(&self, swap: Swap) -> Result<(), Failure> {
        self.say(Progress::stage("stopping the app"));
        let swapped = match app::stop(self.node, &swap).await {
            Ok(()) => {
                self.say(Progress::stage("swapping the databases"));
                let database = &self.node.database;
                let swapped = database.swap(&swap.incoming, &swap.outgoing).await;
                swapped.map_err(|e| failed("the databases were not swapped", &e))
            }
            Err(failure) => Err(failure),
        };
        match swapped {
            Ok(()) => self.go_forward(swap).await,
            Err(failure) => self.take_back(swap, failure).await,
        }
    }

    /// The databases were swapped; the app has to live with it.
    pub(super) async fn go_forward(&self, swap: Swap) -> Result<(), Failure> {
        self.say(Progress::stage("starting the app"));
        if let Err(failure) = app::start(self.node, &swap).await {
            return self.take_back(swap, failure).await;
        }
        if swap.outgoing_is_empty
            && let Err(error) = self.node.database.drop_replaced(&swap.outgoing).await
        {
            tracing::warn!(%error, "the empty database {} is left behind", swap.outgoing);
        }
        Ok(())
    }

    /// Makes everything as it was, whatever of the swap was done. Always fails, with what had
    /// happened.
    pub(super) async fn take_back(&self, mut swap: Swap, failure: Failure) -> Result<(), Failure> {
        swap.taking_back = Some(failure.clone());
        let taken_back = async {
            self.keep(&swap).await?;
            self.say(Progress::stage("taking the swap back"));
            let database = &self.node.database;
            let exists = self
                .once_it_is_back(|| database.exists(&swap.outgoing))
                .await;
            if exists.map_err(|e| failed("the databases could not be listed", &e))? {
                app::stop(self.node, &swap).await?;
                let swap_back = || database.swap(&swap.outgoing, &swap.incoming);
                let swapped = self.once_it_is_back(swap_back).await;
                swapped.map_err(|e| failed("the databases were not swapped back", &e))?;
            }
            app::start(self.node, &swap).await
        };
        match taken_back.await {
            Ok(()) => {
                if swap.incoming_is_scratch {
                    self.drop_scratch().await;
                }
                let mut failure = failure;
                failure.what = format!("{}; everything is as it was before", failure.what);
                Err(failure)
            }
            Err(second) => Err(self.stuck(&swap, &failure, &second).await),
        }
    }

    /// Asks the database server again while it is away, as long as the app may take to get healthy:
    /// one that went down is mostly back in a moment, and only it can tell what became of a swap.
    async fn once_it_is_back<'a, T>(
        &self,
        ask: impl Fn() -> BoxFuture<'a, Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        let strategy = &self.node.strategy;
        let deadline = Instant::now() + strategy.health_timeout;
        loop {
            match ask().await {
                Err(error) if error.is_away() && Instant::now() < deadline => {
                    tracing::warn!(%error, "waiting for the database server");
                    tokio::time::sleep(strategy.health_interval).await;
                }
                told => return told,
            }
        }
    }

    pub(super) async fn stuck(&self, swap: &Swap, first: &Failure, second: &Failure) -> Failure {
        let mut failure = Failure::new(
            FailureKind::Stuck,
            format!("the swap of the databases could not be taken back: {second}"),
        );
        failure
            .causes
            .push(format!("it was being taken back because {first}"));
        let live = self.node.database.live_name();
        for (name, what) in [
            (&swap.outgoing, "the database from before"),
            (&swap.incoming, "the database that was to replace it"),
        ] {
            failure
                .next
                .push(match self.node.database.exists(name).await {
                    Ok(true) => format!("now: {what} is {name}"),
                    Ok(false) => format!("now: {what} is {live}, the live one"),
                    Err(e) => format!("now: it is not known where {what} is ({e})"),
                });
        }
        for slot in &swap.running {
            failure
                .next
                .push(format!("start the app: `docker start togather-{slot}`"));
        }
        failure
            .next("then roll the version out again: that gives it the traffic")
            .next("or put right what stood in the way, and `systemctl restart togather-agent`: it takes the swap back; so does `togather-ctl snapshot restore --undo`")
    }

    /// Whether the live version can work with the schema that is live now.
    async fn what_came_of_it(&self, restored: &Manifest) -> String {
        let name = self.node.database.live_name();
        let taken_at = restored.taken_at;
        let mut message = format!("{name} is as it was at {taken_at:.0}");
        match self.node.database.replaced().await {
            Ok(replaced) => message.extend(
                replaced
                    .first()
                    .map(|kept| format!("; the one it replaced is kept as {kept}")),
            ),
            Err(error) => tracing::warn!(%error, "the replaced database could not be looked at"),
        }
        let Ok(Some(live)) = self.node.live().await else {
            return message;
        };
        let release = self.node.state.release(live.release).await;
        let oldest = match release {
            Ok(Some(release)) => release.oldest_schema.unwrap_or(live.schema),
            Ok(None) | Err(_) => live.schema,
        };
        let (version, schema) = (&live.version, restored.schema.unwrap_or(0));
        if schema < oldest {
            message.push_str(&format!(
                "; its schema {schema} is older than {version} tolerates ({oldest}): deploy {version} again to migrate it"
            ));
        } else if schema > live.schema {
            message.push_str(&format!(
                "; its schema {schema} is newer than {version} was built for ({})",
                live.schema
            ));
        }
        message
    }

    /// Refuses what would fill the disk.
    pub(super) fn must_have_room(&self, manifest: &Manifest) -> Result<(), Failure> {
        if self.node.database.is_elsewhere() {
            // Nothing of it comes to rest on this disk, and the other cannot be measured.
            return Ok(());
        }
        let size = match manifest.database_bytes {
            0 => manifest.bytes * USUAL_RATIO,
            known => known,
        };
        // The dump itself lies beside the database meanwhile.
        let needed = manifest.bytes + size + size / 10 + self.node.strategy.min_disk_free;
        let free = self.node.host.disk_free();
        let free = free.map_err(|e| failed("the free disk could not be measured", &e))?;
        if free >= needed {
            return Ok(());
        }
        let mebibytes = |bytes: u64| bytes >> 20;
        Err(Failure::new(
            FailureKind::Other,
            format!(
                "the disk has no room to restore {}: {} MiB are free, {} MiB are needed",
                manifest.dump,
                mebibytes(free),
                mebibytes(needed)
            ),
        )
        .next("free some room; `docker system df` and `togather-ctl snapshot list` show what takes it"))
    }
}

pub(super) fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::caused_by(FailureKind::Other, what, error)
        .next("look at the database's logs, and at `snapshots` in the node's agent.yml")
}
