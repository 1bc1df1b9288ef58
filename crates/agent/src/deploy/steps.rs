//! The steps: one short function each; those around the migrations have files of their own. Each may be run twice, and returns what it found
//! or made, for people.

use togather_model::{
    Failure, FailureKind, Step,
    planner::{self, Request},
};
use tokio::time::Instant;

use super::{
    Deployment,
    progress::{now_and_then, signs_of_life},
};
use crate::{
    containers::App,
    snapshots::{Reason, Wanted},
};

impl Deployment<'_> {
    /// Runs one step of the plan.
    pub(super) async fn run(&self, step: Step) -> Result<String, Failure> {
        match step {
            Step::VerifyRelease => self.verify_release(),
            Step::Preflight => self.preflight().await,
            Step::FetchImage => self.fetch_and_look_into().await,
            Step::BaseServices => self.base_services().await,
            Step::Snapshot => self.snapshot().await,
            Step::Rehearse => self.rehearse().await,
            Step::Migrate => self.migrate().await,
            Step::Prepare => self.prepare().await,
            Step::StartSlot => self.start_slot().await,
            Step::AwaitHealthy => self.await_healthy().await,
            Step::RunHooks => self.run_hooks().await,
            Step::SwitchTraffic => self.switch_traffic().await,
            Step::ProveTraffic => self.prove_traffic().await,
            Step::RetireOldSlot => self.retire_old_slot().await,
            Step::Soak => self.soak().await,
        }
    }

    fn verify_release(&self) -> Result<String, Failure> {
        let digest = self.release.image.digest().short();
        let Some(attestation) = &self.release.attestation else {
            return Ok(format!("image {digest}, not attested"));
        };
        let attested = self.release.attested_bytes();
        self.node
            .attesters
            .check(&attested, &attestation.signature)?;
        Ok(format!("image {digest}, attested"))
    }

    /// Looks again: between the plan and now, the node may have changed.
    async fn preflight(&self) -> Result<String, Failure> {
        let observed = self.node.observe().await;
        let request = Request {
            operation_id: self.plan.operation_id,
            kind: self.plan.kind,
            release_id: self.plan.release,
            made_of: self.node.containers.made_of(),
            soak: Some(self.plan.soak),
            // Of these the plan has told already.
            pages: vec![],
            compares_with_live: false,
        };
        let again = planner::plan(&observed, self.release, &self.node.strategy, &request);
        let again = again.map_err(|mut refusals| refusals.swap_remove(0))?;
        if again.from != self.plan.from
            || again.migrations != self.plan.migrations
            || again.other_lines != self.plan.other_lines
        {
            return Err(Failure::new(
                FailureKind::Other,
                "the node changed after it was planned for",
            )
            .next("run the command again; it plans anew"));
        }
        Ok(format!(
            "{} MiB of disk free; {}",
            observed.disk_free >> 20,
            self.node.snapshots.place_of_programs()
        ))
    }

    async fn base_services(&self) -> Result<String, Failure> {
        let up = self.node.containers.base_up().await.map_err(|e| {
            Failure::caused_by(FailureKind::Other, "the base services did not come up", &e)
                .next("look at `docker ps -a` and the service's logs on the node")
        })?;
        self.node.database.create_extensions().await.map_err(|e| {
            Failure::caused_by(FailureKind::Other, "the database is not as it must be", &e)
                .next("look at the database's logs, and at `database` in deployment.yml")
        })?;
        if self.plan.to_run().any(|step| step == Step::Snapshot) {
            // Found out now, before anything of the database is touched.
            self.node
                .snapshots
                .check_programs(true)
                .await
                .map_err(|e| {
                    let what = "no snapshot of the database could be taken";
                    Failure::caused_by(FailureKind::Other, what, &e)
                        .next("look at `database` in deployment.yml on the node")
                })?;
        }
        Ok(if up.is_empty() {
            "already up".into()
        } else {
            up.join(", ")
        })
    }

    /// Dumps, stores and proves: only a snapshot that was restored lets a migration run.
    async fn snapshot(&self) -> Result<String, Failure> {
        self.node.must_have_memory().await?;
        let failed = |what: &str, e: &dyn std::error::Error| {
            Failure::caused_by(FailureKind::Other, what, e)
                .next("nothing was migrated; look at the database's disk, and at `snapshots` in agent.yml")
        };
        let now = self.node.host.now();
        let wanted = Wanted {
            // So that an interruption's leftovers of it are found by the operation alone.
            id: self.operation.id,
            at: now,
            reason: Reason::PreMigration,
            git_commit: self.plan.from.as_ref().map_or_else(
                || self.plan.git_commit.clone(),
                |live| live.git_commit.clone(),
            ),
        };
        let (say, heard) = signs_of_life();
        let work = async move {
            let snapshots = &self.node.snapshots;
            let say = now_and_then(say);
            let taken = snapshots.create(&wanted, &say).await;
            let taken = taken.map_err(|e| failed("the database could not be snapshotted", &e))?;
            let proven = snapshots.prove(taken.id, self.operation.id, &say).await;
            proven.map_err(|e| failed("the snapshot could not be proven", &e))
        };
        let limit = self.node.strategy.snapshot_timeout;
        let work = tokio::time::timeout(limit, work);
        let (proven, ()) = tokio::join!(work, self.write_down(Step::Snapshot, heard));
        let proven = proven.unwrap_or_else(|_| {
            Err(Failure::new(
                FailureKind::Other,
                format!(
                    "the snapshot was not taken and proven within {} s",
                    limit.as_secs()
                ),
            )
            .next("nothing was migrated; allow more with `strategy.snapshot_timeout`"))
        })?;
        if self.plan.to_run().all(|step| step != Step::Rehearse) {
            self.drop_the_scratch().await?;
        }
        Ok(format!(
            "{} ({} KiB), restored and compared",
            proven.dump,
            proven.bytes >> 10
        ))
    }

    async fn start_slot(&self) -> Result<String, Failure> {
        let slot = self.plan.to;
        let app = App {
            release: self.plan.release,
            version: self.plan.version.clone(),
            image: self.release.image.clone(),
        };
        let started = self.node.containers.start_slot(slot, &app).await;
        started.map_err(|e| {
            Failure::caused_by(
                FailureKind::Other,
                format!("the {slot} slot did not start"),
                &e,
            )
            .next("look at the app's service in docker-compose.yml and at `docker ps -a`")
        })?;
        self.node.health.begin_anew();
        Ok(format!("{} started in {slot}", self.plan.version))
    }

    async fn run_hooks(&self) -> Result<String, Failure> {
        for hook in &self.release.hooks {
            let command = hook.command.join(" ");
            let ran = self
                .node
                .containers
                .run_in_slot(self.plan.to, &hook.command, hook.timeout)
                .await;
            let ran = ran.map_err(|e| {
                Failure::caused_by(
                    FailureKind::Other,
                    format!("the hook `{command}` did not run"),
                    &e,
                )
                .next(format!("mend the hook; {}", self.what_serves()))
            })?;
            if ran.exit_code != 0 {
                let mut failure = Failure::new(
                    FailureKind::Other,
                    format!(
                        "the hook `{command}` ended with exit code {}",
                        ran.exit_code
                    ),
                );
                failure
                    .causes
                    .push(format!("it printed:\n{}", ran.output.trim_end()));
                return Err(failure.next(format!("mend the hook; {}", self.what_serves())));
            }
        }
        Ok(format!("{} ran", self.release.hooks.len()))
    }

    async fn switch_traffic(&self) -> Result<String, Failure> {
        let slot = self.plan.to;
        let begun = Instant::now();
        let switched = self.node.traffic.switch(Some(slot)).await;
        switched.map_err(|e| {
            Failure::caused_by(FailureKind::Other, "traffic could not be switched", &e)
                .next("look at `systemctl status caddy` and the Caddyfile on the node")
        })?;
        Ok(format!(
            "{slot} is live after {:.1} ms",
            begun.elapsed().as_secs_f64() * 1e3
        ))
    }

    async fn retire_old_slot(&self) -> Result<String, Failure> {
        let Some(old) = &self.plan.from else {
            return Ok("there was none".into());
        };
        let failed = |e: &dyn std::error::Error| {
            Failure::caused_by(
                FailureKind::Other,
                format!("{} in {} could not be retired", old.version, old.slot),
                e,
            )
            .next("look at `systemctl status docker` on the node")
        };
        let begun = Instant::now();
        let drain = self.node.strategy.drain;
        let left = self.node.traffic.drained(old.slot, drain).await;
        let left = left.map_err(|e| failed(&e))?;
        let drained = begun.elapsed();
        let stopped = self.node.containers.stop_slot(old.slot).await;
        stopped.map_err(|e| failed(&e))?;
        Ok(format!(
            "drained in {} ms ({left} connections left), {} stopped",
            drained.as_millis(),
            old.version
        ))
    }

    pub(super) async fn drop_the_scratch(&self) -> Result<(), Failure> {
        let dropped = self.node.database.drop_scratch(self.operation.id).await;
        dropped.map_err(|e| {
            Failure::caused_by(
                FailureKind::Other,
                "the scratch database was not dropped",
                &e,
            )
            .next("look at the database's logs on the node")
        })
    }
}
