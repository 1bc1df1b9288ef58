//! The paths of the RPCs, as gRPC sends them and as signed commands name them.

/// Says what a deployment would do.
pub const PLAN: &str = "/togather.fleet.v1.DeploymentService/Plan";
/// Begins a deployment.
pub const DEPLOY: &str = "/togather.fleet.v1.DeploymentService/Deploy";
/// Begins a rollback.
pub const ROLLBACK: &str = "/togather.fleet.v1.DeploymentService/Rollback";
/// Streams an operation's events.
pub const FOLLOW: &str = "/togather.fleet.v1.DeploymentService/Follow";
/// Lists operations.
pub const HISTORY: &str = "/togather.fleet.v1.DeploymentService/History";
/// Streams an image archive to the node.
pub const LOAD_IMAGE: &str = "/togather.fleet.v1.DeploymentService/LoadImage";
/// Lists snapshots.
pub const LIST_SNAPSHOTS: &str = "/togather.fleet.v1.SnapshotService/List";
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

/// All of them.
pub const ALL: [&str; 13] = [
    PLAN,
    DEPLOY,
    ROLLBACK,
    FOLLOW,
    HISTORY,
    LOAD_IMAGE,
    LIST_SNAPSHOTS,
    STATUS,
    ROLLOUTS,
    ACQUIRE_LEASE,
    RENEW_LEASE,
    RELEASE_LEASE,
    END_ROLLOUT,
];
