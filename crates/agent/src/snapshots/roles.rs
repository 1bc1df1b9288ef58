//! The roles that a dump's owners, privileges and policies name, made where they are missing.
//!
//! Roles that are there stay as they are. Passwords are not in a snapshot: a role that logs in gets
//! its own set by whoever runs the node. For a proof, roles that nobody can log in as stand in for
//! what is missing, and go with the scratch database.

use std::collections::{BTreeMap, BTreeSet};

use togather_model::{Digest, Ulid};

use super::{Dumps, error::SnapshotError, manifest::Manifest, prove::Purpose, store::Store};
use crate::{database::quoted, migrations::Statements};

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
    /// Makes the roles of a snapshot that the server does not have. Returns what is otherwise with
    /// them than it was, a phrase each.
    pub(super) async fn make_roles(
        &self,
        globals: &[u8],
        purpose: Purpose,
        operation: Ulid,
    ) -> Result<Vec<String>, SnapshotError> {
        let there: BTreeSet<String> = self.database.roles().await?.into_iter().collect();
        let sql = String::from_utf8_lossy(globals);
        let missing = Missing::of(&sql, &there);
        match purpose {
            Purpose::Use => {
                let privileged = self.database.is_superuser().await?;
                let mut made = missing.made(&there, privileged);
                self.database.make_roles(&made.roles).await?;
                let refused = self.database.run_each(&made.rest).await?;
                made.notes.extend(refused);
                Ok(made.notes)
            }
            Purpose::Proof => {
                let names: Vec<String> = missing.roles.into_keys().collect();
                let stand_ins = self.database.make_stand_ins(&names, operation);
                // Most snapshots can be proven without; if this one cannot, pg_restore names the role.
                if let Err(error) = stand_ins.await {
                    tracing::warn!(%error, "nothing stands in for the snapshot's missing roles");
                }
                Ok(vec![])
            }
        }
    }
}

/// Of what `pg_dumpall --globals-only` wrote, what is about roles that are not there.
#[derive(Debug, Default)]
struct Missing<'s> {
    /// The roles and their attributes.
    roles: BTreeMap<String, Vec<&'s str>>,
    /// What is set for, and said of, these roles.
    settings: Vec<&'s str>,
    /// Who is a member of what: role, member, statement.
    memberships: Vec<(String, String, &'s str)>,
}

/// The statements that make roles, and what is to be told of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Made {
    /// They make the roles themselves.
    roles: Vec<String>,
    /// They give the roles what they had; the roles are of use without.
    rest: Vec<String>,
    notes: Vec<String>,
}

/// What only a superuser may give. A role that was a superuser elsewhere does not become one here:
/// whoever can write to a snapshot store would be one, too.
const SUPERUSER: &str = "SUPERUSER";
const PRIVILEGED: [&str; 2] = ["REPLICATION", "BYPASSRLS"];

impl<'s> Missing<'s> {
    fn of(sql: &'s str, there: &BTreeSet<String>) -> Self {
        let mut missing = Self::default();
        // Told apart as PostgreSQL does: what looks like a statement may stand in a text that any
        // role can set for itself.
        let statements: Vec<&str> = Statements::of(sql).texts().collect();
        for statement in &statements {
            if let Some(rest) = statement.strip_prefix("CREATE ROLE ") {
                let (name, _) = identifier(rest);
                if !there.contains(&name) {
                    missing.roles.entry(name).or_default();
                }
            }
        }
        for statement in statements {
            missing.note(statement);
        }
        missing
    }

    fn note(&mut self, statement: &'s str) {
        if let Some(rest) = statement.strip_prefix("ALTER ROLE ") {
            let (name, rest) = identifier(rest);
            let Some(attributes) = self.roles.get_mut(&name) else {
                return;
            };
            match rest.strip_prefix(" WITH ") {
                Some(words) => attributes.extend(words.split_ascii_whitespace()),
                None => self.settings.push(statement),
            }
        } else if let Some(rest) = statement.strip_prefix("COMMENT ON ROLE ") {
            if self.roles.contains_key(&identifier(rest).0) {
                self.settings.push(statement);
            }
        } else if let Some(rest) = statement.strip_prefix("GRANT ") {
            let (role, rest) = identifier(rest);
            let Some(rest) = rest.strip_prefix(" TO ") else {
                return;
            };
            let (member, _) = identifier(rest);
            if self.roles.contains_key(&role) || self.roles.contains_key(&member) {
                self.memberships.push((role, member, statement));
            }
        }
    }

    /// How to make them, as somebody who is or is not a superuser.
    fn made(&self, there: &BTreeSet<String>, as_superuser: bool) -> Made {
        let mut made = Made::default();
        let (mut without_password, mut less) = (Vec::new(), Vec::new());
        for (name, attributes) in &self.roles {
            let is_lost =
                |word: &&&str| **word == SUPERUSER || (!as_superuser && PRIVILEGED.contains(*word));
            let lost: Vec<&str> = attributes.iter().filter(is_lost).copied().collect();
            if !lost.is_empty() {
                less.push(format!("{} ({})", quoted(name), lost.join(" ")));
            }
            if attributes.contains(&"LOGIN") {
                without_password.push(quoted(name));
            }
            // A new role has none of what begins with NO, and not everybody may even say so.
            let is_said =
                |word: &&&str| !is_lost(word) && (!word.starts_with("NO") || **word == "NOINHERIT");
            let said: Vec<&str> = attributes.iter().filter(is_said).copied().collect();
            let (name, said) = (quoted(name), said.join(" "));
            let make = format!("CREATE ROLE {name} {said}");
            made.roles.push(format!("{};", make.trim_end()));
        }
        made.rest
            .extend(self.settings.iter().map(ToString::to_string));
        for (role, member, grant) in &self.memberships {
            let is_known = |name: &String| there.contains(name) || self.roles.contains_key(name);
            match is_known(role) && is_known(member) {
                true => made.rest.push(as_our_own(grant).to_owned()),
                false => made.notes.push(format!(
                    "`{grant}` was left out: this server does not know both of them"
                )),
            }
        }
        if !less.is_empty() {
            made.notes.push(format!(
                "these roles were made without what could harm the server: {}; `ALTER ROLE …` gives it back",
                less.join(", ")
            ));
        }
        if !without_password.is_empty() {
            made.notes.push(format!(
                "these roles were made without a password: {}; set theirs with `ALTER ROLE … PASSWORD '…'`",
                without_password.join(", ")
            ));
        }
        made
    }
}

/// The grant without the name of who gave it, who may not be there or may not have the right.
fn as_our_own(grant: &str) -> &str {
    let by = " GRANTED BY ";
    // At the end, and quoted if need be: what comes before in quotes is a name as well.
    let end = grant
        .match_indices(by)
        .map(|(at, _)| at)
        .find(|at| identifier(&grant[at + by.len()..]).1.is_empty());
    &grant[..end.unwrap_or(grant.len())]
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

    fn made(sql: &str, there: &[&str], as_superuser: bool) -> Made {
        let there: BTreeSet<String> = there.iter().copied().map(String::from).collect();
        Missing::of(sql, &there).made(&there, as_superuser)
    }

    #[test]
    fn only_what_is_missing_is_made() {
        let sql = "--\nSET default_transaction_read_only = off;\n\
            CREATE ROLE togather;\nALTER ROLE togather WITH SUPERUSER LOGIN;\n\
            CREATE ROLE \"odd \"\"one\";\nALTER ROLE \"odd \"\"one\" WITH NOSUPERUSER NOINHERIT NOLOGIN;\n\
            ALTER ROLE \"odd \"\"one\" SET search_path TO 'odd', 'public';\n\
            COMMENT ON ROLE \"odd \"\"one\" IS 'it''s odd';\nCOMMENT ON ROLE togather IS 'known';\n\
            CREATE TABLESPACE fast OWNER togather LOCATION '/fast';\n\
            GRANT pg_read_all_data TO togather;\n";
        assert_eq!(
            made(sql, &["togather", "pg_read_all_data"], true),
            Made {
                roles: vec!["CREATE ROLE \"odd \"\"one\" NOINHERIT;".into()],
                rest: [
                    "ALTER ROLE \"odd \"\"one\" SET search_path TO 'odd', 'public'",
                    "COMMENT ON ROLE \"odd \"\"one\" IS 'it''s odd'",
                ]
                .map(String::from)
                .into(),
                notes: vec![],
            }
        );
    }

    #[test]
    fn memberships_are_made_where_either_of_the_two_is_new() {
        let sql = "CREATE ROLE reader;\nCREATE ROLE grafana;\n\
            GRANT reader TO grafana WITH INHERIT TRUE GRANTED BY postgres;\n\
            GRANT reader TO togather WITH ADMIN OPTION, INHERIT FALSE GRANTED BY \"a GRANTED BY b\";\n\
            GRANT togather TO \"x GRANTED BY y\" GRANTED BY postgres;\n\
            GRANT pg_maintain TO reader;\n";
        let made = made(sql, &["togather", "grafana", "x GRANTED BY y"], true);
        assert_eq!(made.roles, ["CREATE ROLE \"reader\";"]);
        assert_eq!(
            made.rest,
            [
                "GRANT reader TO grafana WITH INHERIT TRUE",
                "GRANT reader TO togather WITH ADMIN OPTION, INHERIT FALSE",
            ]
        );
        assert_eq!(made.notes.len(), 1);
        assert!(made.notes[0].starts_with("`GRANT pg_maintain TO reader` was left out"));
        assert_eq!(
            as_our_own("GRANT a TO \"x GRANTED BY y\" GRANTED BY \"p q\""),
            "GRANT a TO \"x GRANTED BY y\""
        );
    }

    #[test]
    fn nobody_becomes_a_superuser_by_a_restore_and_who_needs_a_password_is_told() {
        let sql = "CREATE ROLE boss;\n\
            ALTER ROLE boss WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS \
            CONNECTION LIMIT 3 VALID UNTIL '2030-01-01 00:00:00+00';\n";
        let told = |made: &Made, text: &str| made.notes.iter().any(|note| note.contains(text));
        let all = made(sql, &[], true);
        assert_eq!(
            all.roles,
            [
                "CREATE ROLE \"boss\" INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS \
                 CONNECTION LIMIT 3 VALID UNTIL '2030-01-01 00:00:00+00';"
            ]
        );
        assert!(told(&all, "\"boss\" (SUPERUSER)"), "{all:?}");
        assert!(told(&all, "without a password: \"boss\""), "{all:?}");
        let some = made(sql, &[], false);
        assert!(!some.roles[0].contains("BYPASSRLS"), "{some:?}");
        assert!(told(&some, "(SUPERUSER REPLICATION BYPASSRLS)"), "{some:?}");
    }

    #[test]
    fn what_looks_like_a_statement_in_a_text_is_none() {
        let sql = "CREATE ROLE guest;\nALTER ROLE guest SET app.note TO 'x\n\
            GRANT pg_execute_server_program TO guest;\n';\n";
        let made = made(sql, &["pg_execute_server_program"], true);
        assert_eq!(made.rest.len(), 1, "{made:?}");
        assert!(made.rest[0].starts_with("ALTER ROLE guest SET app.note"));
    }
}
