//! The migrations of a release, line by line: rehearsed on the restored copy, then run.

use togather_model::{Failure, FailureKind, Line, Step, release::Migrations};

use super::{Deployment, progress::signs_of_life};
use crate::{database::Migrated, migrations::MigrationError};

impl Deployment<'_> {
    /// Runs the migrations, and what the release must have done after them, on the restored copy.
    pub(super) async fn rehearse(&self) -> Result<String, Failure> {
        let rehearsed =
            self.each_line(Step::Rehearse)
                .await
                .map_err(|e| match e.is_the_migrations() {
                    true => Failure::caused_by(
                        FailureKind::Migration,
                        "a migration failed in the rehearsal; production was not touched",
                        &e,
                    )
                    .next("mend the migration and create a new release"),
                    false => Failure::caused_by(
                        FailureKind::Other,
                        "the rehearsal was not carried out; production was not touched",
                        &e,
                    )
                    .next("look at the database's logs on the node, and run the command again"),
                })?;
        let prepared = self.rehearse_preparing().await?;
        self.drop_the_scratch().await?;
        let files: usize = rehearsed.iter().map(|(_, ran)| ran.files.len()).sum();
        Ok(format!(
            "{files} migrations ran on the restored copy{prepared}"
        ))
    }

    pub(super) async fn migrate(&self) -> Result<String, Failure> {
        let migrated = self.each_line(Step::Migrate).await;
        let migrated = migrated.map_err(|e| self.migration_failed(&e))?;
        let note = |(line, ran): &(Line, Migrated)| {
            let at = ran.version.map_or_else(|| "none".into(), |v| v.to_string());
            format!("{} ran, {} is at {at}", ran.files.len(), the_schema(*line))
        };
        let notes: Vec<String> = migrated.iter().map(note).collect();
        Ok(notes.join("; "))
    }

    /// Runs the pending migrations of each line in the release's order: on the scratch database in
    /// the rehearsal, else on the live one.
    async fn each_line(&self, step: Step) -> Result<Vec<(Line, Migrated)>, MigrationError> {
        let (say, heard) = signs_of_life();
        let work = async move {
            let lines = self.release.lines();
            let mut ran = Vec::new();
            for of in lines.iter().filter(|of| !of.all.is_empty()) {
                ran.push((of.line, self.one_line(step, of, &say).await?));
            }
            Ok(ran)
        };
        let (ran, ()) = tokio::join!(work, self.write_down(step, heard));
        ran
    }

    async fn one_line(
        &self,
        step: Step,
        of: &Migrations<'_>,
        say: &(impl Fn(String) + Send + Sync),
    ) -> Result<Migrated, MigrationError> {
        let on_file = |file: &str| match of.line {
            Line::App => say(file.to_owned()),
            Line::River => say(format!("{}: {file}", of.line)),
        };
        let database = &self.node.database;
        match step == Step::Rehearse {
            true => {
                let operation = self.operation.id;
                database
                    .rehearse(operation, of.line, of.all, &on_file)
                    .await
            }
            false => database.migrate(of.line, of.all, &on_file).await,
        }
    }

    fn migration_failed(&self, error: &MigrationError) -> Failure {
        if !error.is_the_migrations() {
            let what = "the migrations were not all run";
            return Failure::caused_by(FailureKind::Migration, what, error).next(format!(
                "{}; look at the database's logs on the node, and run the command again",
                self.what_serves()
            ));
        }
        let mut failure = Failure::caused_by(FailureKind::Migration, "a migration failed", error)
            .next(self.what_serves());
        let MigrationError::Failed {
            aftermath: Some(aftermath),
            ..
        } = error
        else {
            return failure;
        };
        failure.next.extend(aftermath.ways_out(&self.node.name));
        let is_snapshotted = self.plan.to_run().any(|step| step == Step::Snapshot);
        if is_snapshotted && failure.next.len() > 1 {
            failure = failure.next(format!(
                "or go back to the snapshot from before it: `togather-ctl snapshot restore {} --nodes {}`",
                self.operation.id, self.node.name
            ));
        }
        failure
    }
}

const fn the_schema(line: Line) -> &'static str {
    match line {
        Line::App => "the schema",
        Line::River => "River's schema",
    }
}
