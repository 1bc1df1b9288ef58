//! The state of a node: its schema and its lease.

use togather_model::{Lease, Schema};

use crate::{
    error::{WireError, parse},
    time,
    v1::{self, schema::State},
};

impl From<Schema> for v1::Schema {
    fn from(schema: Schema) -> Self {
        let (state, version, dirty) = match schema {
            Schema::NoDatabase => (State::NoDatabase, None, false),
            Schema::Empty => (State::Empty, None, false),
            Schema::Unversioned => (State::Unversioned, None, false),
            Schema::At { version, dirty } => (State::At, Some(version), dirty),
        };
        Self {
            state: state.into(),
            version,
            dirty,
        }
    }
}

/// `None`: the database could not be asked.
impl From<Option<Schema>> for v1::Schema {
    fn from(schema: Option<Schema>) -> Self {
        schema.map_or_else(
            || Self {
                state: State::Unknown.into(),
                version: None,
                dirty: false,
            },
            Into::into,
        )
    }
}

/// `None`: the database could not be asked.
impl TryFrom<v1::Schema> for Option<Schema> {
    type Error = WireError;

    fn try_from(wire: v1::Schema) -> Result<Self, WireError> {
        let state =
            State::try_from(wire.state).map_err(|error| WireError::invalid("state", error))?;
        Ok(match state {
            State::Unspecified => return Err(WireError::missing("state")),
            State::Unknown => None,
            State::NoDatabase => Some(Schema::NoDatabase),
            State::Empty => Some(Schema::Empty),
            State::Unversioned => Some(Schema::Unversioned),
            State::At => Some(Schema::At {
                version: wire.version.ok_or_else(|| WireError::missing("version"))?,
                dirty: wire.dirty,
            }),
        })
    }
}

impl TryFrom<v1::Schema> for Schema {
    type Error = WireError;

    fn try_from(wire: v1::Schema) -> Result<Self, WireError> {
        Option::<Self>::try_from(wire)?
            .ok_or_else(|| WireError::invalid("state", "the database could not be asked"))
    }
}

impl From<Lease> for v1::Lease {
    fn from(lease: Lease) -> Self {
        Self {
            holder: lease.holder.to_string(),
            operator: lease.operator,
            fencing: lease.fencing,
            acquired_at: Some(time::timestamp(lease.acquired_at)),
            expires_at: Some(time::timestamp(lease.expires_at)),
        }
    }
}

impl TryFrom<v1::Lease> for Lease {
    type Error = WireError;

    fn try_from(wire: v1::Lease) -> Result<Self, WireError> {
        Ok(Self {
            holder: parse("holder", &wire.holder)?,
            operator: wire.operator,
            fencing: wire.fencing,
            acquired_at: time::read_timestamp("acquired_at", wire.acquired_at)?,
            expires_at: time::read_timestamp("expires_at", wire.expires_at)?,
        })
    }
}
