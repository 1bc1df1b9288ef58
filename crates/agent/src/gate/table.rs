//! What each call needs. A call that is not in the table is refused to everybody.

use togather_proto::method;
use togather_trust::Permission;

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// An operator's certificate, and a role that may look.
    Read,
    /// A command signed by an operator who may do this.
    Signed(Permission),
}

/// What the call with this path needs; `None`: there is no such call.
#[must_use]
pub fn need_of(path: &str) -> Option<Need> {
    Some(match path {
        method::PLAN
        | method::FOLLOW
        | method::HISTORY
        | method::LIST_SNAPSHOTS
        | method::WATCH_JOB
        | method::STATUS
        | method::ROLLOUTS => Need::Read,
        method::DEPLOY
        | method::ROLLBACK
        | method::REDEPLOY
        | method::LOAD_IMAGE
        | method::FETCH_IMAGE
        | method::ACQUIRE_LEASE
        | method::RENEW_LEASE
        | method::RELEASE_LEASE
        | method::END_ROLLOUT => Need::Signed(Permission::Deploy),
        method::CREATE_SNAPSHOT | method::VERIFY_SNAPSHOT => Need::Signed(Permission::Snapshot),
        method::RESTORE_SNAPSHOT
        | method::UNDO_RESTORE
        | method::PRUNE_SNAPSHOTS
        | method::SET_SCHEMA => Need::Signed(Permission::Administer),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Every call of every service: its path, and whether it takes a signed command.
    fn calls() -> Vec<(String, bool)> {
        let files = FileDescriptorSet::decode(togather_proto::DESCRIPTORS)
            .unwrap()
            .file;
        let mut calls = Vec::new();
        for file in files {
            for service in &file.service {
                for call in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), call.name());
                    let takes_command = call.input_type().ends_with(".SignedCommand")
                        || call.input_type().ends_with(".LoadImageRequest");
                    calls.push((path, takes_command));
                }
            }
        }
        calls
    }

    /// A new call fails here until somebody has decided who may make it.
    #[test]
    fn every_call_has_an_entry_and_those_that_take_a_command_are_signed() {
        let calls = calls();
        assert_eq!(calls.len(), method::ALL.len());
        for (path, takes_command) in calls {
            let need = need_of(&path).unwrap_or_else(|| panic!("{path} is not in the table"));
            assert_eq!(matches!(need, Need::Signed(_)), takes_command, "{path}");
        }
    }

    #[test]
    fn anything_else_is_no_call() {
        for path in [
            "",
            "/",
            "/togather.fleet.v1.NodeService/status",
            "/grpc.health.v1.Health/Check",
        ] {
            assert_eq!(need_of(path), None, "{path}");
        }
    }
}
