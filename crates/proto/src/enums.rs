//! Enumerations: on the wire a number, where zero and numbers of a newer version mean nothing here.

use togather_model::{FailureKind, JobKind, OperationKind, OperationState, Slot, Step};

use crate::{error::WireError, v1};

/// The model and the wire call these variants the same; a new one does not compile until both do.
macro_rules! same_variants {
    ($name:ident { $($variant:ident),+ $(,)? }) => {
        impl From<$name> for v1::$name {
            fn from(model: $name) -> Self {
                match model {
                    $($name::$variant => Self::$variant),+
                }
            }
        }

        impl TryFrom<v1::$name> for $name {
            type Error = WireError;

            fn try_from(wire: v1::$name) -> Result<Self, WireError> {
                match wire {
                    v1::$name::Unspecified => Err(WireError::missing(stringify!($name))),
                    $(v1::$name::$variant => Ok(Self::$variant)),+
                }
            }
        }

        impl ReadNumber for $name {
            fn read_number(field: &str, number: i32) -> Result<Self, WireError> {
                match v1::$name::try_from(number) {
                    Ok(v1::$name::Unspecified) => Err(WireError::missing(field)),
                    Ok(wire) => Self::try_from(wire),
                    Err(_) => Err(WireError::invalid(
                        field,
                        format_args!("{number} is not known to this version"),
                    )),
                }
            }
        }
    };
}

/// Reads an enumeration out of a field's number.
pub(crate) trait ReadNumber: Sized {
    fn read_number(field: &str, number: i32) -> Result<Self, WireError>;
}

same_variants!(Slot { Blue, Green });
same_variants!(OperationKind {
    Deploy,
    Rollback,
    Redeploy
});
same_variants!(OperationState {
    Running,
    Done,
    Undone,
    Stuck
});
same_variants!(JobKind {
    Create,
    Verify,
    Restore,
    UndoRestore,
    Prune,
});
same_variants!(FailureKind {
    Other,
    Held,
    Unhealthy,
    Migration,
    Unreachable,
    NotAllowed,
    Stuck,
    Configuration,
});
same_variants!(Step {
    VerifyRelease,
    Preflight,
    FetchImage,
    BaseServices,
    Snapshot,
    Rehearse,
    Migrate,
    Prepare,
    StartSlot,
    AwaitHealthy,
    RunHooks,
    SwitchTraffic,
    ProveTraffic,
    RetireOldSlot,
    Soak,
});

/// The number of a model's enumeration on the wire.
pub(crate) fn number<W>(model: impl Into<W>) -> i32
where
    W: Into<i32>,
{
    model.into().into()
}

/// Reads a step that may be there: the wire says zero when it is not.
pub(crate) fn optional_step(field: &str, number: i32) -> Result<Option<Step>, WireError> {
    if number == 0 {
        return Ok(None);
    }
    Step::read_number(field, number).map(Some)
}
