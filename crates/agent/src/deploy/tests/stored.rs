//! A deployment that an earlier version of the agent began, and this one takes up.
//!
//! The texts beside this file were written by the last version that knew fourteen steps, before there
//! was `prepare`: the release, and the row of the operation with its plan.

use super::*;
use crate::operations::Operations;

const RELEASE: &[u8] = include_bytes!("fourteen_steps/release.json");
const OPERATION: &str = include_str!("fourteen_steps/operation.json");
const PLAN: &str = include_str!("fourteen_steps/plan.json");

#[tokio::test]
async fn a_deployment_of_fourteen_steps_is_taken_up_wherever_it_was_interrupted() {
    let steps = Step::ALL.into_iter().filter(|step| *step != Step::Prepare);
    for (nth, last) in (1..).zip(steps) {
        let world = World::with_one_version_live(OLD).await;
        world.state.keep_release(RELEASE).await.unwrap();
        world.state.store_operation(OPERATION, PLAN).await;
        let (operation, plan) = world.state.running().await.unwrap().unwrap();
        assert_eq!(plan.steps.len(), 14);

        world.inject_after_step(last);
        let release = world.state.release(operation.release).await;
        let release = release.unwrap().expect("by the digest it had then");
        let node = world.node();
        let interrupted = Deployment::new(&node, &operation, &plan, &release);
        tokio::select! {
            ending = interrupted.carry_out() => panic!("{last}: {ending}"),
            () = world.power_cut() => {}
        }
        let done = world.events().await;
        let is_done = |event: &&Event| matches!(event.kind, EventKind::StepDone { .. });
        assert_eq!(done.iter().filter(is_done).count(), nth, "{last}");

        world.end_of_fault();
        let agent = Operations::new(world.node());
        agent.resume().await.unwrap().unwrap();
        assert!(!agent.wait(Duration::from_secs(60)).await, "{last}");
        let ended = world.state.operation(operation.id).await.unwrap().unwrap();
        let expected = match last >= Step::SwitchTraffic {
            true => OperationState::Done,
            false => OperationState::Undone,
        };
        assert_eq!(ended.state, expected, "{last}: {:?}", ended.failure);
        assert_on_one_known_version(&world, ended.state, last.as_str());
        assert!(!world.was_called("containers.run_errand"), "{last}");
    }
}
