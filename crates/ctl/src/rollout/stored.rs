//! A rollout in the form in which nodes keep it: JSON, with the release file beside it.

use serde::{Deserialize, Serialize};
use togather_model::rollout::Rollout;
use togather_proto::v1;

/// The `schema` field of a stored rollout.
pub const SCHEMA: &str = "togather.fleet/rollout/v1";

#[derive(Serialize, Deserialize)]
struct Stored {
    schema: String,
    #[serde(flatten)]
    rollout: Rollout,
}

/// A rollout as nodes keep it, with its release file.
///
/// # Errors
/// Why it cannot be written as JSON.
pub fn write(rollout: &Rollout, release: bytes::Bytes) -> Result<v1::StoredRollout, String> {
    let stored = Stored {
        schema: SCHEMA.to_owned(),
        rollout: rollout.clone(),
    };
    let json = serde_json::to_vec(&stored).map_err(|error| error.to_string())?;
    Ok(v1::StoredRollout {
        rollout: json.into(),
        release,
    })
}

/// Reads what a node kept.
///
/// # Errors
/// What is wrong with it.
pub fn read(stored: &v1::StoredRollout) -> Result<Rollout, String> {
    let stored: Stored =
        serde_json::from_slice(&stored.rollout).map_err(|error| error.to_string())?;
    if stored.schema != SCHEMA {
        return Err(format!(
            "expected schema `{SCHEMA}`, found `{}`",
            stored.schema
        ));
    }
    Ok(stored.rollout)
}
