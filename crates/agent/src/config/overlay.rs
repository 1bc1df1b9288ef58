//! A provider's overlay: the same keys as `deployment.yml`, and `snapshots` of `agent.yml`, merged
//! over them key by key; lists are replaced, not joined.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use togather_model::Strategy;

use super::{
    AgentFile, AppSettings, ConfigError, DatabaseSection, DeploymentFile, DockerSettings,
    ProxySettings, SnapshotStore, read,
};

/// Everything that an overlay may change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Overlay {
    snapshots: SnapshotStore,
    app: AppSettings,
    database: DatabaseSection,
    proxy: ProxySettings,
    docker: DockerSettings,
    strategy: Strategy,
}

/// Merges the overlay in this file over both.
///
/// The file is read twice: once as what it means, so that every error has its line, and once as it
/// is written, to know which of the values were written and which are defaults.
pub(super) fn apply(
    path: &Path,
    agent: AgentFile,
    deployment: DeploymentFile,
) -> Result<(AgentFile, DeploymentFile), ConfigError> {
    let text = read(path)?;
    let wrong = |error| ConfigError::yaml(path, &text, &error);
    let Some(meant) = serde_saphyr::from_str::<Option<Overlay>>(&text).map_err(wrong)? else {
        return Ok((agent, deployment));
    };
    let mut written: Value = serde_saphyr::from_str(&text).map_err(wrong)?;
    rename_old_key(&mut written);
    let below = Overlay {
        snapshots: agent.snapshots.clone(),
        app: deployment.app,
        database: deployment.database,
        proxy: deployment.proxy,
        docker: deployment.docker,
        strategy: deployment.strategy,
    };
    let unmergeable = |error: serde_json::Error| ConfigError::Yaml {
        path: path.to_owned(),
        line: 1,
        key: None,
        problem: error.to_string(),
    };
    let mut merged = serde_json::to_value(below).map_err(unmergeable)?;
    let meant = serde_json::to_value(meant).map_err(unmergeable)?;
    merge(&mut merged, &meant, &written);
    let merged: Overlay = serde_json::from_value(merged).map_err(unmergeable)?;
    let agent = AgentFile {
        snapshots: merged.snapshots,
        ..agent
    };
    let deployment = DeploymentFile {
        app: merged.app,
        database: merged.database,
        proxy: merged.proxy,
        docker: merged.docker,
        strategy: merged.strategy,
    };
    Ok((agent, deployment))
}

/// `proxy.admin` was called `admin_socket` once; what was written under the one name is looked up
/// under the other.
fn rename_old_key(written: &mut Value) {
    if let Some(Value::Object(proxy)) = written.get_mut("proxy")
        && let Some(value) = proxy.remove("admin_socket")
    {
        proxy.insert("admin".to_owned(), value);
    }
}

/// Puts those of the upper values that were written over the lower ones.
fn merge(lower: &mut Value, upper: &Value, written: &Value) {
    match (lower, upper, written) {
        (Value::Object(lower), Value::Object(upper), Value::Object(written)) => {
            for (key, written) in written {
                if let (Some(lower), Some(upper)) = (lower.get_mut(key), upper.get(key)) {
                    merge(lower, upper, written);
                }
            }
        }
        (lower, upper, _) => *lower = upper.clone(),
    }
}
