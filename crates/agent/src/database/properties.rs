//! What belongs to a database itself and to nothing in it: whose it is, who may connect, what is set
//! for it. A dump of one database holds none of that.

use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use togather_model::Ulid;

use super::{Postgres, error::DatabaseError, literal, quoted, scratch_name};

/// Through JSON, because the columns for locales differ between versions of the server.
const READ: &str = "
SELECT jsonb_build_object(
    'encoding', pg_encoding_to_char(d.encoding),
    'collate', d.datcollate,
    'ctype', d.datctype,
    'provider', to_jsonb(d) ->> 'datlocprovider',
    'locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
    'icu_rules', to_jsonb(d) ->> 'daticurules',
    'owner', pg_get_userbyid(d.datdba),
    'connection_limit', d.datconnlimit,
    'comment', shobj_description(d.oid, 'pg_database'),
    'privileges', CASE WHEN d.datacl IS NOT NULL THEN (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'grantee', CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END,
            'privilege', a.privilege_type,
            'grantable', a.is_grantable) ORDER BY a.grantee, a.privilege_type), '[]')
        FROM aclexplode(d.datacl) a) END,
    'settings', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'role', CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END,
            'name', split_part(c, '=', 1),
            'value', substr(c, strpos(c, '=') + 1)) ORDER BY s.setrole, c), '[]')
        FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setdatabase = d.oid),
    'lacks_public_schema', d.datname = current_database()
        AND NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public'),
    'subscriptions', (
        SELECT coalesce(jsonb_agg(s.subname ORDER BY s.subname), '[]')
        FROM pg_subscription s WHERE s.subdbid = d.oid)
)::text
FROM pg_database d WHERE d.datname = $1";

/// What belongs to a database itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// Its encoding, for example `UTF8`.
    pub encoding: String,
    /// How it sorts text, for example `en_US.utf8`.
    pub collate: String,
    /// What it takes for letters.
    pub ctype: String,
    /// Who sorts: `c` the C library, `i` ICU, `b` PostgreSQL itself; `None`: the server has no choice.
    pub provider: Option<String>,
    /// The locale of ICU, or of PostgreSQL itself.
    pub locale: Option<String>,
    /// Rules on top of ICU's.
    pub icu_rules: Option<String>,
    /// The role it belongs to.
    pub owner: String,
    /// How many sessions it allows; -1: no limit.
    pub connection_limit: i32,
    /// What somebody noted about it.
    pub comment: Option<String>,
    /// Who may do what with it; `None`: as with any new database.
    pub privileges: Option<Vec<Privilege>>,
    /// What is set for its sessions.
    pub settings: Vec<Setting>,
    /// The schema `public`, which any new database has, was dropped. False where that was not looked
    /// at.
    pub lacks_public_schema: bool,
    /// Its subscriptions to what others publish. They are not restored.
    pub subscriptions: Vec<String>,
}

/// Something a role may do with a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privilege {
    /// The role; `None`: everybody.
    pub grantee: Option<String>,
    /// `CONNECT`, `CREATE` or `TEMPORARY`.
    pub privilege: String,
    /// Whether the role may give it to others.
    pub grantable: bool,
}

/// A parameter set for the sessions of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Only for this role's sessions; `None`: for all.
    pub role: Option<String>,
    /// The parameter.
    pub name: String,
    /// Its value, as PostgreSQL keeps it.
    pub value: String,
}

impl Properties {
    /// Those of the database with this name, if there is one.
    pub(crate) async fn read(
        connection: &mut PgConnection,
        database: &str,
    ) -> Result<Option<Self>, DatabaseError> {
        let doing = "the database's properties could not be read";
        let text: Option<String> = sqlx::query_scalar(READ)
            .bind(database)
            .fetch_optional(connection)
            .await
            .map_err(|e| DatabaseError::from_sqlx(doing, e))?;
        let parsed = text.map(|text| serde_json::from_str(&text)).transpose();
        parsed.map_err(|e| DatabaseError::Broken {
            doing,
            source: Box::new(e),
        })
    }

    /// The statement that makes an empty database that sorts and encodes text as this one does. Made
    /// from `template0`: what somebody added to `template1` must not meet what is restored.
    pub(super) fn create_statement(&self, name: &str) -> String {
        let mut create = format!(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
            quoted(name),
            literal(&self.encoding),
            literal(&self.collate),
            literal(&self.ctype)
        );
        let locale = self.locale.as_deref().unwrap_or_default();
        match self.provider.as_deref() {
            Some("i") => {
                create.push_str(" LOCALE_PROVIDER icu ICU_LOCALE ");
                create.push_str(&literal(locale));
                if let Some(rules) = &self.icu_rules {
                    create.push_str(" ICU_RULES ");
                    create.push_str(&literal(rules));
                }
            }
            Some("b") => {
                create.push_str(" LOCALE_PROVIDER builtin BUILTIN_LOCALE ");
                create.push_str(&literal(locale));
            }
            Some(_) => create.push_str(" LOCALE_PROVIDER libc"),
            None => {}
        }
        create
    }

    /// The statements that give these to the database with this name, but for its settings. The
    /// owner comes first: what is granted after that is granted by the owner.
    fn statements(&self, name: &str) -> Vec<String> {
        let (name, owner) = (quoted(name), quoted(&self.owner));
        let mut statements = vec![
            format!("ALTER DATABASE {name} OWNER TO {owner}"),
            format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"),
        ];
        match &self.privileges {
            None => statements.push(format!(
                "GRANT CONNECT, TEMPORARY ON DATABASE {name} TO PUBLIC"
            )),
            Some(privileges) => {
                statements.push(format!("REVOKE ALL ON DATABASE {name} FROM {owner}"));
                statements.extend(privileges.iter().map(|given| given.statement(&name)));
            }
        }
        if let Some(comment) = &self.comment {
            statements.push(format!(
                "COMMENT ON DATABASE {name} IS {}",
                literal(comment)
            ));
        }
        if self.connection_limit >= 0 {
            statements.push(format!(
                "ALTER DATABASE {name} CONNECTION LIMIT {}",
                self.connection_limit
            ));
        }
        statements
    }
}

impl Privilege {
    fn statement(&self, database: &str) -> String {
        let grantee = self.grantee.as_deref();
        format!(
            "GRANT {} ON DATABASE {database} TO {}{}",
            self.privilege,
            grantee.map_or_else(|| "PUBLIC".to_owned(), quoted),
            if self.grantable {
                " WITH GRANT OPTION"
            } else {
                ""
            }
        )
    }
}

impl Setting {
    /// Everything of the statement before the value.
    fn target(&self, database: &str) -> String {
        let (database, name) = (quoted(database), quoted(&self.name));
        match &self.role {
            Some(role) => format!(
                "ALTER ROLE {} IN DATABASE {database} SET {name}",
                quoted(role)
            ),
            None => format!("ALTER DATABASE {database} SET {name}"),
        }
    }

    /// Set for this transaction first and taken from there: only PostgreSQL itself knows which
    /// values are lists, and how such a list is written.
    async fn take_from_session(
        &self,
        session: &mut PgConnection,
        database: &str,
    ) -> Result<(), sqlx::Error> {
        let mut both = session.begin().await?;
        sqlx::query("SELECT set_config($1, $2, true)")
            .bind(&self.name)
            .bind(&self.value)
            .execute(&mut *both)
            .await?;
        let alter = format!("{} FROM CURRENT", self.target(database));
        sqlx::raw_sql(AssertSqlSafe(alter))
            .execute(&mut *both)
            .await?;
        both.commit().await
    }
}

impl Postgres {
    /// The properties of the live database, if it is there; nobody has to be able to open it.
    pub(crate) async fn live_properties(&self) -> Result<Option<Properties>, DatabaseError> {
        Properties::read(&mut self.aside().await?, self.name()).await
    }

    /// Sets for the sessions of this operation's scratch database what was set for those of the
    /// original: among it may be where tables are looked for. Returns what could not be set, a phrase
    /// each.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub(crate) async fn give_settings(
        &self,
        operation: Ulid,
        wanted: &Properties,
    ) -> Result<Vec<String>, DatabaseError> {
        let scratch = scratch_name(operation);
        // Inside: some settings are checked against what the database holds.
        let mut session = self.session_in(&scratch, "togather-agent").await?;
        let mut refused = Vec::new();
        for setting in &wanted.settings {
            let whole = format!("{} = {}", setting.target(&scratch), literal(&setting.value));
            let done = setting.take_from_session(&mut session, &scratch).await;
            refused.extend(refusal(done, &whole)?);
        }
        Ok(self.by_its_name_to_be(refused, &scratch))
    }

    /// Gives everything else to this operation's scratch database, which is to go live. Returns what
    /// could not be given, a phrase each.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub(crate) async fn give_properties(
        &self,
        operation: Ulid,
        wanted: &Properties,
    ) -> Result<Vec<String>, DatabaseError> {
        let scratch = scratch_name(operation);
        let refused = self.run_each(&wanted.statements(&scratch)).await?;
        Ok(self.by_its_name_to_be(refused, &scratch))
    }

    /// Whoever reads these knows the database by the name it is about to have.
    fn by_its_name_to_be(&self, notes: Vec<String>, scratch: &str) -> Vec<String> {
        let (scratch, live) = (quoted(scratch), quoted(self.name()));
        let known = notes.into_iter();
        known.map(|note| note.replace(&scratch, &live)).collect()
    }

    /// Runs each of these statements by itself. Returns which were refused, a phrase each.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub(crate) async fn run_each(
        &self,
        statements: &[String],
    ) -> Result<Vec<String>, DatabaseError> {
        let mut session = self.aside().await?;
        let mut refused = Vec::new();
        for statement in statements {
            refused.extend(refusal(run(&mut session, statement).await, statement)?);
        }
        Ok(refused)
    }
}

async fn run(session: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
    let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
    statement.execute(session).await.map(|_| ())
}

/// That PostgreSQL refused this statement, for people.
fn refusal(done: Result<(), sqlx::Error>, what: &str) -> Result<Option<String>, DatabaseError> {
    let Err(error) = done else {
        return Ok(None);
    };
    let error = DatabaseError::from_sqlx("what belongs to the database could not be set", error);
    match error.refusal() {
        Some(said) if !error.lost_session() => {
            Ok(Some(format!("`{what}` was refused: {}", said.message)))
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Properties {
        Properties {
            encoding: "UTF8".into(),
            collate: "C.UTF-8".into(),
            ctype: "C.UTF-8".into(),
            provider: Some("c".into()),
            locale: None,
            icu_rules: None,
            owner: "togather".into(),
            connection_limit: -1,
            comment: None,
            privileges: None,
            settings: vec![],
            lacks_public_schema: false,
            subscriptions: vec![],
        }
    }

    #[test]
    fn a_copy_sorts_as_the_original_does() {
        let like = |provider: Option<&str>, locale: Option<&str>, rules: Option<&str>| {
            let like = Properties {
                provider: provider.map(String::from),
                locale: locale.map(String::from),
                icu_rules: rules.map(String::from),
                ..plain()
            };
            let create = like.create_statement("x\"y");
            let begin = "CREATE DATABASE \"x\"\"y\" TEMPLATE template0 ENCODING 'UTF8' \
                         LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'";
            create.strip_prefix(begin).map(str::to_owned)
        };
        assert_eq!(like(None, None, None).as_deref(), Some(""));
        assert_eq!(
            like(Some("c"), None, None).as_deref(),
            Some(" LOCALE_PROVIDER libc")
        );
        assert_eq!(
            like(Some("i"), Some("de"), Some("&a < 'z'")).as_deref(),
            Some(" LOCALE_PROVIDER icu ICU_LOCALE 'de' ICU_RULES '&a < ''z'''")
        );
        assert_eq!(
            like(Some("b"), Some("C"), None).as_deref(),
            Some(" LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C'")
        );
    }
}
