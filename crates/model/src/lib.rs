//! The words of the field: what a release, a plan, a step, an event, a lease and a rollout *are*,
//! and every decision that can be made from values alone.
//!
//! Nothing here reads a clock, a file or a socket: `now` and what was observed are arguments, so
//! that each decision can be printed, stored, sent, replayed and tested.

pub mod digest;
pub mod event;
pub mod failure;
pub mod fitness;
pub mod image_reference;
pub mod job;
pub mod lease;
pub mod line;
pub mod observed;
pub mod operation;
pub mod page;
pub mod plan;
pub mod planner;
pub mod release;
pub mod retention;
pub mod rollout;
pub mod settings;
pub mod slot;
pub mod span;
pub mod step;

pub use digest::Digest;
pub use event::{Event, EventKind, SnapshotEvent};
pub use failure::{Failure, FailureKind};
pub use fitness::{Acceptable, Acceptance, Demand, Verdict};
pub use image_reference::{ImageReference, NotAnImageReference};
pub use job::JobKind;
pub use lease::Lease;
pub use line::Line;
pub use observed::{Connections, Live, Observed, Schema, Series};
pub use operation::{Operation, OperationKind, OperationState};
pub use page::{MOST_PAGES, Page, Pages};
pub use plan::{Plan, PlannedLine, PlannedStep};
pub use release::{Hook, Image, Migration, Release};
pub use settings::Strategy;
pub use slot::Slot;
pub use step::{Step, Undo};

pub use jiff::Timestamp;
pub use ulid::Ulid;
