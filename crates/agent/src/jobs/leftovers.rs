//! What earlier jobs and deployments could not clear up after themselves, because the database went
//! away under them for instance.

use togather_model::{Failure, Ulid};

use super::{Jobs, Task, restore::failed, unreadable};
use crate::database::scratch_name;

impl Jobs {
    /// The scratch databases that were left behind, which the next job clears away.
    ///
    /// # Errors
    /// The database or the state cannot be read.
    pub async fn leftovers(&self) -> Result<Vec<String>, Failure> {
        let mut databases = Vec::new();
        let node = self.node.in_force();
        for id in self.task(&node, Ulid::nil()).leftovers().await? {
            // It may be a file beside the database alone.
            let name = scratch_name(id);
            let exists = node.database.exists(&name).await;
            if exists.map_err(|e| failed("the databases could not be listed", &e))? {
                databases.push(name);
            }
        }
        Ok(databases)
    }
}

impl Task<'_> {
    /// Clears away what is left beside the database of what has ended. Leftovers are no reason not to
    /// do what was ordered, so failing to is only warned of.
    pub(super) async fn clear_leftovers(&self) {
        if let Err(failure) = self.try_to_clear_leftovers().await {
            tracing::warn!(%failure, "what earlier jobs left beside the database stays for now");
        }
    }

    async fn try_to_clear_leftovers(&self) -> Result<(), Failure> {
        let node = self.node;
        for id in self.leftovers().await? {
            tracing::info!(%id, "clearing away what it left beside the database");
            let ended = node.snapshots.end_programs(id).await;
            ended.map_err(|e| failed("its programs were not ended", &e))?;
            let dropped = node.database.drop_scratch(id).await;
            dropped.map_err(|e| failed("its scratch database was not dropped", &e))?;
        }
        Ok(())
    }

    /// The jobs and operations that left something beside the database.
    async fn leftovers(&self) -> Result<Vec<Ulid>, Failure> {
        let node = self.node;
        // Before the state is looked at: what begins in between is not among them.
        let left = node.snapshots.leftovers().await;
        let stuck = node.state.stuck_job().await.map_err(|e| unreadable(&e))?;
        let stuck = stuck.map(|stuck| stuck.job.id);
        let mut ended = Vec::new();
        for id in left.map_err(|e| failed("leftovers were not looked for", &e))? {
            // What a human has to put right is not left over.
            if stuck != Some(id) && self.has_ended(id).await? {
                ended.push(id);
            }
        }
        Ok(ended)
    }

    /// Whether this was a job or an operation of this node, and is over. What the node does not know
    /// is another's, who shares the database server.
    async fn has_ended(&self, id: Ulid) -> Result<bool, Failure> {
        let state = &self.node.state;
        let job = state.job(id).await.map_err(|e| unreadable(&e))?;
        let operation = state.operation(id).await.map_err(|e| unreadable(&e))?;
        let job_ended = job.is_some_and(|job| job.ended_at.is_some());
        let operation_ended = operation.is_some_and(|operation| operation.ended_at.is_some());
        Ok(job_ended || operation_ended)
    }
}
