//! What goes onto the wire comes back from it as it was, and what does not belong there is refused
//! by the name of its field.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{collection::vec, option, prelude::*};
use prost::Message;
use togather_model::{
    Digest, Event, EventKind, Failure, FailureKind, JobKind, Lease, Line, Live, Operation,
    OperationKind, OperationState, Plan, PlannedLine, PlannedStep, Schema, Slot, SnapshotEvent,
    Step, Timestamp, Ulid,
};
use togather_proto::{DESCRIPTORS, WireError, failure_of, method, to_status, v1};

fn ulid() -> impl Strategy<Value = Ulid> {
    any::<u128>().prop_map(Ulid::from)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    let seconds = Timestamp::MIN.as_second() + 1..Timestamp::MAX.as_second();
    (seconds, 0..1_000_000_000_i32)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
}

fn duration() -> impl Strategy<Value = Duration> {
    (0..315_576_000_000_u64, 0..1_000_000_000_u32).prop_map(|(s, ns)| Duration::new(s, ns))
}

fn slot() -> impl Strategy<Value = Slot> {
    proptest::sample::select(&Slot::ALL[..])
}

fn step() -> impl Strategy<Value = Step> {
    proptest::sample::select(&Step::ALL[..])
}

fn operation_kind() -> impl Strategy<Value = OperationKind> {
    proptest::sample::select(
        &[
            OperationKind::Deploy,
            OperationKind::Rollback,
            OperationKind::Redeploy,
        ][..],
    )
}

fn failure_kind() -> impl Strategy<Value = FailureKind> {
    use FailureKind::*;
    let all = [
        Other,
        Held,
        Unhealthy,
        Migration,
        Unreachable,
        NotAllowed,
        Stuck,
        Configuration,
    ];
    proptest::sample::select(all.to_vec())
}

prop_compose! {
    fn failure()(
        kind in failure_kind(), step in option::of(step()), what: String,
        causes in vec(any::<String>(), 0..3), next in vec(any::<String>(), 0..3),
    ) -> Failure {
        Failure { kind, step, what, causes, next }
    }
}

fn of_river(version: Option<u64>) -> BTreeMap<Line, u64> {
    version
        .map(|version| (Line::River, version))
        .into_iter()
        .collect()
}

prop_compose! {
    fn planned_line()(before: Option<u64>, migrations in vec(any::<u64>(), 0..4)) -> PlannedLine {
        PlannedLine { line: Line::River, before, migrations }
    }
}

prop_compose! {
    fn live()(
        slot in slot(), release in digest(), version: String, git_commit: String, schema: u64,
        (other_lines, made_of) in (
            option::of(any::<u64>()).prop_map(of_river), option::of(digest()),
        ),
    ) -> Live {
        Live { slot, release, version, git_commit, schema, other_lines, made_of }
    }
}

prop_compose! {
    fn plan()(
        operation_id in ulid(), kind in operation_kind(), node: String, release in digest(),
        (version, git_commit) in any::<(String, String)>(), from in option::of(live()),
        to in slot(), schema_before: Option<u64>, migrations in vec(any::<u64>(), 0..4),
        steps in vec((step(), any::<[Option<String>; 2]>()), 0..15), soak in duration(),
        (warnings, configuration, app_configuration, made_of) in (
            vec(any::<String>(), 0..3), option::of(digest()), option::of(digest()),
            option::of(digest()),
        ),
        other_lines in vec(planned_line(), 0..2),
    ) -> Plan {
        let steps = steps.into_iter().map(|(step, [skip, note])| PlannedStep { step, skip, note }).collect();
        Plan {
            operation_id, kind, node, release, version, git_commit, from, to, schema_before,
            migrations, other_lines, steps, soak, warnings, configuration, app_configuration, made_of,
            live_verdict: None,
        }
    }
}

prop_compose! {
    fn operation()(
        id in ulid(), kind in operation_kind(), operator: String, rollout in option::of(ulid()),
        release in digest(), version: String,
        state in proptest::sample::select(vec![
            OperationState::Running, OperationState::Done, OperationState::Undone,
            OperationState::Stuck,
        ]),
        started_at in timestamp(), ended_at in option::of(timestamp()),
        failure in option::of(failure()),
    ) -> Operation {
        Operation {
            id, kind, operator, rollout, release, version, state, started_at, ended_at, failure,
        }
    }
}

fn event_kind() -> impl Strategy<Value = EventKind> {
    let text = any::<String>;
    prop_oneof![
        operation_kind().prop_map(|kind| EventKind::Started { kind }),
        step().prop_map(|step| EventKind::StepStarted { step }),
        (step(), text()).prop_map(|(step, message)| EventKind::StepProgress { step, message }),
        (step(), duration(), text()).prop_map(|(step, took, note)| EventKind::StepDone {
            step,
            took,
            note
        }),
        (step(), text()).prop_map(|(step, why)| EventKind::StepSkipped { step, why }),
        (step(), duration(), failure()).prop_map(|(step, took, failure)| {
            EventKind::StepFailed {
                step,
                took,
                failure,
            }
        }),
        (option::of(any::<u64>()), text()).prop_map(|(version, before)| EventKind::SchemaSet {
            line: Line::River,
            version,
            before,
        }),
        step().prop_map(|step| EventKind::UndoStarted { step }),
        (step(), duration(), text()).prop_map(|(step, took, note)| EventKind::UndoDone {
            step,
            took,
            note
        }),
        (step(), failure()).prop_map(|(step, failure)| EventKind::UndoFailed { step, failure }),
        (any::<bool>(), option::of(step())).prop_map(|(forward, interrupted)| {
            EventKind::Resumed {
                forward,
                interrupted,
            }
        }),
        text().prop_map(|message| EventKind::Warning { message }),
        duration().prop_map(|took| EventKind::Completed { took }),
        (duration(), failure()).prop_map(|(took, failure)| EventKind::Undone { took, failure }),
        (duration(), failure()).prop_map(|(took, failure)| EventKind::Stuck { took, failure }),
        snapshot_event().prop_map(EventKind::Snapshot),
    ]
}

fn job_kind() -> impl Strategy<Value = JobKind> {
    proptest::sample::select(&JobKind::ALL[..])
}

fn snapshot_event() -> impl Strategy<Value = SnapshotEvent> {
    let text = any::<String>;
    let ending = || (job_kind(), duration(), failure());
    prop_oneof![
        job_kind().prop_map(|job| SnapshotEvent::Started { job }),
        job_kind().prop_map(|job| SnapshotEvent::Resumed { job }),
        (job_kind(), duration(), text(), vec(text(), 0..3)).prop_map(|(job, took, note, dumps)| {
            SnapshotEvent::Completed {
                job,
                took,
                note,
                dumps,
            }
        }),
        (ending(), vec(text(), 0..3)).prop_map(|((job, took, failure), dumps)| {
            SnapshotEvent::Failed {
                job,
                took,
                failure,
                dumps,
            }
        }),
        ending().prop_map(|(job, took, failure)| SnapshotEvent::Stuck { job, took, failure }),
        (job_kind(), failure()).prop_map(|(job, failure)| SnapshotEvent::Skipped { job, failure }),
        text().prop_map(|dump| SnapshotEvent::Spooled { dump }),
        text().prop_map(|dump| SnapshotEvent::Delivered { dump }),
        text().prop_map(|why| SnapshotEvent::Overdue { why }),
        duration().prop_map(|took| SnapshotEvent::OverdueEnded { took }),
    ]
}

prop_compose! {
    fn event()(
        (id, operation_id) in (ulid(), ulid()), sequence: u64, node: String, operator: String,
        version: String, at in timestamp(), kind in event_kind(),
    ) -> Event {
        Event { id, operation_id, sequence, node, operator, version, at, kind }
    }
}

fn schema() -> impl Strategy<Value = Schema> {
    prop_oneof![
        Just(Schema::NoDatabase),
        Just(Schema::Empty),
        Just(Schema::Unversioned),
        any::<(u64, bool)>().prop_map(|(version, dirty)| Schema::At { version, dirty }),
    ]
}

/// Through the encoded bytes, as on the wire.
fn there_and_back<W, M>(model: M) -> Result<M, WireError>
where
    W: Message + Default + From<M>,
    M: TryFrom<W, Error = WireError>,
{
    let bytes = W::from(model).encode_to_vec();
    W::decode(&bytes[..]).unwrap().try_into()
}

/// As long as whole milliseconds: JSON has no finer ones.
fn in_millis(mut event: Event) -> Event {
    use SnapshotEvent::{Completed, Failed, OverdueEnded, Stuck};
    if let EventKind::StepDone { took, .. }
    | EventKind::StepFailed { took, .. }
    | EventKind::UndoDone { took, .. }
    | EventKind::Completed { took }
    | EventKind::Undone { took, .. }
    | EventKind::Stuck { took, .. }
    | EventKind::Snapshot(
        Completed { took, .. } | Failed { took, .. } | Stuck { took, .. } | OverdueEnded { took },
    ) = &mut event.kind
    {
        *took = Duration::from_millis(took.as_millis().try_into().unwrap());
    }
    event
}

proptest! {
    #[test]
    fn an_event_is_read_from_the_journal_as_it_was_written(event in event().prop_map(in_millis)) {
        let json = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn an_event_comes_back_as_it_was(event in event()) {
        prop_assert_eq!(there_and_back::<v1::Event, _>(event.clone()), Ok(event));
    }

    #[test]
    fn a_plan_comes_back_as_it_was(plan in plan()) {
        prop_assert_eq!(there_and_back::<v1::Plan, _>(plan.clone()), Ok(plan));
    }

    #[test]
    fn an_operation_comes_back_as_it_was(operation in operation()) {
        prop_assert_eq!(there_and_back::<v1::Operation, _>(operation.clone()), Ok(operation));
    }

    #[test]
    fn a_schema_comes_back_as_it_was(schema in schema()) {
        prop_assert_eq!(there_and_back::<v1::Schema, _>(schema), Ok(schema));
        let unknown: v1::Schema = None.into();
        prop_assert_eq!(Option::<Schema>::try_from(unknown), Ok(None));
    }

    #[test]
    fn a_lease_comes_back_as_it_was(
        holder in ulid(), operator: String, fencing: u64,
        acquired_at in timestamp(), expires_at in timestamp(),
    ) {
        let lease = Lease { holder, operator, fencing, acquired_at, expires_at };
        prop_assert_eq!(there_and_back::<v1::Lease, _>(lease.clone()), Ok(lease));
    }

    #[test]
    fn a_failure_travels_inside_a_status(failure in failure()) {
        prop_assert_eq!(failure_of(&to_status(&failure)), Some(failure));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(wire) = v1::Plan::decode(&bytes[..]) {
            let _ = Plan::try_from(wire);
        }
        if let Ok(wire) = v1::Event::decode(&bytes[..]) {
            let _ = Event::try_from(wire);
        }
        let status = tonic::Status::with_details(tonic::Code::Internal, "", bytes.into());
        let _ = failure_of(&status);
    }
}

#[test]
fn an_error_names_the_field_by_its_path() {
    let plan = v1::Plan {
        operation_id: Ulid::nil().to_string(),
        kind: v1::OperationKind::Deploy.into(),
        release: Digest::of(b"").to_string(),
        to: v1::Slot::Blue.into(),
        steps: vec![
            PlannedStep {
                step: Step::Soak,
                skip: None,
                note: None,
            }
            .into(),
            v1::PlannedStep {
                step: 99,
                skip: None,
                note: None,
            },
        ],
        ..v1::Plan::default()
    };
    let error = Plan::try_from(plan).unwrap_err();
    assert_eq!(error.field(), "steps[1].step");
    assert!(
        error
            .to_string()
            .contains("99 is not known to this version"),
        "{error}"
    );

    let error = Event::try_from(v1::Event::default()).unwrap_err();
    assert_eq!(error, WireError::missing("id"));
}

#[test]
fn a_status_without_our_details_holds_no_failure() {
    assert_eq!(failure_of(&tonic::Status::unavailable("proxy")), None);
}

#[test]
fn every_method_of_the_services_is_named_and_no_other() {
    let pool = prost_reflect::DescriptorPool::decode(DESCRIPTORS).unwrap();
    let described: BTreeSet<String> = pool
        .services()
        .flat_map(|service| {
            let methods = service.methods().map(|method| method.name().to_owned());
            let name = service.full_name().to_owned();
            methods
                .map(move |method| format!("/{name}/{method}"))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(described, method::ALL.map(str::to_owned).into());
}
