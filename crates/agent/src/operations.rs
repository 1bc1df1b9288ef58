//! Deployments and rollbacks, one at a time: from an order to a plan, from a plan to its ending.
//!
//! What was begun is carried on whether or not anyone stays connected, and taken up again when the
//! agent was interrupted.

mod schema;
mod wanted;

use std::{
    sync::{Arc, Mutex as Lock, MutexGuard, PoisonError},
    time::Duration,
};

use togather_model::{
    Failure, FailureKind, Operation, OperationState, Plan, Ulid,
    planner::{self, Request},
};
use togather_trust::OperatorName;
use tokio::sync::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    deploy::{Deployment, journal::new_id},
    fetches, jobs,
    leases::{self, Proof},
    node::Node,
    state::StateError,
};

pub use schema::Said;
use wanted::Chosen;
pub use wanted::Wanted;

/// How long to wait before an interrupted operation, whose journal could not be read, is tried
/// again.
const RETRY: Duration = Duration::from_secs(5);

/// The node's deployments and rollbacks.
#[derive(Clone)]
pub struct Operations {
    node: Node,
    under_way: TaskTracker,
    /// Between the look at what is under way and the entry in the journal, nobody else may begin.
    beginning: Arc<Mutex<()>>,
    /// Why an interrupted operation is not taken up yet, as far as was tried.
    not_taken_up: Arc<Lock<Option<String>>>,
    stopping: CancellationToken,
}

/// A deployment or rollback that was ordered.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// The operation's id, chosen by whoever orders it.
    pub id: Ulid,
    /// Who orders it.
    pub operator: OperatorName,
    /// What is wanted.
    pub wanted: Wanted,
    /// A soak other than the node's own.
    pub soak: Option<Duration>,
    /// The lease it is ordered under.
    pub lease: Proof,
}

/// What a node would do.
#[derive(Debug)]
pub struct Preview {
    /// The plan, or everything that stands in the way.
    pub plan: Result<Plan, Vec<Failure>>,
    /// The image comes as an archive that is not on the node yet.
    pub image_missing: bool,
}

impl Operations {
    /// The operations of this node.
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self {
            node,
            under_way: TaskTracker::new(),
            beginning: Arc::default(),
            not_taken_up: Arc::default(),
            stopping: CancellationToken::new(),
        }
    }

    /// Says what would be done. Changes nothing.
    pub async fn preview(&self, wanted: &Wanted, soak: Option<Duration>) -> Preview {
        let refused = |failure| Preview {
            plan: Err(vec![failure]),
            image_missing: false,
        };
        let (node, chosen) = match wanted.choose_of(&self.node).await {
            Ok(chosen) => chosen,
            Err(failure) => return refused(failure),
        };
        let id = new_id(node.host.now());
        Preview {
            plan: plan(&node, &chosen, id, soak).await,
            image_missing: chosen.image_missing(&node).await,
        }
    }

    /// Begins an operation, or returns the one with this id if the node knows it.
    ///
    /// The call may be given up at any moment: what was begun is carried out all the same.
    ///
    /// # Errors
    /// The lease is not the operator's, another operation is under way, or something stands in the
    /// way of the plan. Nothing was begun.
    pub async fn begin(&self, ordered: Ordered) -> Result<Operation, Failure> {
        let this = self.clone();
        let beginning = tokio::spawn(async move { this.begin_alone(ordered).await });
        beginning.await.unwrap_or_else(|broken| {
            Err(Failure::caused_by(
                FailureKind::Other,
                "beginning the operation was broken off",
                &broken,
            )
            .next("look at the agent's journal on the node"))
        })
    }

    async fn begin_alone(&self, ordered: Ordered) -> Result<Operation, Failure> {
        let _alone = self.beginning.lock().await;
        let state = &self.node.state;
        let known = state.operation(ordered.id).await;
        if let Some(known) = known.map_err(|e| unreadable(&e))? {
            return ordered.wanted.must_be_that_of(&known).map(|()| known);
        }
        if self.under_way.is_closed() {
            return Err(Failure::new(FailureKind::Held, "the agent is stopping")
                .next("send the command again once it has started"));
        }
        leases::check(&self.node, &ordered.operator, ordered.lease).await?;
        if let Some((running, _)) = state.running().await.map_err(|e| unreadable(&e))? {
            return Err(leases::busy(&running));
        }
        let job = state.running_job().await.map_err(|e| unreadable(&e))?;
        if let Some(job) = job.filter(|running| running.job.swaps()) {
            return Err(jobs::held_by(&job.job));
        }
        let (node, chosen) = ordered.wanted.choose_of(&self.node).await?;
        let plan = plan(&node, &chosen, ordered.id, ordered.soak).await;
        let plan = plan.map_err(one_of)?;
        // Looking at the node takes a moment; the lease may have been lost in it.
        leases::check(&self.node, &ordered.operator, ordered.lease).await?;
        let operation = self.operation(&ordered, &plan);
        chosen.keep(&self.node).await.map_err(|e| unreadable(&e))?;
        let begun = state.begin_operation(&operation, &plan).await;
        begun.map_err(|e| unreadable(&e))?;
        self.carry_out(node, operation.clone(), plan, chosen);
        Ok(operation)
    }

    fn operation(&self, ordered: &Ordered, plan: &Plan) -> Operation {
        Operation {
            id: ordered.id,
            kind: plan.kind,
            operator: ordered.operator.to_string(),
            rollout: Some(ordered.lease.holder),
            release: plan.release,
            version: plan.version.clone(),
            state: OperationState::Running,
            started_at: self.node.host.now(),
            ended_at: None,
            failure: None,
        }
    }

    fn carry_out(&self, node: Node, operation: Operation, plan: Plan, chosen: Chosen) {
        let stopping = self.stopping.clone();
        self.under_way.spawn(async move {
            let deployment =
                Deployment::new(&node, &operation, &plan, &chosen.release).until(stopping);
            let ending = Box::pin(deployment.carry_out()).await;
            tracing::info!(operation = %operation.id, %ending, "operation ended");
        });
    }

    /// Takes up what an interruption left, if anything. Until that has ended, nothing else begins.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn resume(&self) -> Result<Option<Operation>, StateError> {
        let Some((operation, plan)) = self.node.state.running().await? else {
            return Ok(None);
        };
        let (this, found) = (self.clone(), operation.clone());
        self.under_way.spawn(async move {
            while let Err(failure) = Box::pin(this.take_up(&operation, &plan)).await {
                tracing::error!(operation = %operation.id, %failure, "it could not be taken up; trying again");
                *this.trouble() = Some(format!(
                    "the deployment of {} was interrupted and is not taken up yet: {failure}",
                    operation.version
                ));
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = this.stopping.cancelled() => return,
                }
            }
            *this.trouble() = None;
        });
        Ok(Some(found))
    }

    /// Which interrupted operation is not taken up yet and why, in a sentence.
    #[must_use]
    pub fn not_taken_up(&self) -> Option<String> {
        self.trouble().clone()
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.not_taken_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn take_up(&self, operation: &Operation, plan: &Plan) -> Result<(), Failure> {
        let node = &self.begun_with(plan);
        let release = node.state.release(operation.release).await;
        let release = release.map_err(|e| unreadable(&e))?.ok_or_else(|| {
            let what = format!(
                "the release {} is not in the agent's state",
                operation.release
            );
            Failure::new(FailureKind::Other, what)
        })?;
        // From here on it is under way, and tells of itself.
        *self.trouble() = None;
        let deployment = Deployment::new(node, operation, plan, &release);
        let ending = deployment.until(self.stopping.clone()).resume().await?;
        tracing::info!(operation = %operation.id, %ending, "the interrupted operation ended");
        Ok(())
    }

    /// The node as it was when this was begun, whatever has become of its files since.
    fn begun_with(&self, plan: &Plan) -> Node {
        let Some(id) = plan.configuration else {
            return self.node.in_force();
        };
        let configuration = &self.node.configuration;
        let earlier = configuration.earlier(&self.node, id);
        let earlier = earlier.and_then(|node| match plan.app_configuration {
            Some(app) => configuration.with_app_of(&node, app),
            None => Ok(node),
        });
        earlier.unwrap_or_else(|failure| {
            tracing::warn!(%failure, "the files it was begun with are no longer available; it goes on with the files as they are now");
            self.node.in_force()
        })
    }

    /// Waits for what is under way, at most this long. Returns whether anything still is; that is
    /// taken up when the agent starts again.
    pub async fn wait(&self, within: Duration) -> bool {
        self.stopping.cancel();
        self.under_way.close();
        tokio::time::timeout(within, self.under_way.wait())
            .await
            .is_err()
    }
}

async fn plan(
    node: &Node,
    chosen: &Chosen,
    operation_id: Ulid,
    soak: Option<Duration>,
) -> Result<Plan, Vec<Failure>> {
    let request = Request {
        operation_id,
        kind: chosen.kind,
        release_id: chosen.release_id,
        made_of: node.containers.made_of(),
        soak,
        pages: node
            .expect
            .as_slice()
            .iter()
            .map(|page| page.path.clone())
            .collect(),
        compares_with_live: node.acceptance.no_worse_than_live,
    };
    let mut observed = node.observe().await;
    let unfit = fetches::unfit(node, &chosen.release.image).await;
    observed.problems.extend(unfit);
    let mut plan = planner::plan(&observed, &chosen.release, &node.strategy, &request)?;
    plan.configuration = node.configured;
    plan.app_configuration = node.app_configured;
    plan.warnings.extend(chosen.warning.clone());
    plan.warnings.extend(node.warnings.iter().cloned());
    if plan.is_already_done() {
        // Nothing is made: what is there stays as it was made.
        plan.made_of = plan.from.as_ref().and_then(|live| live.made_of);
    }
    Ok(plan)
}

/// Several refusals as one: the first decides, the others are told with it.
fn one_of(refusals: Vec<Failure>) -> Failure {
    let mut refusals = refusals.into_iter();
    let Some(mut first) = refusals.next() else {
        return Failure::new(FailureKind::Other, "the node refused without a reason");
    };
    for other in refusals {
        first.causes.push(format!("also, {other}"));
        first.next.extend(other.next);
    }
    first
}

fn unreadable(error: &StateError) -> Failure {
    match error {
        StateError::Busy => Failure::new(FailureKind::Held, error.to_string())
            .next("wait for it to end, then run the command again"),
        StateError::Sqlite(_) | StateError::Schema(_) | StateError::Unreadable { .. } => {
            Failure::caused_by(FailureKind::Other, "nothing was begun", error)
                .next("look at `df -h` and the agent's journal on the node")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use togather_model::Digest;

    use crate::{
        configuration::Configuration,
        deploy::tests::fakes::{World, release},
    };

    #[tokio::test]
    async fn what_cannot_be_taken_up_is_told() {
        let world = World::with_one_version_live("1.0.0").await;
        let (operation, plan) = world.deployment();
        let begun = world.state.begin_operation(&operation, &plan).await;
        begun.unwrap();
        world.state.fill_the_disk(true).await;
        let operations = Operations::new(world.node());
        operations.resume().await.unwrap().unwrap();
        let told = async {
            loop {
                match operations.not_taken_up() {
                    Some(told) => break told,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(10), told).await;
        let told = told.unwrap();
        assert!(told.contains("the journal could not be written"), "{told}");
        assert!(!operations.wait(Duration::from_secs(10)).await, "given up");
    }

    /// Files that somebody edited into nonsense.
    struct Broken;

    impl Configuration for Broken {
        fn now(&self, _: &Node) -> Result<Node, Failure> {
            Err(Failure::new(
                FailureKind::Configuration,
                "deployment.yml is wrong",
            ))
        }

        fn in_force(&self, node: &Node) -> Node {
            node.clone()
        }

        fn earlier(&self, node: &Node, _: Digest) -> Result<Node, Failure> {
            Ok(node.clone())
        }

        fn with_app_of(&self, node: &Node, _: Digest) -> Result<Node, Failure> {
            Ok(node.clone())
        }

        fn forget_all_but(&self, _: &[Digest]) {}
    }

    #[tokio::test]
    async fn broken_files_refuse_a_deployment_and_let_a_node_go_back() {
        let world = World::with_one_version_live("1.0.0").await;
        let operations = Operations::new(Node {
            configuration: Arc::new(Broken),
            ..world.node()
        });
        let release = Wanted::Release(release("2.0.0", 2).to_bytes().unwrap().into());
        let refused = operations.preview(&release, None).await.plan.unwrap_err();
        assert_eq!(refused[0].kind, FailureKind::Configuration);
        let back = operations.preview(&Wanted::Back(None), None).await;
        let refused = back.plan.unwrap_err();
        assert!(
            refused[0].what.contains("before the live one"),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn a_plan_tells_what_will_be_asked_and_what_is_doubtful() {
        let world = World::with_one_version_live("1.0.0").await;
        let node = Node {
            warnings: ["a password looks percent-encoded".to_owned()].into(),
            ..world.node()
        };
        let wanted = Wanted::Release(release("2.0.0", 2).to_bytes().unwrap().into());
        let plan = Operations::new(node).preview(&wanted, None).await.plan;
        let plan = plan.unwrap();
        let notes: Vec<_> = plan
            .steps
            .iter()
            .filter_map(|s| s.note.as_deref())
            .collect();
        assert_eq!(
            notes,
            [
                "both versions at once: 2 × 25 of the database's 97 connections",
                "asks for 1 page: /page",
                "asks for the page again",
            ]
        );
        let told = plan.warnings.join("\n");
        assert!(told.contains("whether visitors get here"), "{told}");
        assert!(
            told.contains("no series whose name ends with `http_requests_total`"),
            "{told}"
        );
        assert!(told.contains("a password looks percent-encoded"), "{told}");
    }

    /// With a version live it would be migrated and switched in vain; a new node may come to it yet.
    #[tokio::test]
    async fn an_address_that_nothing_can_be_proven_through_refuses_unless_nothing_is_live() {
        let wanted = Wanted::Release(release("2.0.0", 2).to_bytes().unwrap().into());
        for (world, is_refused) in [
            (World::with_one_version_live("1.0.0").await, true),
            (World::empty().await, false),
        ] {
            world.hide_the_public_address();
            let plan = Operations::new(world.node())
                .preview(&wanted, None)
                .await
                .plan;
            let told = match (plan, is_refused) {
                (Err(refusals), true) => refusals[0].what.clone(),
                (Ok(plan), false) => plan.warnings.join("\n"),
                (other, _) => panic!("{other:?}"),
            };
            assert!(
                told.contains("nothing answers for the public address"),
                "{told}"
            );
        }
    }

    #[test]
    fn of_several_refusals_the_first_decides_and_none_is_lost() {
        let refusals = vec![
            Failure::new(FailureKind::Migration, "the schema is dirty").next("repair it"),
            Failure::new(FailureKind::Other, "the disk is full").next("free some room"),
        ];
        let failure = one_of(refusals);
        assert_eq!(failure.kind, FailureKind::Migration);
        assert_eq!(
            failure.to_string(),
            "the schema is dirty: also, the disk is full"
        );
        assert_eq!(failure.next, ["repair it", "free some room"]);
    }
}
