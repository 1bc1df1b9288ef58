//! Who may do what: `roles.yml` gives each operator one role; whoever is not in it may do nothing.
//!
//! ```yaml
//! operators:
//!   alice: admin
//!   bob: viewer
//! ```

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{name::OperatorName, refusal::Refusal};

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Look: status, history, plans, events.
    Read,
    /// Create and verify snapshots.
    Snapshot,
    /// Roll out, roll back, clean up.
    Deploy,
    /// Restore, delete, change keys, force a lock open.
    Administer,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Snapshot, Self::Deploy, Self::Administer];
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Snapshot => "take snapshots",
            Self::Deploy => "deploy",
            Self::Administer => "administer",
        })
    }
}

/// What an operator is to a node; each role may do what the one before it may, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Creates and verifies snapshots too.
    Snapshotter,
    /// Deploys too, which takes snapshots on the way.
    Deployer,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Snapshotter, Self::Deployer, Self::Admin];

    /// Whether the role may do this.
    #[must_use]
    pub fn allows(self, permission: Permission) -> bool {
        self >= match permission {
            Permission::Read => Self::Viewer,
            Permission::Snapshot => Self::Snapshotter,
            Permission::Deploy => Self::Deployer,
            Permission::Administer => Self::Admin,
        }
    }

    /// The role's name in `roles.yml`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Snapshotter => "snapshotter",
            Self::Deployer => "deployer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a roles file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RolesError {
    /// The system refused to read it.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not what a roles file looks like.
    #[error("{} is not a roles file; expected `operators:` with a line `name: viewer|snapshotter|deployer|admin` for each", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<serde_saphyr::Error>,
    },
}

/// Each operator's role on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    #[serde(default, deserialize_with = "none_is_empty")]
    operators: BTreeMap<OperatorName, Role>,
}

impl Roles {
    /// Reads `roles.yml`; a file that is missing or empty gives nobody a role.
    ///
    /// # Errors
    /// If it cannot be read, or with line and column if it is something else.
    pub fn load(path: &Path) -> Result<Self, RolesError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|source| RolesError::Parse {
                path: path.to_owned(),
                source,
            }),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(RolesError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Reads the text of a roles file. An unknown key, role or an operator named twice is an error.
    ///
    /// # Errors
    /// With line, column and what was expected.
    pub fn parse(text: &str) -> Result<Self, Box<serde_saphyr::Error>> {
        let roles: Option<Self> = serde_saphyr::from_str(text)?;
        Ok(roles.unwrap_or_default())
    }

    /// The operator's role, if there is one.
    #[must_use]
    pub fn role_of(&self, operator: &OperatorName) -> Option<Role> {
        self.operators.get(operator).copied()
    }

    /// Whether the operator may do this. No role, no permission.
    ///
    /// # Errors
    /// [`Refusal::RoleMissing`].
    pub fn check(&self, operator: &OperatorName, permission: Permission) -> Result<(), Refusal> {
        let role = self.role_of(operator);
        if role.is_some_and(|role| role.allows(permission)) {
            return Ok(());
        }
        Err(Refusal::RoleMissing {
            operator: operator.clone(),
            role,
            permission,
        })
    }

    /// Gives an operator a role, in place of the one they had.
    pub fn set(&mut self, operator: OperatorName, role: Role) {
        self.operators.insert(operator, role);
    }

    /// Every operator with their role, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OperatorName, Role)> {
        self.operators.iter().map(|(name, role)| (name, *role))
    }

    /// The text of a roles file that says the same.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        // Quoted, because YAML reads some plain names (`null`, `no`, `007`) as something else.
        let line = |(name, role)| format!("  \"{name}\": {role}\n");
        format!("operators:\n{}", self.iter().map(line).collect::<String>())
    }
}

/// `operators:` with nothing after it is an empty list, not an error.
fn none_is_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<OperatorName, Role>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> OperatorName {
        text.parse().unwrap()
    }

    #[test]
    fn every_role_against_every_permission() {
        let allowed = |role: Role| Permission::ALL.map(|permission| role.allows(permission));
        assert_eq!(allowed(Role::Viewer), [true, false, false, false]);
        assert_eq!(allowed(Role::Snapshotter), [true, true, false, false]);
        assert_eq!(allowed(Role::Deployer), [true, true, true, false]);
        assert_eq!(allowed(Role::Admin), [true, true, true, true]);
    }

    #[test]
    fn whoever_is_not_named_may_do_nothing() {
        let roles = Roles::parse("operators: { alice: admin, bob: viewer }").unwrap();
        assert_eq!(roles.check(&name("alice"), Permission::Administer), Ok(()));
        assert_eq!(
            roles
                .check(&name("bob"), Permission::Deploy)
                .unwrap_err()
                .code(),
            "role_missing"
        );
        assert_eq!(
            roles
                .check(&name("eve"), Permission::Read)
                .unwrap_err()
                .code(),
            "role_missing"
        );
    }

    #[test]
    fn a_missing_or_empty_file_gives_nobody_a_role() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Roles::load(&folder.path().join("none.yml")).unwrap(),
            Roles::default()
        );
        for empty in [
            "",
            "\n",
            "# nobody yet\n",
            "operators:\n",
            "operators: {}\n",
        ] {
            assert_eq!(Roles::parse(empty).unwrap(), Roles::default(), "{empty:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_its_line() {
        for (bad, line) in [
            ("operators:\n  alice: king\n", "2"),
            ("operators:\n  Alice: admin\n", "2"),
            ("operators: {}\ngroups: {}\n", "2"),
            ("operators:\n  alice: viewer\n  alice: admin\n", "3"),
            ("operators: [alice]\n", "1"),
        ] {
            let error = Roles::parse(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}")), "{bad:?}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut roles = Roles::default();
        for (n, operator) in ["alice", "null", "true", "007", "no", "1e3"]
            .into_iter()
            .enumerate()
        {
            roles.set(name(operator), Role::ALL[n % 4]);
        }
        assert_eq!(Roles::parse(&roles.to_yaml()).unwrap(), roles);
        assert_eq!(
            Roles::parse(&Roles::default().to_yaml()).unwrap(),
            Roles::default()
        );
    }
}
