//! The roles that a dump's owners and privileges name, made where they are missing.
//!
//! Roles that are there stay as they are. Passwords are not in a snapshot: a role that logs in gets
//! its own set by whoever runs the node.

use std::collections::BTreeSet;

use togather_model::Digest;

use super::{Dumps, error::SnapshotError, manifest::Manifest, store::Store};
use crate::database::quoted;

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
        let mut statements = missing(&sql, &there);
        if !self.database.is_superuser().await? {
            for statement in &mut statements {
                *statement = as_far_as_allowed(statement);
            }
        }
        Ok(self.database.make_roles(&statements).await?)
    }
}

/// Of what `pg_dumpall --globals-only` wrote, the statements about roles that are not there.
fn missing(sql: &str, there: &BTreeSet<String>) -> Vec<String> {
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
    let missing = sql.lines().filter(is_about_a_new_role);
    missing.map(str::to_owned).collect()
}

/// What only a superuser may give, or already has by being new.
const NOT_SAID: [&str; 8] = [
    "SUPERUSER",
    "NOSUPERUSER",
    "REPLICATION",
    "NOREPLICATION",
    "BYPASSRLS",
    "NOBYPASSRLS",
    "NOCREATEROLE",
    "NOCREATEDB",
];

/// The statement as whoever is no superuser may run it (at RDS and Cloud SQL nobody is one): even
/// `NOSUPERUSER` is refused there, and so is granting in somebody else's name.
fn as_far_as_allowed(statement: &str) -> String {
    if let Some(rest) = statement.strip_prefix("ALTER ROLE ") {
        let (name, after) = identifier(rest);
        if let Some(attributes) = after.strip_prefix(" WITH ") {
            let attributes = attributes.trim_end_matches(';').split(' ');
            let (left_out, kept): (Vec<_>, Vec<_>) =
                attributes.partition(|word| NOT_SAID.contains(word));
            let lost: Vec<_> = left_out
                .iter()
                .filter(|word| !word.starts_with("NO"))
                .collect();
            if !lost.is_empty() {
                tracing::warn!(
                    role = name,
                    ?lost,
                    "the role is made without this: only a superuser could give it"
                );
            }
            return format!("ALTER ROLE {} WITH {};", quoted(&name), kept.join(" "));
        }
    }
    match statement.rsplit_once(" GRANTED BY ") {
        Some((grant, _)) if statement.starts_with("GRANT ") => format!("{grant};"),
        _ => statement.to_owned(),
    }
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

    #[test]
    fn who_is_no_superuser_says_only_what_is_allowed() {
        for (said, expected) in [
            ("CREATE ROLE guest;", "CREATE ROLE guest;"),
            (
                "ALTER ROLE \"odd \"\"one\" WITH NOSUPERUSER NOINHERIT NOCREATEROLE CREATEDB LOGIN NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 5;",
                "ALTER ROLE \"odd \"\"one\" WITH NOINHERIT CREATEDB LOGIN CONNECTION LIMIT 5;",
            ),
            (
                "ALTER ROLE boss WITH SUPERUSER INHERIT CREATEROLE CREATEDB NOLOGIN REPLICATION BYPASSRLS;",
                "ALTER ROLE \"boss\" WITH INHERIT CREATEROLE CREATEDB NOLOGIN;",
            ),
            (
                "ALTER ROLE guest SET search_path TO 'SUPERUSER';",
                "ALTER ROLE guest SET search_path TO 'SUPERUSER';",
            ),
            (
                "GRANT curator TO guest WITH INHERIT TRUE GRANTED BY \"the boss\";",
                "GRANT curator TO guest WITH INHERIT TRUE;",
            ),
        ] {
            assert_eq!(as_far_as_allowed(said), expected);
        }
    }
}
