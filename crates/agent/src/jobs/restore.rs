//! The story of a restore on one node, and of taking one back.
//!
//! A snapshot is restored beside the live database and compared. Then the app stands still while
//! the two change names, and starts again. If it is not healthy on what it finds, they change names
//! back. Nothing is overwritten at any point: the replaced database is kept, so a restore can be
//! taken back as well, by the same swap.

use futures::future::BoxFuture;
use togather_model::{Failure, FailureKind, JobKind, Line, Release, Schema, Ulid};
use url::Url;

use super::{
    Done, Swap, Task, app,
    fit::{Fit, held},
    unreadable, write_ending,
};
use crate::{
    database::{DatabaseError, replaced_name, scratch_name},
    snapshots::{Manifest, Progress, Restored},
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
        self.say(Progress::stage("looking for the snapshot"));
        let found = self.find(place, |manifest| manifest.id == snapshot).await?;
        let found = found.ok_or_else(|| {
            Failure::new(
                FailureKind::Other,
                format!("there is no snapshot {snapshot} in the store"),
            )
            .next("see which there are with `togather-ctl snapshot list`")
        })?;
        self.bring_the_base_up().await?;
        // Looked at before what takes long, and again before the app stops.
        self.must_be_renamable(node.database.live_name()).await?;
        self.clear_leftovers().await;
        self.must_have_room(&found).await?;
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
        let kept = self.swap_in(swap).await?;
        let message = self.what_came_of_it(&restored, kept).await;
        Ok(Done::about(restored.snapshot, message))
    }

    /// Puts a database that a restore replaced back in its place: this one, or the last.
    pub(super) async fn undo_restore(&self, meant: Option<&str>) -> Result<Done, Failure> {
        if self.settle_stuck().await? == Some(JobKind::Restore) {
            // That was the restore to be taken back; another undo would go back to an older one.
            let live = self.node.database.live_name();
            return Ok(Done::saying(format!(
                "the restore that was stuck is taken back; {live} is what it was before"
            )));
        }
        let replaced = self.node.database.replaced().await;
        let mut replaced = replaced.map_err(|e| failed("the databases could not be listed", &e))?;
        let found = match meant {
            Some(meant) => replaced.into_iter().find(|name| name == meant),
            None if replaced.is_empty() => None,
            None => Some(replaced.swap_remove(0)),
        };
        let Some(found) = found else {
            let what = match meant {
                Some(meant) => format!("no restore has left a database {meant} to go back to"),
                None => "no restore has left a database to go back to".to_owned(),
            };
            return Err(Failure::new(FailureKind::Other, what)
                .next("see with `togather-ctl status` which are kept, and with `togather-ctl snapshot list` what else can be restored"));
        };
        let swap = self.prepare(found.clone(), false).await?;
        let kept = self.swap_in(swap).await?;
        let mut message = format!("{found} is the live database again");
        message.push_str(&kept_as(kept));
        Ok(Done::saying(message))
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
            let swapped = self.exists_once_up(&swap.outgoing).await?;
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

    /// Whether there is a database of this name, asked of a server that is brought up if it does not
    /// answer. That another of the base services does not come up must not keep it from being asked.
    pub(super) async fn exists_once_up(&self, database: &str) -> Result<bool, Failure> {
        let exists = match self.node.database.exists(database).await {
            Err(_) => {
                let up = self.bring_the_base_up().await;
                match (self.node.database.exists(database).await, up) {
                    (Err(_), Err(failure)) => return Err(failure),
                    (exists, _) => exists,
                }
            }
            exists => exists,
        };
        exists.map_err(|e| failed("the databases could not be listed", &e))
    }

    /// On a new machine there is not even a database server yet, and where things went wrong it may be
    /// stopped or gone.
    pub(super) async fn bring_the_base_up(&self) -> Result<(), Failure> {
        if self.node.database.is_elsewhere() {
            return Ok(());
        }
        self.say(Progress::stage("bringing the base services up"));
        let up = self.node.containers.base_up().await;
        up.map_err(|e| failed("the base services did not come up", &e))?;
        Ok(())
    }

    /// Whether users are served by a version of the app now.
    pub(super) async fn is_served(&self) -> Result<bool, Failure> {
        let live = self.node.traffic.live().await;
        let live = live.map_err(|e| failed("the traffic snippet could not be read", &e))?;
        Ok(live.is_some())
    }

    /// The swap that makes this database the live one, written down.
    async fn prepare(&self, incoming: String, incoming_is_scratch: bool) -> Result<Swap, Failure> {
        let database = &self.node.database;
        for name in [database.live_name(), &incoming] {
            self.must_be_renamable(name).await?;
        }
        let app = app::look(self.node).await?;
        // The database of a new machine, which nothing was ever written to.
        let outgoing_is_empty =
            incoming_is_scratch && matches!(database.schema().await, Ok(Schema::Empty));
        let swap = Swap {
            incoming,
            outgoing: replaced_name(database.live_name(), self.id),
            outgoing_is_empty,
            incoming_is_scratch,
            running: app.running,
            live: app.live,
            was_healthy: app.is_healthy,
            taking_back: None,
            is_all_there_is: false,
        };
        self.keep(&swap).await?;
        Ok(swap)
    }

    /// Refuses while nothing was touched what would fail, or lose something, once the app stands
    /// still.
    async fn must_be_renamable(&self, name: &str) -> Result<(), Failure> {
        let database = &self.node.database;
        let prepared = database.prepared_transactions(name).await;
        let prepared =
            prepared.map_err(|e| failed("the prepared transactions could not be looked at", &e))?;
        if let Some(gid) = prepared.first() {
            let what = format!(
                "the databases cannot change places: {name} holds {} prepared transactions that never ended",
                prepared.len()
            );
            return Err(Failure::new(FailureKind::Other, what).next(format!(
                "end each in {name} with `COMMIT PREPARED` or `ROLLBACK PREPARED`, for example `ROLLBACK PREPARED '{gid}'`"
            )));
        }
        if name != database.live_name() {
            return Ok(());
        }
        let subscriptions = database.subscriptions(name).await;
        let subscriptions =
            subscriptions.map_err(|e| failed("the subscriptions could not be looked at", &e))?;
        if subscriptions.is_empty() {
            return Ok(());
        }
        let what = format!(
            "the databases must not change places: what the subscription {} brings would go on into the one that is replaced",
            subscriptions.join(", ")
        );
        Err(Failure::new(FailureKind::Other, what).next(format!(
            "in {name}, run `ALTER SUBSCRIPTION … DISABLE`, `ALTER SUBSCRIPTION … SET (slot_name = NONE)` and `DROP SUBSCRIPTION …`, and subscribe again after the restore"
        )))
    }

    /// Returns the name under which what was replaced is kept, if it is.
    async fn swap_in(&self, swap: Swap) -> Result<Option<String>, Failure> {
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
            Err(failure) => Err(self.take_back(swap, failure).await),
        }
    }

    /// The databases were swapped; the app has to live with it. Returns the name under which what
    /// was replaced is kept, if it is.
    pub(super) async fn go_forward(&self, swap: Swap) -> Result<Option<String>, Failure> {
        self.say(Progress::stage("starting the app"));
        if let Err(failure) = app::start(self.node, &swap).await {
            return Err(self.take_back(swap, failure).await);
        }
        if swap.outgoing_is_empty
            && let Err(error) = self.drop_if_empty(&swap.outgoing).await
        {
            tracing::warn!(%error, "the empty database {} is left behind", swap.outgoing);
        }
        match self.node.database.exists(&swap.outgoing).await {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(swap.outgoing)),
            Err(error) => {
                tracing::warn!(%error, "the replaced database could not be looked at");
                Ok(Some(swap.outgoing))
            }
        }
    }

    /// Looks again: it may have been written to until the app stood still.
    async fn drop_if_empty(&self, outgoing: &str) -> Result<(), DatabaseError> {
        let database = &self.node.database;
        match database.is_empty(outgoing).await? {
            true => database.drop_replaced(outgoing).await,
            false => Ok(()),
        }
    }

    /// Whether the databases have changed places. The outgoing one need not be there: there was
    /// none, or it was empty and is dropped.
    pub(super) async fn is_swapped(&self, swap: &Swap) -> Result<bool, Failure> {
        let database = &self.node.database;
        let failed = |e| failed("the databases could not be listed", &e);
        Ok(database.exists(&swap.outgoing).await.map_err(failed)?
            || !database.exists(&swap.incoming).await.map_err(failed)?)
    }

    /// Makes everything as it was, whatever of the swap was done. Returns what had happened.
    pub(super) async fn take_back(&self, mut swap: Swap, failure: Failure) -> Failure {
        let taken_back = async {
            self.say(Progress::stage("taking the swap back"));
            let database = &self.node.database;
            let exists = self
                .once_it_is_back(|| database.exists(&swap.outgoing))
                .await;
            let exists = exists.map_err(|e| failed("the databases could not be listed", &e))?;
            if swap.taking_back.is_none() {
                swap.is_all_there_is = !exists && self.is_swapped(&swap).await?;
                swap.taking_back = Some(failure.clone());
                self.keep(&swap).await?;
            }
            if exists {
                app::stop(self.node, &swap).await?;
                let swap_back = || database.swap(&swap.outgoing, &swap.incoming);
                let swapped = self.once_it_is_back(swap_back).await;
                swapped.map_err(|e| failed("the databases were not swapped back", &e))?;
            }
            if swap.was_healthy && !swap.is_all_there_is {
                app::start(self.node, &swap).await.map(|()| None)
            } else {
                app::start_as_it_is(self.node, &swap).await
            }
        };
        let not_started = match taken_back.await {
            Ok(not_started) => not_started,
            Err(second) => return self.stuck(&swap, &failure, &second).await,
        };
        if swap.incoming_is_scratch {
            self.drop_scratch().await;
        }
        let mut failure = failure;
        let now = match (
            swap.is_all_there_is,
            swap.was_healthy || swap.live.is_none(),
        ) {
            (true, _) => {
                "what was restored stays, for there is no database from before to go back to"
            }
            (false, true) => "everything is as it was before",
            (false, false) => "everything is as it was before: the app was not healthy then either",
        };
        failure.what = format!("{}; {now}", failure.what);
        failure
            .causes
            .extend(not_started.map(|why| why.to_string()));
        failure
    }

    /// Asks the database server again while it is away, as long as the app may take to get healthy:
    /// one that went down is mostly back in a moment, and only it can tell what became of a swap.
    async fn once_it_is_back<'a, T>(
        &self,
        ask: impl Fn() -> BoxFuture<'a, Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        let (strategy, clock) = (&self.node.strategy, &self.node.health);
        let deadline = clock.now() + strategy.health_timeout;
        loop {
            match ask().await {
                Err(error) if error.is_away() && clock.now() < deadline => {
                    tracing::warn!(%error, "waiting for the database server");
                    clock.sleep(strategy.health_interval).await;
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
            .next(format!("or put right what stood in the way, and `systemctl restart togather-agent`: it takes the swap back; so does `togather-ctl snapshot restore --undo --nodes {}`", self.node.name))
    }

    /// What is true now, and what is left to do.
    async fn what_came_of_it(&self, restored: &Restored, kept: Option<String>) -> String {
        let mut message = self.how_the_schema_fits(&restored.snapshot, kept).await;
        for note in &restored.notes {
            message.push_str("; ");
            message.push_str(note);
        }
        message
    }

    /// Whether the live version can work with the schema that is live now.
    async fn how_the_schema_fits(&self, restored: &Manifest, kept: Option<String>) -> String {
        let name = self.node.database.live_name();
        let taken_at = restored.taken_at;
        let mut message = format!("{name} is as it was at {taken_at:.0}");
        message.push_str(&kept_as(kept));
        let Ok(Some(live)) = self.node.live().await else {
            return message;
        };
        let release = self.node.state.release(live.release).await;
        let release = release.ok().flatten();
        let oldest = release.as_ref().and_then(|release| release.oldest_schema);
        let app = Fit {
            line: Line::App,
            oldest: oldest.unwrap_or(live.schema),
            built_for: live.schema,
        };
        message.push_str(&app.told(restored.schema.unwrap_or(0), &live.version));
        let lines = release.iter().flat_map(Release::lines);
        for of in lines.filter(|of| of.line != Line::App) {
            let built_for = of.schema_version();
            let fit = Fit {
                line: of.line,
                oldest: of.oldest_schema.unwrap_or(built_for),
                built_for,
            };
            message.push_str(&match held(restored, of.line) {
                Some(schema) => fit.told(schema, &live.version),
                None => format!("; the snapshot does not say what {} is", of.line.schema()),
            });
        }
        message
    }

    /// Refuses what would fill the disk or the memory.
    pub(super) async fn must_have_room(&self, manifest: &Manifest) -> Result<(), Failure> {
        if self.node.database.is_elsewhere() {
            // Nothing of it comes to rest on this machine, and the other cannot be measured.
            return Ok(());
        }
        self.node.must_have_memory().await?;
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

pub(super) fn kept_as(kept: Option<String>) -> String {
    kept.map_or_else(String::new, |kept| {
        format!("; the one it replaced is kept as {kept}")
    })
}

pub(super) fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::caused_by(FailureKind::Other, what, error)
        .next("look at the database's logs, and at `snapshots` in the node's agent.yml")
}
