use proptest::{prelude::*, strategy::Strategy as _};

use super::{Strategy, *};
use crate::{
    fitness::Verdict,
    observed::{Connections, Live, Series},
    release::{Hook, Image, Migration, OtherLine, Prepare, SCHEMA},
};

fn release(migrations: u64, hooks: bool, oldest_schema: Option<u64>) -> Release {
    Release {
        schema: SCHEMA.into(),
        version: "2.0.0".into(),
        git_commit: "a".repeat(40),
        image: Image::Registry {
            repository: "registry:5000/server".into(),
            digest: Digest::of(b"image"),
        },
        migrations: (1..=migrations)
            .map(|version| Migration {
                version,
                file: format!("{version:06}_x.up.sql"),
                sql: "SELECT 1".into(),
            })
            .collect(),
        oldest_schema,
        other_lines: vec![],
        prepare: None,
        hooks: hooks
            .then(|| Hook {
                command: vec!["sync".into()],
                timeout: Duration::from_secs(1),
            })
            .into_iter()
            .collect(),
        built_at: jiff::Timestamp::UNIX_EPOCH,
        attestation: None,
    }
}

fn live(schema: u64) -> Live {
    Live {
        slot: Slot::Green,
        release: Digest::of(b"live"),
        version: "1.0.0".into(),
        git_commit: "b".repeat(40),
        schema,
        other_lines: [].into(),
        made_of: None,
    }
}

fn request(kind: OperationKind) -> Request {
    Request {
        made_of: None,
        operation_id: Ulid::nil(),
        kind,
        release_id: Digest::of(b"new"),
        soak: None,
        pages: vec![],
        compares_with_live: true,
    }
}

prop_compose! {
    fn any_observed()(
        live_schema in proptest::option::of(0..5u64),
        live_healthy: bool,
        schema in prop_oneof![
            Just(Schema::NoDatabase), Just(Schema::Empty), Just(Schema::Unversioned),
            (0..6u64, any::<bool>()).prop_map(|(version, dirty)| Schema::At { version, dirty }),
        ],
        database_bytes in 0..10_000_000_000u64,
        disk_free in 0..100_000_000_000u64,
        no_snapshot in proptest::option::of(Just(too_old())),
    ) -> Observed {
        Observed {
            node: "n".into(),
            live: live_schema.map(live),
            live_healthy,
            live_verdict: None,
            schema,
            ran: vec![],
            other_lines: [].into(),
            database_bytes,
            snapshot_disk: 2 * database_bytes,
            no_snapshot,
            disk_free,
            series: Series::Unknown,
            connections: None,
            doubts: vec![],
            problems: vec![],
        }
    }
}

proptest! {
    #[test]
    fn a_plan_names_each_step_once_and_never_starts_in_the_slot_that_serves(
        observed in any_observed(), count in 0..6u64, hooks: bool, oldest in proptest::option::of(0..6u64),
    ) {
        let release = release(count, hooks, oldest);
        if let Ok(plan) = plan(&observed, &release, &Strategy::default(), &request(OperationKind::Deploy)) {
            let all = Step::ALL.into_iter().filter(|step| *step != Step::Prepare);
            prop_assert!(plan.steps.iter().map(|s| s.step).eq(all));
            prop_assert_ne!(observed.live.map(|l| l.slot), Some(plan.to));
        }
    }

    /// The promise volunteers sleep by: where there is data, no migration without a snapshot.
    #[test]
    fn no_migration_of_data_without_a_snapshot(
        observed in any_observed(), count in 0..6u64, rehearse: bool,
    ) {
        let strategy = Strategy { rehearse, ..Strategy::default() };
        if let Ok(plan) = plan(&observed, &release(count, false, None), &strategy, &request(OperationKind::Deploy)) {
            let runs = |step| plan.to_run().any(|s| s == step);
            if runs(Step::Migrate) && !matches!(observed.schema, Schema::NoDatabase | Schema::Empty) {
                prop_assert!(runs(Step::Snapshot));
                prop_assert_eq!(runs(Step::Rehearse), rehearse);
            }
            prop_assert_eq!(runs(Step::Migrate), !plan.migrations.is_empty());
        }
    }

    #[test]
    fn a_dirty_or_unknown_schema_is_never_deployed_to(
        mut observed in any_observed(), version in 0..6u64, rollback: bool,
    ) {
        let kind = if rollback { OperationKind::Rollback } else { OperationKind::Deploy };
        for schema in [Schema::At { version, dirty: true }, Schema::Unversioned] {
            observed.schema = schema;
            let refusals = plan(&observed, &release(5, false, None), &Strategy::default(), &request(kind)).unwrap_err();
            prop_assert!(refusals.iter().any(|f| f.kind == FailureKind::Migration));
        }
    }

    #[test]
    fn every_refusal_says_what_to_do_next(observed in any_observed(), oldest in proptest::option::of(0..6u64)) {
        if let Err(refusals) = plan(&observed, &release(3, false, oldest), &Strategy::default(), &request(OperationKind::Deploy)) {
            prop_assert!(!refusals.is_empty());
            prop_assert!(refusals.iter().all(|f| !f.next.is_empty()));
        }
    }
}

fn too_old() -> Failure {
    Failure::new(FailureKind::Other, "no snapshot: pg_dump is too old").next("name a newer image")
}

fn healthy_at(version: u64) -> Observed {
    Observed {
        node: "n".into(),
        live: Some(live(version)),
        live_healthy: true,
        live_verdict: Some(Verdict::default()),
        schema: Schema::At {
            version,
            dirty: false,
        },
        ran: vec![],
        other_lines: [].into(),
        database_bytes: 1 << 20,
        snapshot_disk: 2 << 20,
        no_snapshot: None,
        disk_free: 50 << 30,
        series: Series::Named("http_requests_total".into()),
        connections: None,
        doubts: vec![],
        problems: vec![],
    }
}

#[test]
fn the_live_release_again_is_nothing_to_do_unless_it_is_unhealthy() {
    let mut again = request(OperationKind::Deploy);
    again.release_id = live(3).release;
    let mut observed = healthy_at(3);
    let planned = plan(
        &observed,
        &release(3, false, None),
        &Strategy::default(),
        &again,
    )
    .unwrap();
    assert!(planned.is_already_done());
    observed.live_healthy = false;
    let planned = plan(
        &observed,
        &release(3, false, None),
        &Strategy::default(),
        &again,
    )
    .unwrap();
    assert!(planned.to_run().any(|s| s == Step::SwitchTraffic));
}

proptest! {
    #[test]
    fn a_redeployment_leaves_alone_only_what_is_known_to_be_made_from_the_same(
        has in proptest::option::of(0..3u8), wanted in proptest::option::of(0..3u8),
    ) {
        let made_of = |of: Option<u8>| of.map(|of| Digest::of(&[of]));
        let mut observed = healthy_at(1);
        let Some(live) = observed.live.as_mut() else { unreachable!("a version is live") };
        live.made_of = made_of(has);
        let request = Request {
            made_of: made_of(wanted),
            release_id: live.release,
            ..request(OperationKind::Redeploy)
        };
        let plan = plan(&observed, &release(1, false, None), &Strategy::default(), &request).unwrap();
        prop_assert_eq!(plan.is_already_done(), has.is_some() && has == wanted);
    }
}

#[test]
fn an_older_release_is_only_a_rollback_away() {
    let observed = healthy_at(5);
    let old = release(3, false, None);
    assert!(
        plan(
            &observed,
            &old,
            &Strategy::default(),
            &request(OperationKind::Deploy)
        )
        .is_err()
    );
    let back = plan(
        &observed,
        &old,
        &Strategy::default(),
        &request(OperationKind::Rollback),
    )
    .unwrap();
    assert!(back.migrations.is_empty());
    assert!(!back.warnings.is_empty());
}

#[test]
fn a_release_the_live_version_cannot_overlap_with_is_refused() {
    let refused = plan(
        &healthy_at(2),
        &release(5, false, Some(4)),
        &Strategy::default(),
        &request(OperationKind::Deploy),
    );
    assert!(
        refused.unwrap_err()[0]
            .what
            .contains("does not run on schema 5")
    );
}

#[test]
fn a_migration_that_comes_late_is_refused_because_it_would_never_run() {
    let planned = |ran: &[u64]| {
        let observed = Observed {
            ran: ran.to_vec(),
            ..healthy_at(3)
        };
        let request = request(OperationKind::Deploy);
        let release = release(4, false, Some(1));
        plan(&observed, &release, &Strategy::default(), &request)
    };
    let refused = &planned(&[1, 3]).unwrap_err()[0];
    assert!(refused.what.contains("000002_x.up.sql"), "{refused}");
    assert_eq!(refused.kind, FailureKind::Migration);
    assert!(planned(&[1, 2, 3]).is_ok());
    assert!(planned(&[3]).is_ok(), "made with its newest only");
    assert!(planned(&[]).is_ok(), "not known");
}

fn with_river(migrations: u64, oldest_schema: Option<u64>) -> Release {
    Release {
        other_lines: vec![OtherLine {
            line: Line::River,
            before_app: true,
            migrations: release(migrations, false, None).migrations,
            oldest_schema,
        }],
        ..release(3, false, Some(1))
    }
}

fn plan_with_river(ran: &[u64], release: &Release) -> Result<Plan, Vec<Failure>> {
    let ran = (!ran.is_empty()).then(|| (Line::River, ran.to_vec()));
    let observed = Observed {
        other_lines: ran.into_iter().collect(),
        ..healthy_at(3)
    };
    let request = request(OperationKind::Deploy);
    plan(&observed, release, &Strategy::default(), &request)
}

#[test]
fn each_line_is_planned_by_where_it_is() {
    let planned = plan_with_river(&[1, 2, 3, 4], &with_river(6, Some(1))).unwrap();
    assert_eq!(planned.migrations, [0; 0]);
    assert_eq!(planned.other_lines[0].before, Some(4));
    assert_eq!(planned.other_lines[0].migrations, [5, 6]);
    for step in [Step::Snapshot, Step::Rehearse, Step::Migrate] {
        assert!(
            planned.to_run().any(|s| s == step),
            "{step} for River alone"
        );
    }
    let words = "does not say what River's schema it was built for";
    assert!(
        planned.warnings[0].contains(words),
        "{:?}",
        planned.warnings
    );
    let planned = plan_with_river(&[1, 2, 3, 4, 5, 6], &with_river(6, Some(1))).unwrap();
    assert!(!planned.migrates());

    let refused = |ran: &[u64]| plan_with_river(ran, &with_river(5, None)).unwrap_err()[0].clone();
    let older = refused(&[1, 2, 3, 4, 5, 6]);
    assert!(older.what.contains("River's schema 6"), "{older}");
    let gap = refused(&[1, 2, 4]);
    assert!(gap.what.contains("000003_x.up.sql"), "{gap}");
    assert!(gap.next[0].contains("river migrate-up"));
}

#[test]
fn a_database_with_rivers_tables_alone_has_something_to_lose() {
    let observed = Observed {
        live: None,
        schema: Schema::Empty,
        other_lines: [(Line::River, vec![1])].into(),
        ..healthy_at(3)
    };
    let request = request(OperationKind::Deploy);
    let release = with_river(6, None);
    let planned = plan(&observed, &release, &Strategy::default(), &request).unwrap();
    assert!(planned.to_run().any(|step| step == Step::Snapshot));
}

#[test]
fn a_release_with_something_to_prepare_has_a_step_for_it() {
    let release = Release {
        prepare: Some(Prepare {
            command: vec!["sync".into()],
            timeout: Duration::from_secs(1),
            expect: vec![],
        }),
        ..release(3, false, None)
    };
    let planned = plan_with_river(&[], &release).unwrap();
    assert!(planned.steps.iter().map(|s| s.step).eq(Step::ALL));
    assert!(planned.to_run().any(|step| step == Step::Prepare));
}

#[test]
fn what_somebody_else_left_dirty_is_told_once_with_both_ways_out() {
    let refused = |version, ran: &[u64], release: &Release| {
        let observed = Observed {
            schema: Schema::At {
                version,
                dirty: true,
            },
            ran: ran.to_vec(),
            ..healthy_at(version)
        };
        let request = request(OperationKind::Deploy);
        let mut refusals = plan(&observed, release, &Strategy::default(), &request).unwrap_err();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        refusals.remove(0).next.join("\n")
    };
    let mut sparse = release(5, false, None);
    sparse.migrations.remove(3);
    let next = refused(5, &[], &sparse);
    assert!(
        next.contains("nothing of it is there: `togather-ctl schema set 3 --nodes n`"),
        "{next}"
    );
    assert!(
        next.contains("`togather-ctl schema set 5 --nodes n`"),
        "{next}"
    );
    let next = refused(50, &[], &sparse);
    assert!(
        next.contains("schema set N --nodes n`, with the number before 50"),
        "{next}"
    );
    let next = refused(50, &[46, 50], &sparse);
    assert!(next.contains("schema set 46"), "{next}");
    let next = refused(1, &[], &sparse);
    assert!(next.contains("schema set 0"), "{next}");
}

#[test]
fn a_time_too_short_for_the_databases_size_is_told_before_anything_starts() {
    let strategy = Strategy {
        snapshot_timeout: Duration::from_secs(600),
        ..Strategy::default()
    };
    let warnings = |bytes, migrations| {
        let observed = Observed {
            database_bytes: bytes,
            disk_free: u64::MAX,
            ..healthy_at(2)
        };
        let request = request(OperationKind::Deploy);
        let planned = plan(
            &observed,
            &release(migrations, false, Some(1)),
            &strategy,
            &request,
        );
        planned.unwrap().warnings.join("; ")
    };
    assert!(warnings(100 << 30, 3).contains("allows 10"));
    assert_eq!(warnings(1 << 30, 3), "");
    assert_eq!(warnings(100 << 30, 2), "", "no migration, no snapshot");
}

#[test]
fn where_no_snapshot_can_be_taken_no_migration_of_data_is_planned() {
    let planned = |schema, migrations| {
        let observed = Observed {
            no_snapshot: Some(too_old()),
            schema,
            ..healthy_at(2)
        };
        let release = release(migrations, false, Some(1));
        let request = request(OperationKind::Deploy);
        plan(&observed, &release, &Strategy::default(), &request)
    };
    let two = Schema::At {
        version: 2,
        dirty: false,
    };
    assert_eq!(planned(two, 3).unwrap_err(), [too_old()]);
    let warnings = planned(two, 2).unwrap().warnings;
    assert_eq!(warnings, ["no snapshot: pg_dump is too old"], "but told");
    assert!(planned(Schema::Empty, 3).is_ok(), "nothing to lose");
}

#[test]
fn a_database_elsewhere_asks_for_none_of_this_disk() {
    let refused = |snapshot_disk| {
        let observed = Observed {
            database_bytes: 100 << 30,
            snapshot_disk,
            ..healthy_at(2)
        };
        let release = release(3, false, Some(1));
        let request = request(OperationKind::Deploy);
        plan(&observed, &release, &Strategy::default(), &request).is_err()
    };
    assert!(refused(200 << 30));
    assert!(!refused(0));
}

/// A plan of a small release for a node with one version live.
fn told(observed: &Observed, pages: &[&str]) -> Plan {
    let request = Request {
        pages: pages.iter().map(|page| (*page).into()).collect(),
        ..request(OperationKind::Deploy)
    };
    let release = release(3, false, None);
    plan(observed, &release, &Strategy::default(), &request).unwrap()
}

fn note(plan: &Plan, step: Step) -> Option<&str> {
    let planned = plan.steps.iter().find(|planned| planned.step == step);
    planned.unwrap().note.as_deref()
}

#[test]
fn a_plan_says_which_pages_are_asked_and_which_series_is_watched() {
    let plan = told(&healthy_at(3), &["/version", "/"]);
    assert_eq!(
        note(&plan, Step::AwaitHealthy),
        Some("asks for 2 pages: /version, /")
    );
    assert_eq!(
        note(&plan, Step::ProveTraffic),
        Some("asks for the 2 pages again")
    );
    assert_eq!(
        note(&plan, Step::Soak),
        Some("watches `http_requests_total`")
    );
    assert_eq!(note(&told(&healthy_at(3), &[]), Step::AwaitHealthy), None);
}

#[test]
fn a_plan_says_what_will_not_be_seen() {
    let missing = Observed {
        series: Series::Missing("nothing counts".into()),
        ..healthy_at(3)
    };
    let plan = told(&missing, &[]);
    assert!(
        plan.warnings
            .iter()
            .any(|told| told.starts_with("nothing counts: ")),
        "{plan:?}"
    );
    let empty = Observed {
        live: None,
        series: Series::Unknown,
        ..healthy_at(3)
    };
    let plan = told(&empty, &[]);
    let said = note(&plan, Step::Soak).unwrap();
    assert!(
        said.contains("known only once the new version runs"),
        "{said}"
    );
    assert_eq!(
        plan.warnings,
        Vec::<String>::new(),
        "there is nothing to compare with"
    );
}

#[test]
fn a_verdict_that_is_not_known_is_told_where_it_would_be_compared_with() {
    let known = healthy_at(3);
    let unknown = Observed {
        live_verdict: None,
        ..healthy_at(3)
    };
    let cannot = |plan: &Plan| {
        plan.warnings
            .iter()
            .any(|told| told.contains("cannot be judged"))
    };
    assert!(cannot(&told(&unknown, &[])));
    assert!(!cannot(&told(&known, &[])));
    let request = Request {
        compares_with_live: false,
        ..request(OperationKind::Deploy)
    };
    let release = release(3, false, None);
    let plan = plan(&unknown, &release, &Strategy::default(), &request).unwrap();
    assert!(!cannot(&plan));
}

#[test]
fn the_connections_of_both_versions_are_told_and_too_many_are_a_warning() {
    for (app, is_too_many) in [(25, false), (50, true)] {
        let observed = Observed {
            connections: Some(Connections { app, server: 97 }),
            ..healthy_at(3)
        };
        let plan = told(&observed, &[]);
        let said = note(&plan, Step::StartSlot).unwrap();
        assert_eq!(
            said,
            format!("both versions at once: 2 × {app} of the database's 97 connections")
        );
        let warned = plan
            .warnings
            .iter()
            .any(|told| told.contains("max_connections"));
        assert_eq!(warned, is_too_many);
        // Without a version before there is no overlap.
        let first = Observed {
            live: None,
            ..observed
        };
        assert_eq!(note(&told(&first, &[]), Step::StartSlot), None);
    }
}
