//! The paths of the RPCs, as gRPC sends them and as signed commands name them.

/// Says what a deployment would do.
pub const PLAN: &str = "/togather.fleet.v1.DeploymentService/Plan";
/// Begins a deployment.
pub const DEPLOY: &str = "/togather.fleet.v1.DeploymentService/Deploy";
/// Begins a rollback.
pub const ROLLBACK: &str = "/togather.fleet.v1.DeploymentService/Rollback";
/// Begins to make the live release anew.
pub const REDEPLOY: &str = "/togather.fleet.v1.DeploymentService/Redeploy";
/// Streams an operation's events.
pub const FOLLOW: &str = "/togather.fleet.v1.DeploymentService/Follow";
/// Lists operations.
pub const HISTORY: &str = "/togather.fleet.v1.DeploymentService/History";
/// Streams an image archive to the node.
pub const LOAD_IMAGE: &str = "/togather.fleet.v1.DeploymentService/LoadImage";
/// Fetches a release's image ahead of its deployment.
pub const FETCH_IMAGE: &str = "/togather.fleet.v1.DeploymentService/FetchImage";
/// Lists snapshots.
pub const LIST_SNAPSHOTS: &str = "/togather.fleet.v1.SnapshotService/List";
/// Begins to take a snapshot.
pub const CREATE_SNAPSHOT: &str = "/togather.fleet.v1.SnapshotService/Create";
/// Begins to prove a snapshot.
pub const VERIFY_SNAPSHOT: &str = "/togather.fleet.v1.SnapshotService/Verify";
/// Begins to put a snapshot in the live database's place.
pub const RESTORE_SNAPSHOT: &str = "/togather.fleet.v1.SnapshotService/Restore";
/// Begins to take a restore back.
pub const UNDO_RESTORE: &str = "/togather.fleet.v1.SnapshotService/UndoRestore";
/// Begins to forget snapshots.
pub const PRUNE_SNAPSHOTS: &str = "/togather.fleet.v1.SnapshotService/Prune";
/// Streams how far a job is.
pub const WATCH_JOB: &str = "/togather.fleet.v1.SnapshotService/Watch";
/// Says what is true on the node.
pub const STATUS: &str = "/togather.fleet.v1.NodeService/Status";
/// Lists rollouts.
pub const ROLLOUTS: &str = "/togather.fleet.v1.NodeService/Rollouts";
/// Takes the node's lease.
pub const ACQUIRE_LEASE: &str = "/togather.fleet.v1.NodeService/AcquireLease";
/// Moves the lease's end.
pub const RENEW_LEASE: &str = "/togather.fleet.v1.NodeService/RenewLease";
/// Ends the lease.
pub const RELEASE_LEASE: &str = "/togather.fleet.v1.NodeService/ReleaseLease";
/// Says that a rollout is over.
pub const END_ROLLOUT: &str = "/togather.fleet.v1.NodeService/EndRollout";
/// Says what the schema is.
pub const SET_SCHEMA: &str = "/togather.fleet.v1.NodeService/SetSchema";

/// All of them.
pub const ALL: [&str; 22] = [
    PLAN,
    DEPLOY,
    ROLLBACK,
    REDEPLOY,
    FOLLOW,
    HISTORY,
    LOAD_IMAGE,
    FETCH_IMAGE,
    LIST_SNAPSHOTS,
    CREATE_SNAPSHOT,
    VERIFY_SNAPSHOT,
    RESTORE_SNAPSHOT,
    UNDO_RESTORE,
    PRUNE_SNAPSHOTS,
    WATCH_JOB,
    STATUS,
    ROLLOUTS,
    ACQUIRE_LEASE,
    RENEW_LEASE,
    RELEASE_LEASE,
    END_ROLLOUT,
    SET_SCHEMA,
];
