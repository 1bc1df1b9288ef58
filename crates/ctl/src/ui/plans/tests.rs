use std::time::Duration;

use togather_model::{Digest, Live, OperationKind, PlannedStep, Slot, Step, Ulid};

use super::*;
use crate::error::Error;

fn plan(node: &str, from: Option<&str>, migrations: &[u64], to_run: &[Step]) -> NodePlan {
    let digest = Digest::of(b"release");
    let step = |&step: &Step| PlannedStep {
        step,
        skip: (!to_run.contains(&step)).then(|| "nothing to do".to_owned()),
        note: (step == Step::Soak).then(|| "watches `http_requests_total`".to_owned()),
    };
    NodePlan {
        plan: Plan {
            operation_id: Ulid::nil(),
            kind: OperationKind::Deploy,
            node: node.into(),
            release: digest,
            version: "2.0.0".into(),
            git_commit: "a".repeat(40),
            from: from.map(|version| Live {
                slot: Slot::Blue,
                release: digest,
                version: version.into(),
                git_commit: "b".repeat(40),
                schema: 3,
                other_lines: [].into(),
                made_of: None,
            }),
            live_verdict: None,
            to: Slot::Green,
            schema_before: Some(3),
            migrations: migrations.into(),
            other_lines: vec![],
            steps: Step::ALL.iter().map(step).collect(),
            soak: Duration::from_secs(30),
            warnings: vec!["the release has no attestation".into()],
            configuration: None,
            app_configuration: None,
            made_of: None,
        },
        image_missing: false,
        canary: node == "node-1",
    }
}

#[test]
fn a_plan_reads_aloud() {
    let quick = [Step::StartSlot, Step::AwaitHealthy, Step::SwitchTraffic];
    let survey = Survey {
        plans: vec![
            plan("node-1", Some("1.0.0"), &[4, 5, 6], &Step::ALL),
            plan("node-2", Some("1.0.0"), &[], &quick),
            plan("node-3", Some("2.0.0"), &[], &[]),
            plan("node-4", None, &[6], &Step::ALL),
        ],
        behind: vec![("node-5".into(), Error::unreachable("gone"))],
    };
    insta::assert_snapshot!(text(&survey));
}
