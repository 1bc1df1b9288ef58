//! Taking, proving and forgetting snapshots.

use std::time::Duration;

use togather_model::{Failure, FailureKind, Ulid};
use url::Url;

use super::{Done, Task, Which, Work, replaced, restore::failed};
use crate::{
    fetches::prune::prune_between_deployments,
    snapshots::{DUMPING, Manifest, Progress, Pruned, Wanted},
};

/// So far ahead of now a snapshot's time may be.
const SKEW: Duration = Duration::from_mins(5);

impl Task<'_> {
    /// Does what was ordered.
    pub(super) async fn carry_out(&self, work: &Work) -> Result<Done, Failure> {
        match work {
            Work::Create(wanted) => self.create(wanted).await,
            Work::Verify(which) => self.verify(*which).await,
            Work::Restore { snapshot, place } => self.restore(*snapshot, place.as_ref()).await,
            Work::UndoRestore { replaced } => self.undo_restore(replaced.as_deref()).await,
            Work::Prune => self.prune().await,
        }
    }

    async fn create(&self, wanted: &Wanted) -> Result<Done, Failure> {
        let exists = self.node.has_database().await;
        if !exists.map_err(|e| failed("the base services could not be looked at", &e))? {
            return Err(
                Failure::new(FailureKind::Other, "there is no database on this node yet")
                    .next("roll a release out first, or restore a snapshot"),
            );
        }
        self.say(Progress::stage(DUMPING));
        // About as large as the last one. Where that cannot be asked, the dump will say so itself.
        let last = self.find(None, |_| true).await.ok().flatten();
        let expected = last.map(|last| last.bytes);
        let say = |progress: Progress| {
            let bytes_total = expected.filter(|total| *total > progress.bytes_done);
            self.say(Progress {
                bytes_total,
                ..progress
            });
        };
        let taken = self.node.snapshots.create(wanted, &say).await;
        let taken = taken.map_err(|e| failed("no snapshot was taken", &e))?;
        let message = match taken.spooled {
            true => format!(
                "{} waits on the node's own disk until the store can be reached again",
                taken.dump
            ),
            false => format!("{} is stored; it is not verified yet", taken.dump),
        };
        Ok(Done::about(taken, message))
    }

    async fn verify(&self, which: Which) -> Result<Done, Failure> {
        self.say(Progress::stage("looking for the snapshot"));
        let found = match which {
            Which::This(id) => self.find(None, |manifest| manifest.id == id).await?,
            Which::Newest | Which::NewestUnproven => {
                // One that a wrong clock dated in the future must not stand for every newer one.
                let soon = self.node.host.now() + SKEW;
                self.find(None, |manifest| manifest.taken_at <= soon)
                    .await?
            }
        };
        let Some(found) = found else {
            return match which {
                Which::This(id) => Err(Failure::new(
                    FailureKind::Other,
                    format!("there is no snapshot {id} in the store"),
                )
                .next("see which there are with `togather-ctl snapshot list`")),
                Which::Newest => Err(Failure::new(
                    FailureKind::Other,
                    "there is no snapshot in the store yet",
                )
                .next(format!(
                    "take one with `togather-ctl snapshot create --nodes {}`",
                    self.node.name
                ))),
                Which::NewestUnproven => Ok(Done::saying("there is no snapshot yet")),
            };
        };
        if which == Which::NewestUnproven && found.verified_at.is_some() {
            let message = format!("{} is verified already", found.dump);
            return Ok(Done::about(found, message));
        }
        self.clear_leftovers().await;
        self.must_have_room(&found).await?;
        let say = |progress| self.say(progress);
        let proven = self.node.snapshots.prove(found.id, self.id, &say).await;
        let proven = proven.map_err(|e| failed("the snapshot could not be proven", &e))?;
        let dropped = self.node.database.drop_scratch(self.id).await;
        dropped.map_err(|e| failed("the scratch database was not dropped", &e))?;
        let message = format!("{} was restored and found whole", proven.dump);
        Ok(Done::about(proven, message))
    }

    async fn prune(&self) -> Result<Done, Failure> {
        let node = self.node;
        let targets = node.rollback_targets().await.map_err(|e| {
            Failure::caused_by(FailureKind::Other, "the releases to keep are not known", &e)
        })?;
        self.say(Progress::stage("forgetting what nothing asks to keep"));
        let now = node.host.now();
        let Pruned { forgotten, failure } = node.snapshots.prune(&targets, now).await;
        self.forgot(&forgotten);
        let pruned = failure.map_or(Ok(()), |e| Err(failed("pruning did not finish", &e)));
        self.clear_leftovers().await;
        let dropped = self.drop_old_replaced().await;
        let images = prune_between_deployments(node, None).await;
        pruned?;
        let (dropped, images) = (dropped?, images?);
        let mut message = match forgotten.len() {
            0 => "nothing was to be forgotten".to_owned(),
            n => format!("{n} forgotten"),
        };
        if !dropped.is_empty() {
            message.push_str(&format!("; dropped {}", dropped.join(", ")));
        }
        if !images.is_empty() {
            message.push_str(&format!("; removed the images {}", images.join(", ")));
        }
        Ok(Done::saying(message))
    }

    /// Drops the databases that restores replaced and nothing asks to keep; not that of a restore that
    /// is stuck, which is still to be put back.
    async fn drop_old_replaced(&self) -> Result<Vec<String>, Failure> {
        let node = self.node;
        let what = "the databases that nobody needs any more were not dropped";
        let exists = node.has_database().await;
        if !exists.is_ok_and(|exists| exists) {
            return Ok(vec![]);
        }
        let stuck = node.state.stuck_job().await;
        let stuck = stuck.map_err(|e| failed(what, &e))?;
        let stuck = stuck.and_then(|stuck| stuck.swap);
        let survey = node.snapshots.survey(None).await;
        let survey = survey.map_err(|e| failed(what, &e))?;
        let replaced = node.database.replaced().await;
        let replaced = replaced.map_err(|e| failed(what, &e))?;
        let (keep_for, now) = (node.snapshots.retention().keep_for, node.host.now());
        let judged = replaced::judge(replaced, stuck.as_ref(), &survey.snapshots, keep_for, now);
        let (mut dropped, mut first) = (Vec::new(), None);
        for database in judged {
            let name = database.name;
            if !database.kept.is_empty() {
                continue;
            }
            match node.database.drop_replaced(&name).await {
                Ok(()) => {
                    self.forgot(std::slice::from_ref(&name));
                    dropped.push(name);
                }
                // One that cannot be dropped must not keep the others.
                Err(error) => first = first.or(Some(error)),
            }
        }
        match first {
            Some(error) => Err(failed(what, &error)),
            None => Ok(dropped),
        }
    }

    /// The newest snapshot in this place that is meant. If there is none, what cannot be read may
    /// be it.
    pub(super) async fn find(
        &self,
        place: Option<&Url>,
        is_it: impl Fn(&Manifest) -> bool,
    ) -> Result<Option<Manifest>, Failure> {
        let spooled = match place {
            Some(_) => Ok(vec![]),
            None => self.node.snapshots.spooled().await,
        };
        let spooled = spooled.unwrap_or_else(|error| {
            tracing::warn!(%error, "the spool could not be read");
            vec![]
        });
        let waiting = spooled.into_iter().find(&is_it);
        let survey = match (self.node.snapshots.survey(place).await, waiting) {
            (Ok(survey), None) => survey,
            (Ok(survey), Some(waiting)) => {
                let mut found = survey.snapshots.into_iter().filter(&is_it);
                let stored = found.find(|stored| stored.taken_at > waiting.taken_at);
                return Ok(stored.or(Some(waiting)));
            }
            // The store is away, which is why this one waits.
            (Err(error), Some(waiting)) => {
                tracing::warn!(%error, "what waits in the spool is all that can be looked at");
                return Ok(Some(waiting));
            }
            (Err(error), None) => {
                return Err(failed("the snapshot store could not be read", &error));
            }
        };
        let found = survey.snapshots.into_iter().find(&is_it);
        if found.is_none() && !survey.unreadable.is_empty() {
            let mut failure = Failure::new(
                FailureKind::Other,
                "the store holds no such snapshot that is whole",
            );
            failure.causes.extend(survey.unreadable);
            return Err(failure.next("look at the store, and remove by hand what is broken"));
        }
        Ok(found)
    }

    pub(super) async fn drop_scratch(&self) {
        let id: Ulid = self.id;
        if let Err(error) = self.node.database.drop_scratch(id).await {
            tracing::warn!(%error, "the scratch database of {id} is left behind");
        }
    }
}
