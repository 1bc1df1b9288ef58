use proptest::prelude::*;

use super::*;

fn rollout(nodes: usize, on_failure: OnFailure, unreachable: Unreachable) -> Rollout {
    Rollout {
        id: Ulid::nil(),
        operator: "alice".into(),
        release: Digest::of(b"release"),
        version: "2.0.0".into(),
        nodes: (0..nodes).map(|n| format!("node-{n}")).collect(),
        canary: 1,
        soak: Some(Duration::from_secs(5)),
        canary_soak: Some(Duration::from_secs(60)),
        on_failure,
        unreachable,
        created_at: Timestamp::UNIX_EPOCH,
        redeploy: false,
    }
}

/// What the world answers when a node is deployed to or taken back.
fn outcomes() -> impl Strategy<Value = Vec<Progress>> {
    let outcome = prop_oneof![
        6 => Just(Progress::Done),
        1 => Just(Progress::Unchanged),
        1 => Just(Progress::Failed),
        1 => Just(Progress::Behind),
        1 => Just(Progress::Stuck),
    ];
    proptest::collection::vec(outcome, 1..8)
}

/// Carries a rollout out in a world where each node's outcome is given; returns the order touched.
fn carry_out(
    rollout: &Rollout,
    outcomes: &[Progress],
) -> (Ending, Vec<String>, BTreeMap<String, Progress>) {
    let mut progress = BTreeMap::new();
    let mut touched = Vec::new();
    for _ in 0..100 {
        match next(rollout, &progress) {
            Next::Follow(node) => panic!("nothing is left running, yet {node} is followed"),
            Next::Deploy(node) => {
                let index = rollout.nodes.iter().position(|n| n == node).unwrap();
                progress.insert(node.to_owned(), outcomes[index]);
                touched.push(node.to_owned());
            }
            Next::TakeBack(node) => {
                assert_eq!(progress[node], Progress::Done);
                progress.insert(node.to_owned(), Progress::TakenBack);
            }
            Next::Finish(ending) => return (ending, touched, progress),
        }
    }
    panic!("the rollout does not end");
}

proptest! {
    #[test]
    fn a_rollout_ends_and_touches_nodes_in_order_and_none_after_a_failure(
        outcomes in outcomes(), undo: bool, skip: bool,
    ) {
        let on_failure = if undo { OnFailure::Undo } else { OnFailure::Halt };
        let unreachable = if skip { Unreachable::Skip } else { Unreachable::Stop };
        let rollout = rollout(outcomes.len(), on_failure, unreachable);
        let (ending, touched, progress) = carry_out(&rollout, &outcomes);

        prop_assert_eq!(&touched[..], &rollout.nodes[..touched.len()]);
        let stops = |p: &Progress| match p {
            Progress::Failed | Progress::Stuck => true,
            Progress::Behind => !skip,
            Progress::Pending
            | Progress::Running
            | Progress::Done
            | Progress::Unchanged
            | Progress::TakenBack
            | Progress::NotTakenBack => false,
        };
        let first_stop = outcomes.iter().position(stops);
        prop_assert_eq!(touched.len(), first_stop.map_or(outcomes.len(), |i| i + 1));

        let still_done = progress.values().filter(|p| **p == Progress::Done).count();
        match ending {
            Ending::Done => prop_assert!(first_stop.is_none()),
            Ending::Behind => prop_assert!(outcomes.contains(&Progress::Behind)),
            Ending::Halted => prop_assert!(!undo),
            Ending::Undone => prop_assert!(undo && still_done == 0),
            Ending::Stuck => prop_assert!(outcomes.contains(&Progress::Stuck)),
        }
    }
}

#[test]
fn a_deployment_under_way_is_followed_before_anything_else() {
    let rollout = rollout(3, OnFailure::Undo, Unreachable::Stop);
    let progress = [
        ("node-0".to_owned(), Progress::Failed),
        ("node-1".to_owned(), Progress::Running),
    ];
    assert_eq!(next(&rollout, &progress.into()), Next::Follow("node-1"));
}

#[test]
fn only_canaries_are_watched_longer() {
    let rollout = rollout(2, OnFailure::Halt, Unreachable::Stop);
    assert_eq!(rollout.soak_of("node-0"), Some(Duration::from_secs(60)));
    assert_eq!(rollout.soak_of("node-1"), Some(Duration::from_secs(5)));
}
