//! What a release must have done once: in a container of its own, after the migrations and before the
//! slot starts; and whether the image has the programs that the release names at all.

use togather_model::{Failure, FailureKind, release::Prepare};

use super::Deployment;
use crate::{
    containers::{App, Errand, ErrandEnd},
    database::scratch_name,
};

impl Deployment<'_> {
    /// What the image lacks is found out as soon as it is here: before the snapshot and the
    /// migrations, which only move forward.
    pub(super) async fn fetch_and_look_into(&self) -> Result<String, Failure> {
        let note = self.fetch_image().await?;
        let prepare = self.release.prepare.iter().map(|prepare| &prepare.command);
        let hooks = self.release.hooks.iter().map(|hook| &hook.command);
        let mut programs: Vec<String> = prepare
            .chain(hooks)
            .filter_map(|command| command.first().cloned())
            .collect();
        programs.sort();
        programs.dedup();
        if programs.is_empty() {
            return Ok(note);
        }
        let image = &self.release.image;
        let missing = self.node.containers.missing_programs(image, &programs);
        let missing = missing.await.map_err(|e| {
            Failure::caused_by(
                FailureKind::Other,
                "the image could not be looked into for the release's commands",
                &e,
            )
            .next("look at `systemctl status docker` on the node, and run the command again")
        })?;
        if missing.is_empty() {
            return Ok(note);
        }
        Err(Failure::new(
            FailureKind::Other,
            format!(
                "the image has no program {}, which the release wants to run; nothing was changed",
                missing.join(", ")
            ),
        )
        .next(
            "name it as it is in the image, for example `/app/server`: without a slash it must be on the image's PATH",
        ))
    }

    pub(super) async fn prepare(&self) -> Result<String, Failure> {
        let Some(prepare) = &self.release.prepare else {
            return Ok("the release has nothing to prepare".into());
        };
        self.run_prepare(prepare, None).await.map_err(|failure| {
            failure.next(
                "mend the command, or what it needs, and create a new release; the migrations stay",
            )
        })?;
        Ok(format!("`{}` ran", prepare.command.join(" ")))
    }

    /// The same on the restored copy. Returns what to add to the rehearsal's note.
    pub(super) async fn rehearse_preparing(&self) -> Result<String, Failure> {
        let Some(prepare) = &self.release.prepare else {
            return Ok(String::new());
        };
        let containers = &self.node.containers;
        if let Some(role) = containers.app_role() {
            let admitted = self
                .node
                .database
                .admit_to_scratch(self.operation.id, &role);
            admitted.await.map_err(|e| {
                let what = "the app's role could not be let into the restored copy";
                Failure::caused_by(FailureKind::Other, what, &e)
                    .next("see that the user in the app's DATABASE_URL is a role of the database")
            })?;
        }
        let scratch = scratch_name(self.operation.id);
        let rehearsed = self.run_prepare(prepare, Some(scratch)).await;
        rehearsed.map_err(|mut failure| {
            failure.what = format!(
                "{} in the rehearsal; production was not touched",
                failure.what
            );
            failure.next("mend the command, or what it needs, and create a new release")
        })?;
        Ok(", and so did `prepare`".into())
    }

    async fn run_prepare(
        &self,
        prepare: &Prepare,
        database: Option<String>,
    ) -> Result<(), Failure> {
        let command = prepare.command.join(" ");
        let errand = Errand {
            app: App {
                release: self.plan.release,
                version: self.plan.version.clone(),
                image: self.release.image.clone(),
            },
            command: prepare.command.clone(),
            timeout: prepare.timeout,
            database,
            job: self.operation.id,
        };
        let ran = self.node.containers.run_errand(&errand).await;
        let ran = ran.map_err(|e| {
            let what = format!("`{command}` (prepare) did not run to its end");
            Failure::caused_by(FailureKind::Other, what, &e)
        })?;
        let why = match ran.exit_code {
            0 => match prepare.judge(&ran.stdout) {
                Ok(()) => return Ok(()),
                Err(why) => format!("did not do what it must: {why}"),
            },
            code => format!("ended with exit code {code}"),
        };
        Err(said(&command, &why, &ran))
    }
}

fn said(command: &str, why: &str, ran: &ErrandEnd) -> Failure {
    let mut failure = Failure::new(FailureKind::Other, format!("`{command}` (prepare) {why}"));
    let output = ran.output.trim_end();
    failure.causes.push(match output.is_empty() {
        true => "it printed nothing".to_owned(),
        false => format!("it printed last:\n{output}"),
    });
    failure
}
