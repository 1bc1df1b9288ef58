//! The roles that a dump's owners and privileges name, made where they are missing.
//!
//! Roles that are there stay as they are. Passwords are not in a snapshot: a role that logs in gets
//! its own set by whoever runs the node.

use std::collections::BTreeSet;

use togather_model::Digest;

use super::{Dumps, error::SnapshotError, manifest::Manifest, store::Store};

impl Store {
    /// The roles of this snapshot, as SQL.
    pub(super) async fn globals(&self, manifest: &Manifest) -> Result<Vec<u8>, SnapshotError> {
        let globals = &manifest.globals;
        let sql = self.bytes(&globals.name, globals.bytes).await?;
        match Digest::of(&sql) == globals.sha256 {
            true => Ok(sql),
            false => Err(SnapshotError::Damaged {
                dump: globals.name.clone(),
                why: "its SHA-256 is not the one that was stored".into(),
            }),
        }
    }
}

impl Dumps {
    /// Makes the roles of a snapshot that the server does not have.
    pub(super) async fn make_roles(&self, globals: &[u8]) -> Result<(), SnapshotError> {
        let there: BTreeSet<String> = self.database.roles().await?.into_iter().collect();
        let sql = String::from_utf8_lossy(globals);
        Ok(self.database.make_roles(&missing(&sql, &there)).await?)
    }
}

/// Of what `pg_dumpall --globals-only` wrote, the statements about roles that are not there.
fn missing<'s>(sql: &'s str, there: &BTreeSet<String>) -> Vec<&'s str> {
    let is_about_a_new_role = |line: &&str| {
        let role = ["CREATE ROLE ", "ALTER ROLE "]
            .iter()
            .find_map(|begin| line.strip_prefix(begin))
            .map(|rest| identifier(rest).0)
            .or_else(|| {
                let (_, member) = line.strip_prefix("GRANT ")?.split_once(" TO ")?;
                Some(identifier(member).0)
            });
        line.ends_with(';') && role.is_some_and(|role| !there.contains(&role))
    };
    sql.lines().filter(is_about_a_new_role).collect()
}

/// The identifier at the beginning, and what comes after it.
fn identifier(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ';']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut name = String::new();
    let mut rest = quoted;
    while let Some((before, after)) = rest.split_once('"') {
        name.push_str(before);
        rest = after;
        let Some(more) = rest.strip_prefix('"') else {
            break;
        };
        name.push('"');
        rest = more;
    }
    (name, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_made() {
        let sql = "--\nSET default_transaction_read_only = off;\n\
            CREATE ROLE togather;\nALTER ROLE togather WITH SUPERUSER LOGIN;\n\
            CREATE ROLE \"odd \"\"one\";\nALTER ROLE \"odd \"\"one\" WITH NOLOGIN;\n\
            CREATE TABLESPACE fast OWNER togather LOCATION '/fast';\n\
            GRANT pg_read_all_data TO \"odd \"\"one\" WITH INHERIT TRUE GRANTED BY togather;\n\
            GRANT pg_read_all_data TO togather;\n";
        let there = ["togather".to_owned()].into();
        assert_eq!(
            missing(sql, &there),
            [
                "CREATE ROLE \"odd \"\"one\";",
                "ALTER ROLE \"odd \"\"one\" WITH NOLOGIN;",
                "GRANT pg_read_all_data TO \"odd \"\"one\" WITH INHERIT TRUE GRANTED BY togather;",
            ]
        );
    }
}
