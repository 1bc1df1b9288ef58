//! What an operator says the schema is, when its bookkeeping is wrong.

use togather_model::{EventKind, Failure, FailureKind, Line, Ulid};
use togather_trust::OperatorName;

use super::{Operations, unreadable};
use crate::{deploy::journal::new_id, jobs, leases, log, state::Entry};

/// What somebody says of a line's schema.
#[derive(Debug)]
pub struct Said {
    /// The command's id.
    pub id: Ulid,
    /// Who says it.
    pub operator: OperatorName,
    /// Of which line.
    pub line: Line,
    /// At which migration it is, whole; `None`: none ran.
    pub version: Option<u64>,
    /// The node's name, as the operator typed it.
    pub node: String,
}

impl Operations {
    /// Writes into the line's bookkeeping what the operator says; nothing else of the database is
    /// touched. Returns what it said before, in words.
    ///
    /// # Errors
    /// Another node is meant, a deployment or a restore is under way, somebody else has the node, or
    /// the database refuses. Nothing was changed.
    pub async fn set_schema(&self, said: Said) -> Result<String, Failure> {
        // Nothing begins meanwhile.
        let _alone = self.beginning.lock().await;
        let (node, state) = (&self.node, &self.node.state);
        if said.node != node.name {
            let what = format!("this node is {}, not `{}`", node.name, said.node);
            return Err(Failure::new(FailureKind::Other, what)
                .next("type the name of the node whose schema is meant"));
        }
        if let Some((running, _)) = state.running().await.map_err(|e| unreadable(&e))? {
            return Err(leases::busy(&running));
        }
        let job = state.running_job().await.map_err(|e| unreadable(&e))?;
        if let Some(job) = job.filter(|running| running.job.swaps()) {
            return Err(jobs::held_by(&job.job));
        }
        leases::must_be_free_for(node, said.operator.as_str()).await?;
        let before = self.what_it_said(said.line).await;
        let set = node.database.set_schema(said.line, said.version).await;
        set.map_err(|e| {
            Failure::caused_by(FailureKind::Migration, "the schema was not set", &e)
                .next("look at the database's logs on the node, and run the command again")
        })?;
        let now = node.host.now();
        let event = state.append(Entry {
            id: new_id(now),
            operation: said.id,
            node: node.name.clone(),
            operator: said.operator.to_string(),
            version: String::new(),
            at: now,
            kind: EventKind::SchemaSet {
                line: said.line,
                version: said.version,
                before: before.clone(),
            },
        });
        match event.await {
            Ok(event) => log::tell(&event),
            // It is done, and the audit trail has the command.
            Err(error) => tracing::error!(%error, "that the schema was set is not in the journal"),
        }
        Ok(before)
    }

    /// What the line's bookkeeping says now; it may be in no state to say anything.
    async fn what_it_said(&self, line: Line) -> String {
        let database = &self.node.database;
        let said = match line {
            Line::App => database.schema().await.map(|schema| schema.to_string()),
            Line::River => database.other_lines().await.map(|lines| {
                let newest = lines.get(&line).and_then(|ran| ran.iter().max());
                newest.map_or_else(|| "none".to_owned(), u64::to_string)
            }),
        };
        said.unwrap_or_else(|e| format!("unknown ({e})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::tests::fakes::World;

    fn said(node: &str, version: u64) -> Said {
        Said {
            id: Ulid::from_parts(9, 9),
            operator: "alice".parse().unwrap(),
            line: Line::App,
            version: Some(version),
            node: node.to_owned(),
        }
    }

    #[tokio::test]
    async fn what_is_said_of_this_node_is_booked_and_told() {
        let world = World::with_one_version_live("1.0.0").await;
        let operations = Operations::new(world.node());
        let other = operations.set_schema(said("node-2", 7)).await.unwrap_err();
        assert!(other.what.contains("not `node-2`"), "{other}");
        let before = operations.set_schema(said("node-1", 7)).await.unwrap();
        assert_eq!(before, "1");
        let node = world.node();
        let schema = node.database.schema().await.unwrap();
        assert_eq!(schema.to_string(), "7");
        let events = world.state.schema_events(10).await.unwrap();
        let [event] = events.as_slice() else {
            panic!("one event: {events:?}");
        };
        let json = serde_json::to_value(event).unwrap();
        assert_eq!(json["event"], "schema.set");
        assert_eq!((&json["version"], &json["schema"]), (&"".into(), &7.into()));
    }

    #[tokio::test]
    async fn nothing_is_said_during_a_deployment() {
        let world = World::with_one_version_live("1.0.0").await;
        let (operation, plan) = world.deployment();
        let begun = world.state.begin_operation(&operation, &plan).await;
        begun.unwrap();
        let operations = Operations::new(world.node());
        let refused = operations.set_schema(said("node-1", 7)).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Held);
    }
}
