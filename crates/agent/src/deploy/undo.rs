//! What takes a step back: one short function an undo. Each may be run twice.

use togather_model::{Failure, FailureKind, Undo};

use super::Deployment;

impl Deployment<'_> {
    /// Takes back what `undo` is about. Returns what is true now, for people.
    pub(super) async fn take_back(&self, undo: Undo) -> Result<String, Failure> {
        match undo {
            Undo::Nothing => Ok(String::new()),
            Undo::DropScratch => self.drop_scratch().await,
            Undo::Impossible => Ok(self.stay_on_schema().await),
            Undo::RemoveNewSlot => self.remove_new_slot().await,
            Undo::SwitchBack => self.switch_back().await,
            Undo::RestartOldSlot => self.restart_old_slot().await,
        }
    }

    async fn drop_scratch(&self) -> Result<String, Failure> {
        self.clear_away_snapshot().await;
        let dropped = self.node.database.drop_scratch(self.operation.id).await;
        dropped.map_err(|e| {
            let name = crate::database::scratch_name(self.operation.id);
            Failure::caused_by(
                FailureKind::Stuck,
                "the scratch database was not dropped",
                &e,
            )
            .next(format!(
                "drop it by hand: `DROP DATABASE {name} WITH (FORCE)`"
            ))
        })?;
        Ok("the scratch database is gone".into())
    }

    /// What an interruption left of the operation's own snapshot; one that is whole stays. What
    /// cannot be cleared away now is no snapshot all the same, and pruning finds it.
    async fn clear_away_snapshot(&self) {
        let (snapshots, id) = (&self.node.snapshots, self.operation.id);
        if let Err(error) = snapshots.end_programs(id).await {
            tracing::warn!(%error, operation = %id, "its programs may still run beside the database");
        }
        if let Err(error) = snapshots.clear_away(id).await {
            tracing::warn!(%error, operation = %id, "parts of its snapshot may be left in the store");
        }
    }

    async fn stay_on_schema(&self) -> String {
        match self.node.database.schema().await {
            Ok(schema) => format!("migrations only move forward: the schema is {schema}"),
            Err(e) => format!("the schema's version is not known now: {e}"),
        }
    }

    async fn remove_new_slot(&self) -> Result<String, Failure> {
        let slot = self.plan.to;
        let failed = |e: &dyn std::error::Error| {
            Failure::caused_by(
                FailureKind::Stuck,
                format!("the {slot} slot was not removed"),
                e,
            )
            .next(format!("remove it by hand: `docker rm -f togather-{slot}`"))
        };
        // Requests that reached it before traffic went back may finish.
        let drain = self.node.strategy.drain;
        let drained = self.node.traffic.drained(slot, drain).await;
        drained.map_err(|e| failed(&e))?;
        let stopped = self.node.containers.stop_slot(slot).await;
        stopped.map_err(|e| failed(&e))?;
        let removed = self.node.containers.remove_slot(slot).await;
        removed.map_err(|e| failed(&e))?;
        Ok(format!("the {slot} slot is empty"))
    }

    async fn switch_back(&self) -> Result<String, Failure> {
        let to = self.plan.from.as_ref().map(|live| live.slot);
        let switched = self.node.traffic.switch(to).await;
        switched.map_err(|e| {
            Failure::caused_by(FailureKind::Stuck, "traffic was not switched back", &e)
                .next("look at `systemctl status caddy` on the node, then restart the agent: it tries again")
        })?;
        Ok(match &self.plan.from {
            Some(live) => format!("{} in {} gets the traffic again", live.version, live.slot),
            None => "no version is live, as before".into(),
        })
    }

    async fn restart_old_slot(&self) -> Result<String, Failure> {
        let Some(old) = &self.plan.from else {
            return Ok("there was no version before".into());
        };
        let restarted = self.node.containers.restart_slot(old.slot).await;
        restarted.map_err(|e| {
            Failure::caused_by(
                FailureKind::Stuck,
                format!("{} in {} was not started again", old.version, old.slot),
                &e,
            )
            .next(format!(
                "start it by hand: `docker start togather-{}`",
                old.slot
            ))
        })?;
        self.node.health.begin_anew();
        self.await_old(old).await?;
        Ok(format!("{} in {} runs again", old.version, old.slot))
    }

    /// For a human at two in the morning: what serves, what runs, what the schema is.
    pub(super) async fn what_is_true_now(&self) -> Vec<String> {
        let mut truths = Vec::new();
        truths.push(match self.node.traffic.live().await {
            Ok(Some(slot)) => format!("now: traffic goes to the {slot} slot"),
            Ok(None) => "now: traffic goes to no slot".into(),
            Err(e) => format!("now: it is not known where traffic goes ({e})"),
        });
        for slot in togather_model::Slot::ALL {
            truths.push(match self.node.containers.slot(slot).await {
                Ok(Some(held)) if held.running => format!("now: {slot} runs {}", held.version),
                Ok(Some(held)) => format!("now: {slot} holds {}, stopped", held.version),
                Ok(None) => format!("now: {slot} is empty"),
                Err(e) => format!("now: it is not known what {slot} holds ({e})"),
            });
        }
        truths.push(match self.node.database.schema().await {
            Ok(schema) => format!("now: the schema is {schema}"),
            Err(e) => format!("now: the schema is not known ({e})"),
        });
        truths
    }
}
