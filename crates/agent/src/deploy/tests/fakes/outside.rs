//! The outside as the agent's traits see it: each verb is one numbered call.

use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use togather_model::{
    Digest, EventKind, Failure, FailureKind, Image, Line, Migration, Schema, Slot, Timestamp, Ulid,
};

use super::{Fault, Lacking, Truth, When, World, away, release};
use crate::{
    containers::{
        App, Containers, ContainersError, Engine, Errand, ErrandEnd, Finished, SlotContainer,
    },
    database::{Database, DatabaseError, Migrated},
    health::{Answer, Counted, Health, HealthError, Place, Reach, Received},
    host::Host,
    migrations::MigrationError,
    node::Attesters,
    progress::Say,
    traffic::{Traffic, TrafficError},
};

/// The outside as the agent's traits see it. Containers are made from this state of the node's files;
/// `None`: from the present one.
#[derive(Clone)]
pub(super) struct Outside(pub(super) Arc<World>, pub(super) Option<Digest>);

impl Outside {
    /// Counts the call, lets the fault happen if its turn has come, and has the effect.
    pub(super) async fn call<T>(
        &self,
        name: &'static str,
        effect: impl FnOnce(&mut Truth) -> T + Send,
    ) -> Result<T, String> {
        let (fault, broken) = {
            let mut truth = self.0.truth();
            let number = truth.calls.len();
            truth.calls.push(name);
            let fault = match truth.fault {
                Some((When::Call(n), fault)) if n == number => Some(fault),
                Some((When::Named(n), fault)) if n == name => Some(fault),
                _ => None,
            };
            let times = truth.calls.iter().filter(|called| **called == name).count();
            let broken = truth
                .broken
                .as_ref()
                .is_some_and(|(broken, calls)| *broken == name && calls.contains(&times));
            (fault, broken)
        };
        if fault == Some(Fault::Fail) || broken {
            return Err(format!("{name} was made to fail"));
        }
        if fault == Some(Fault::CrashBefore) {
            self.cut_the_power().await;
        }
        self.cut_after_step().await;
        let result = effect(&mut self.0.truth());
        if fault == Some(Fault::CrashAfter) {
            self.cut_the_power().await;
        }
        Ok(result)
    }

    async fn cut_after_step(&self) {
        let Some((When::StepDone(step), _)) = self.0.truth().fault else {
            return;
        };
        let done =
            self.0.events().await.into_iter().any(
                |event| matches!(event.kind, EventKind::StepDone { step: s, .. } if s == step),
            );
        if done {
            self.cut_the_power().await;
        }
    }

    async fn cut_the_power(&self) -> ! {
        self.0.power_cut.notify_one();
        pending().await
    }

    async fn answer(&self, slot: Option<Slot>, public: bool) -> Result<Answer, HealthError> {
        let name = if public {
            "health.public"
        } else {
            "health.slot"
        };
        let answer = self.call(name, |truth| {
            let slot = slot.or(truth.snippet).ok_or("no version is live")?;
            let held = truth.slots.get(&slot).filter(|held| held.running);
            let held = held.ok_or("connection refused")?;
            let path_of = self.1.or(truth.files);
            if truth.health_moves && path_of != held.made_of {
                return Err("404: this version knows no such path");
            }
            let bad = truth.is_bad(slot, public);
            Ok(Answer {
                http_status: if bad { 503 } else { 200 },
                status: Some(if bad { "unhealthy" } else { "healthy" }.into()),
                version: Some(held.version.clone()),
                git_commit: Some(release(&held.version, 1).git_commit),
                slot: Some(slot),
                checks: vec![],
                latency: Duration::from_millis(1),
                retry_after: None,
            })
        });
        let answer: Result<Answer, &str> = answer.await.map_err(HealthError::Other)?;
        answer.map_err(|e| HealthError::Other(e.into()))
    }
}

impl Attesters for Outside {
    fn check(&self, _: &[u8], _: &str) -> Result<(), Failure> {
        Ok(())
    }
}

impl Host for Outside {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn disk_free(&self) -> std::io::Result<u64> {
        Ok(self.0.truth().disk_free.unwrap_or(u64::MAX))
    }

    fn memory_available(&self) -> std::io::Result<u64> {
        Ok(self.0.truth().memory_available.unwrap_or(u64::MAX))
    }
}

#[async_trait]
impl Containers for Outside {
    async fn engine(&self) -> Result<Engine, ContainersError> {
        let engine = Engine {
            version: "20.10.24".into(),
            data_root: "/".into(),
        };
        self.call("containers.engine", |_| engine)
            .await
            .map_err(ContainersError::Other)
    }

    async fn base_exists(&self) -> Result<bool, ContainersError> {
        let exists = self
            .call("containers.base_exists", |truth| truth.base)
            .await;
        exists.map_err(ContainersError::Other)
    }

    async fn base_up(&self) -> Result<Vec<String>, ContainersError> {
        let up = self
            .call("containers.base_up", |truth| truth.base = true)
            .await;
        up.map(|()| vec![]).map_err(ContainersError::Other)
    }

    async fn has_image(&self, _: &Image) -> Result<bool, ContainersError> {
        self.call("containers.has_image", |_| false)
            .await
            .map_err(ContainersError::Other)
    }

    async fn fits(&self, _: &Image) -> Result<(), ContainersError> {
        self.call("containers.fits", |_| ())
            .await
            .map_err(ContainersError::Other)
    }

    async fn fetch(&self, _: &Image, say: Say<'_>) -> Result<u64, ContainersError> {
        let held = self.0.truth().pull.clone();
        if let Some((progress, go_on)) = held {
            say(progress);
            go_on.notified().await;
        }
        self.call("containers.fetch", |_| 0)
            .await
            .map_err(ContainersError::Other)
    }

    async fn load(&self, _: &Image, _: &std::path::Path) -> Result<(), ContainersError> {
        self.call("containers.load", |_| ())
            .await
            .map_err(ContainersError::Other)
    }

    async fn start_slot(&self, slot: Slot, app: &App) -> Result<(), ContainersError> {
        let held = SlotContainer {
            release: Some(app.release),
            version: app.version.clone(),
            made_of: self.made_of(),
            running: true,
            exit_code: None,
        };
        let started = self.call("containers.start_slot", |truth| {
            truth.slots.insert(slot, held)
        });
        started.await.map(|_| ()).map_err(ContainersError::Other)
    }

    fn made_of(&self) -> Option<Digest> {
        self.1.or_else(|| self.0.truth().files)
    }

    async fn restart_slot(&self, slot: Slot) -> Result<(), ContainersError> {
        let restarted = self.call("containers.restart_slot", |truth| {
            let held = truth.slots.get_mut(&slot).ok_or("no such container")?;
            held.running = true;
            Ok(())
        });
        let restarted: Result<(), &str> = restarted.await.map_err(ContainersError::Other)?;
        restarted.map_err(|e| ContainersError::Other(e.into()))
    }

    async fn stop_slot(&self, slot: Slot) -> Result<(), ContainersError> {
        let stopped = self.call("containers.stop_slot", |truth| {
            if let Some(held) = truth.slots.get_mut(&slot) {
                held.running = false;
            }
        });
        stopped.await.map_err(ContainersError::Other)
    }

    async fn remove_slot(&self, slot: Slot) -> Result<(), ContainersError> {
        let removed = self.call("containers.remove_slot", |truth| truth.slots.remove(&slot));
        removed.await.map(|_| ()).map_err(ContainersError::Other)
    }

    async fn slot(&self, slot: Slot) -> Result<Option<SlotContainer>, ContainersError> {
        let held = self.call("containers.slot", |truth| truth.slots.get(&slot).cloned());
        held.await.map_err(ContainersError::Other)
    }

    async fn run_in_slot(
        &self,
        _: Slot,
        _: &[String],
        _: Duration,
    ) -> Result<Finished, ContainersError> {
        let finished = Finished {
            exit_code: 0,
            output: String::new(),
        };
        let ran = self.call("containers.run_in_slot", |_| finished).await;
        ran.map_err(ContainersError::Other)
    }

    async fn missing_programs(
        &self,
        _: &Image,
        programs: &[String],
    ) -> Result<Vec<String>, ContainersError> {
        let missing = self.call("containers.missing_programs", |truth| {
            let is_missing = |name: &&String| truth.missing_programs.contains(&name.as_str());
            programs.iter().filter(is_missing).cloned().collect()
        });
        missing.await.map_err(ContainersError::Other)
    }

    async fn run_errand(&self, errand: &Errand) -> Result<ErrandEnd, ContainersError> {
        let end = self.call("containers.run_errand", |truth| {
            if errand.database.is_some() {
                assert!(truth.scratch.contains(&errand.job), "there is a copy");
            }
            ErrandEnd {
                stdout: r#"{"errors": 0}"#.into(),
                ..ErrandEnd::default()
            }
        });
        end.await.map_err(ContainersError::Other)
    }

    fn app_role(&self) -> Option<String> {
        Some("app".into())
    }

    fn app_connections(&self) -> Option<u64> {
        Some(25)
    }

    async fn logs(&self, _: Slot, _: usize) -> Result<String, ContainersError> {
        Ok(String::new())
    }

    async fn prune_images(&self, _: &[Image]) -> Result<Vec<String>, ContainersError> {
        self.call("containers.prune_images", |_| vec![])
            .await
            .map_err(ContainersError::Other)
    }
}

#[async_trait]
impl Traffic for Outside {
    async fn ready(&self) -> Result<(), TrafficError> {
        self.call("traffic.ready", |_| ())
            .await
            .map_err(TrafficError::Other)
    }

    async fn live(&self) -> Result<Option<Slot>, TrafficError> {
        let live = self.call("traffic.live", |truth| truth.snippet).await;
        live.map_err(TrafficError::Other)
    }

    async fn switch(&self, to: Option<Slot>) -> Result<(), TrafficError> {
        let switched = self
            .call("traffic.switch", |truth| truth.snippet = to)
            .await;
        switched.map_err(TrafficError::Other)
    }

    async fn drained(&self, _: Slot, _: Duration) -> Result<usize, TrafficError> {
        self.call("traffic.drained", |_| 0)
            .await
            .map_err(TrafficError::Other)
    }
}

#[async_trait]
impl Health for Outside {
    async fn verdict(&self, place: Place) -> Result<Answer, HealthError> {
        match place {
            Place::Slot(slot) => self.answer(Some(slot), false).await,
            Place::Public => self.answer(None, true).await,
        }
    }

    async fn ready(&self, _: Place) -> Result<Option<Answer>, HealthError> {
        Ok(None)
    }

    async fn requests(&self, _: Slot) -> Result<Counted, HealthError> {
        self.call("health.requests", |_| Counted::NoSeries(None))
            .await
            .map_err(HealthError::Other)
    }

    async fn reach(&self, _: Option<Slot>) -> Reach {
        let unproven = self.0.truth().unproven.then(|| {
            Failure::new(FailureKind::Other, "nothing answers for the public address").next("look")
        });
        Reach {
            unproven,
            doubts: vec!["it is not known whether visitors get here".into()],
        }
    }

    async fn page(&self, place: Place, path: &str) -> Result<Received, HealthError> {
        assert_eq!(path, super::PAGE);
        let (name, slot, lacking) = match place {
            Place::Slot(slot) => ("health.page_in_slot", Some(slot), Lacking::InItsSlot),
            Place::Public => ("health.page_in_public", None, Lacking::ThroughTheProxy),
        };
        let received = self.call(name, |truth| {
            let slot = slot.or(truth.snippet).ok_or("no version is live")?;
            let held = truth.slots.get(&slot).filter(|held| held.running);
            let held = held.ok_or("connection refused")?;
            let is_there = held.version != super::super::NEW || truth.lacks_page != Some(lacking);
            Ok(Received {
                http_status: if is_there { 200 } else { 404 },
                slot: Some(slot),
                retry_after: None,
                body: b"it is there".into(),
            })
        });
        let received: Result<Received, &str> = received.await.map_err(HealthError::Other)?;
        received.map_err(|e| HealthError::Other(e.into()))
    }
}

#[async_trait]
impl Database for Outside {
    async fn schema(&self) -> Result<Schema, DatabaseError> {
        let schema = self.call("database.schema", |truth| truth.schema()).await;
        schema.map_err(DatabaseError::Other)
    }

    async fn other_lines(&self) -> Result<BTreeMap<Line, Vec<u64>>, DatabaseError> {
        let lines = self.call("database.other_lines", |truth| truth.other_lines());
        lines.await.map_err(DatabaseError::Other)
    }

    async fn set_schema(&self, line: Line, version: Option<u64>) -> Result<(), MigrationError> {
        let set = self.call("database.set_schema", |truth| match line {
            Line::App => truth.schema = version,
            Line::River => truth.river = version,
        });
        set.await.map_err(MigrationError::Other)
    }

    async fn admit_to_scratch(&self, _: Ulid, _: &str) -> Result<(), DatabaseError> {
        let admitted = self.call("database.admit_to_scratch", |_| ()).await;
        admitted.map_err(DatabaseError::Other)
    }

    async fn bytes(&self) -> Result<u64, DatabaseError> {
        self.call("database.bytes", |_| 1)
            .await
            .map_err(DatabaseError::Other)
    }

    async fn missing_extensions(&self) -> Result<Vec<String>, DatabaseError> {
        let missing = self.call("database.missing_extensions", |_| vec![]).await;
        missing.map_err(DatabaseError::Other)
    }

    async fn create_extensions(&self) -> Result<(), DatabaseError> {
        let created = self.call("database.create_extensions", |_| ()).await;
        created.map_err(DatabaseError::Other)
    }

    async fn migrate(
        &self,
        line: Line,
        migrations: &[Migration],
        _: &(dyn for<'f> Fn(&'f str) + Send + Sync),
    ) -> Result<Migrated, MigrationError> {
        let version = migrations.last().map(|m| m.version);
        let migrated = self.call("database.migrate", |truth| {
            match line {
                Line::App => truth.schema = version,
                Line::River => truth.river = version,
            }
            Migrated {
                files: vec![],
                version,
            }
        });
        migrated.await.map_err(MigrationError::Other)
    }

    async fn rehearse(
        &self,
        operation: Ulid,
        _: Line,
        _: &[Migration],
        _: &(dyn for<'f> Fn(&'f str) + Send + Sync),
    ) -> Result<Migrated, MigrationError> {
        let rehearsed = self.call("database.rehearse", |truth| {
            assert!(
                truth.scratch.contains(&operation),
                "there is a copy to rehearse on"
            );
            Migrated {
                files: vec![],
                version: None,
            }
        });
        rehearsed.await.map_err(MigrationError::Other)
    }

    async fn drop_scratch(&self, operation: Ulid) -> Result<(), DatabaseError> {
        let dropped = self.call("database.drop_scratch", |truth| {
            truth.scratch.retain(|scratch| *scratch != operation);
        });
        dropped.await.map_err(DatabaseError::Other)
    }

    fn live_name(&self) -> &'static str {
        "togather"
    }

    fn is_elsewhere(&self) -> bool {
        self.0.truth().elsewhere
    }

    async fn exists(&self, database: &str) -> Result<bool, DatabaseError> {
        let exists = self.call("database.exists", |truth| {
            let is_up = truth.base || truth.elsewhere;
            is_up.then(|| truth.has_database(database))
        });
        let exists = exists.await.map_err(away)?;
        exists.ok_or_else(|| away("no server".into()))
    }

    async fn is_empty(&self, database: &str) -> Result<bool, DatabaseError> {
        let empty = self.call("database.is_empty", |truth| {
            truth.has_database(database) && truth.schema.is_none()
        });
        empty.await.map_err(DatabaseError::Other)
    }

    async fn prepared_transactions(&self, database: &str) -> Result<Vec<String>, DatabaseError> {
        let prepared = self.call("database.prepared_transactions", |truth| match database {
            "togather" => truth.prepared.clone(),
            _ => vec![],
        });
        prepared.await.map_err(DatabaseError::Other)
    }

    async fn subscriptions(&self, _: &str) -> Result<Vec<String>, DatabaseError> {
        let subscriptions = self.call("database.subscriptions", |_| vec![]);
        subscriptions.await.map_err(DatabaseError::Other)
    }

    async fn connections(&self) -> Result<u64, DatabaseError> {
        let connections = self.call("database.connections", |_| 97);
        connections.await.map_err(DatabaseError::Other)
    }

    async fn maintenance_memory(&self) -> Result<u64, DatabaseError> {
        let memory = self.call("database.maintenance_memory", |_| 64 << 20);
        memory.await.map_err(DatabaseError::Other)
    }

    async fn swap(&self, incoming: &str, outgoing: &str) -> Result<(), DatabaseError> {
        let swapped = self.call("database.swap", |truth| {
            truth.swap_databases(incoming, outgoing);
        });
        swapped.await.map_err(away)
    }

    async fn replaced(&self) -> Result<Vec<String>, DatabaseError> {
        let replaced = self.call("database.replaced", |truth| truth.replaced.clone());
        let mut replaced = replaced.await.map_err(DatabaseError::Other)?;
        replaced.reverse();
        Ok(replaced.into_iter().map(|(name, _)| name).collect())
    }

    async fn drop_replaced(&self, database: &str) -> Result<(), DatabaseError> {
        let dropped = self.call("database.drop_replaced", |truth| {
            truth.replaced.retain(|(name, _)| name != database);
        });
        dropped.await.map_err(DatabaseError::Other)
    }
}
