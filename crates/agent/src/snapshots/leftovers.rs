//! What is left beside the database of jobs and operations that could not clear up after themselves:
//! scratch databases, and dumps to restore from. A database server that goes down in the middle of a
//! restore leaves both.

use std::collections::BTreeSet;

use togather_model::Ulid;

use super::{
    Dumps,
    error::SnapshotError,
    load::{BESIDE, FOLDER},
    program::Sink,
    programs::Programs,
};

/// More than the names of all leftovers take.
const MOST_NAMES: usize = 1 << 20;

impl Dumps {
    /// The jobs and operations of which something is left, or under way.
    pub(super) async fn find_leftovers(&self) -> Result<Vec<Ulid>, SnapshotError> {
        let scratch = self.database.scratch_operations().await?;
        let mut left: BTreeSet<Ulid> = scratch.into_iter().collect();
        match self.files_beside().await {
            Ok(files) => left.extend(files),
            // Scratch databases are what takes the room.
            Err(error) => tracing::warn!(%error, "files beside the database were not looked for"),
        }
        Ok(left.into_iter().collect())
    }

    async fn files_beside(&self) -> Result<Vec<Ulid>, SnapshotError> {
        if !matches!(self.programs, Programs::InService { .. }) {
            return Ok(vec![]);
        }
        let pattern = format!("{BESIDE}*");
        let command = ["find", FOLDER, "-maxdepth", "1", "-name", &pattern].map(str::to_owned);
        let (_stdin, program) = self.launch("find", &command, Ulid::nil()).await?;
        let mut names = Vec::new();
        program.follow(Sink::Memory(&mut names, MOST_NAMES)).await?;
        let names = String::from_utf8_lossy(&names);
        let id = |path: &str| path.rsplit_once(BESIDE)?.1.parse().ok();
        Ok(names.lines().filter_map(id).collect())
    }
}
