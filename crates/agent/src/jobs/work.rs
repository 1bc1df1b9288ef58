//! Taking, proving and forgetting snapshots.

use togather_model::{Failure, FailureKind, Ulid};
use url::Url;

use super::{Done, Task, Which, Work, restore::failed};
use crate::{
    database::replaced_by,
    snapshots::{Manifest, Progress, Wanted},
};

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
        let exists = self.node.containers.base_exists().await;
        if !exists.map_err(|e| failed("the base services could not be looked at", &e))? {
            return Err(
                Failure::new(FailureKind::Other, "there is no database on this node yet")
                    .next("roll a release out first, or restore a snapshot"),
            );
        }
        self.say(Progress::stage("dumping the database"));
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
            Which::Newest | Which::NewestUnproven => self.find(None, |_| true).await?,
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
                .next("take one with `togather-ctl snapshot create`")),
                Which::NewestUnproven => Ok(Done::saying("there is no snapshot yet")),
            };
        };
        if which == Which::NewestUnproven && found.verified_at.is_some() {
            let message = format!("{} is verified already", found.dump);
            return Ok(Done::about(found, message));
        }
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
        let forgotten = node.snapshots.prune(&targets, now).await;
        let forgotten = forgotten.map_err(|e| failed("pruning did not finish", &e))?;
        let dropped = self.drop_old_replaced().await?;
        let mut message = match forgotten.len() {
            0 => "nothing was to be forgotten".to_owned(),
            n => format!("{n} forgotten"),
        };
        if !dropped.is_empty() {
            message.push_str(&format!("; dropped {}", dropped.join(", ")));
        }
        Ok(Done {
            forgotten,
            ..Done::saying(message)
        })
    }

    /// Drops the databases that restores replaced longer ago than snapshots are kept.
    async fn drop_old_replaced(&self) -> Result<Vec<String>, Failure> {
        let node = self.node;
        let failed = |e| failed("the databases that restores replaced were not tidied", &e);
        let exists = node.containers.base_exists().await;
        if !exists.is_ok_and(|exists| exists) {
            return Ok(vec![]);
        }
        let keep_for = node.snapshots.retention().keep_for.as_millis();
        let now = u128::from(node.host.now().as_millisecond().unsigned_abs());
        let (mut dropped, mut first) = (Vec::new(), None);
        for name in node.database.replaced().await.map_err(failed)? {
            let is_old = replaced_by(&name)
                .is_some_and(|job| now.saturating_sub(job.timestamp_ms().into()) > keep_for);
            if !is_old {
                continue;
            }
            match node.database.drop_replaced(&name).await {
                Ok(()) => dropped.push(name),
                // One that cannot be dropped must not keep the others.
                Err(error) => first = first.or(Some(error)),
            }
        }
        match first {
            Some(error) => Err(failed(error)),
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
        let survey = self.node.snapshots.survey(place).await;
        let survey = survey.map_err(|e| failed("the snapshot store could not be read", &e))?;
        let found = survey.snapshots.into_iter().find(is_it);
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
