//! What is no table and no row of a database, and has to come back with it all the same.

use std::{collections::BTreeMap, fs, sync::Arc};

use secrecy::SecretString;
use sqlx::AssertSqlSafe;
use togather_agent::{
    database::{Database, DatabaseSettings, Postgres, replaced_name, scratch_name},
    snapshots::{Dumps, Manifest, Snapshots},
};
use togather_model::{Line, Ulid};

use crate::{
    Shelf, new_id,
    postgres_server::{self, DockerExec, Server, TestDatabase, shared, told},
    settings,
};

impl Shelf {
    /// With a database that holds only this.
    async fn with(sql: &'static str) -> Self {
        Self::with_on(postgres_server::server().await, sql).await
    }

    async fn with_on(server: &'static Server, sql: &'static str) -> Self {
        let mut database = TestDatabase::on(server).await;
        database.run(sql).await;
        let postgres = Arc::new(database.postgres());
        let keep = tempfile::tempdir().unwrap();
        let folder = keep.path().join("snapshots");
        let exec = shared(DockerExec(database.server.container.clone()));
        let dumps = Dumps::new(settings(&folder), exec, Arc::clone(&postgres)).unwrap();
        Self {
            database,
            postgres,
            dumps,
            folder,
            _keep: keep,
        }
    }

    async fn restore(&self, taken: &Manifest, job: Ulid) -> Vec<String> {
        let restored = self.dumps.restore(None, taken.id, job, &|_| ()).await;
        restored.unwrap_or_else(|e| panic!("{}", told(&e))).notes
    }

    /// Changes the manifest of this snapshot, as if it had been written so.
    fn rewrite(&self, taken: &Manifest, change: impl FnOnce(&mut serde_json::Value)) {
        let name = taken.dump.replace(".dump", ".manifest.json");
        let path = self.folder.join(name);
        let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut manifest);
        fs::write(&path, manifest.to_string()).unwrap();
    }

    async fn ask(&self, database: &str, question: &'static str) -> String {
        let mut aside = self.database.server.connect("togather").await;
        let answer = sqlx::query_scalar(question).bind(database);
        answer.fetch_one(&mut aside).await.unwrap()
    }
}

#[tokio::test]
async fn the_schema_of_every_line_is_noted_and_compared() {
    let shelf = Shelf::with(
        "CREATE TABLE river_migration (line text NOT NULL, version bigint NOT NULL, PRIMARY KEY (line, version)); \
         INSERT INTO river_migration VALUES ('main', 1), ('main', 2), ('main', 3), ('workflow', 9)",
    )
    .await;
    let taken = shelf.create().await;
    assert_eq!(taken.schema, None);
    assert_eq!(taken.other_lines, BTreeMap::from([(Line::River, 3)]));
    shelf.prove(&taken, new_id()).await.unwrap();
    shelf.rewrite(&taken, |manifest| {
        manifest["other_lines"] = serde_json::json!({"river": 6});
    });
    let doubtful = shelf.prove(&taken, new_id()).await.unwrap_err();
    let text = told(&doubtful);
    assert!(text.contains("River's schema is 3, not 6"), "{text}");
    // One that was taken before this was noted is proven by all the rest.
    shelf.rewrite(&taken, |manifest| {
        manifest
            .as_object_mut()
            .unwrap()
            .remove("other_lines")
            .unwrap();
    });
    shelf.prove(&taken, new_id()).await.unwrap();
}

/// All that belongs to a database itself, as one text.
const PROPERTIES: &str = "
    SELECT concat_ws(' | ', pg_get_userbyid(d.datdba), d.datconnlimit, shobj_description(d.oid, 'pg_database'),
        (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(d.datacl) a),
        (SELECT string_agg(concat(s.setrole::regrole, ': ', c), ' ; ' ORDER BY s.setrole, c)
         FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setdatabase = d.oid))
    FROM pg_database d WHERE d.datname = $1";

#[tokio::test]
async fn what_belongs_to_the_database_itself_comes_back() {
    let shelf = Shelf::with(
        r#"CREATE TABLE events (id int);
        CREATE ROLE keeper NOLOGIN; CREATE ROLE visitor NOLOGIN;
        DO $$ BEGIN EXECUTE format('
            COMMENT ON DATABASE %1$I IS ''what it''''s for'';
            REVOKE ALL ON DATABASE %1$I FROM PUBLIC;
            ALTER DATABASE %1$I OWNER TO keeper;
            GRANT CONNECT, CREATE ON DATABASE %1$I TO visitor WITH GRANT OPTION;
            ALTER DATABASE %1$I CONNECTION LIMIT 77;
            ALTER DATABASE %1$I SET search_path TO "$user", "My Schema", public;
            ALTER DATABASE %1$I SET app.secret TO ''a=b, c'';
            ALTER DATABASE %1$I SET default_transaction_read_only TO on;
            ALTER ROLE visitor IN DATABASE %1$I SET work_mem TO ''8MB''', current_database()); END $$"#,
    )
    .await;
    let before = shelf.ask(&shelf.database.name, PROPERTIES).await;
    for part in [
        "keeper | 77",
        "what it's for",
        "My Schema",
        "visitor: work_mem=8MB",
    ] {
        assert!(before.contains(part), "{before}");
    }
    let taken = shelf.create().await;

    let proof = new_id();
    shelf.prove(&taken, proof).await.unwrap();
    let stranger = "SELECT has_database_privilege('visitor', $1, 'CONNECT')::text";
    let may = shelf.ask(&scratch_name(proof), stranger).await;
    assert_eq!(may, "false", "a copy is nobody else's to look at");
    shelf.postgres.drop_scratch(proof).await.unwrap();

    let job = new_id();
    assert_eq!(
        shelf.restore(&taken, job).await,
        [""; 0],
        "nothing is otherwise"
    );
    assert_eq!(shelf.ask(&scratch_name(job), PROPERTIES).await, before);

    // One that was taken before this was noted gets what the live database has.
    shelf.rewrite(&taken, |manifest| {
        manifest.as_object_mut().unwrap().remove("properties");
    });
    shelf.postgres.drop_scratch(job).await.unwrap();
    let job = new_id();
    assert_eq!(shelf.restore(&taken, job).await, [""; 0]);
    assert_eq!(shelf.ask(&scratch_name(job), PROPERTIES).await, before);

    // What cannot be given is told, and keeps nothing else from being given.
    let name = &shelf.database.name;
    shelf.rewrite(&taken, |manifest| {
        manifest["properties"] = serde_json::to_value(&taken.properties).unwrap();
        manifest["properties"]["settings"][0]["name"] = "no_such_setting".into();
        manifest["properties"]["owner"] = "nobody by this name".into();
    });
    shelf.postgres.drop_scratch(job).await.unwrap();
    let job = new_id();
    let notes = shelf.restore(&taken, job).await;
    let owner = format!("`ALTER DATABASE \"{name}\" OWNER TO \"nobody by this name\"` was refused");
    assert!(
        notes.iter().any(|note| note.starts_with(&owner)),
        "{notes:?}"
    );
    assert!(
        notes.iter().any(|note| note.contains("no_such_setting")),
        "{notes:?}"
    );
    let given = shelf.ask(&scratch_name(job), PROPERTIES).await;
    assert!(given.contains("visitor: work_mem=8MB"), "{given}");
    shelf.postgres.drop_scratch(job).await.unwrap();
}

#[tokio::test]
async fn a_live_database_that_is_gone_or_that_nobody_can_open_is_restored() {
    for lose in [
        "DROP DATABASE {} WITH (FORCE)",
        "ALTER DATABASE {} ALLOW_CONNECTIONS false",
    ] {
        let mut shelf =
            Shelf::with("CREATE TABLE events AS SELECT generate_series(1, 70) AS id").await;
        let taken = shelf.create().await;
        let name = shelf.database.name.clone();
        let mut admin = shelf.database.server.connect("togather").await;
        let lose = lose.replace("{}", &format!("\"{name}\""));
        sqlx::raw_sql(AssertSqlSafe(lose.clone()))
            .execute(&mut admin)
            .await
            .unwrap();
        let (job, is_gone) = (new_id(), lose.starts_with("DROP"));
        shelf.dumps.end_programs(job).await.unwrap();
        assert_eq!(shelf.restore(&taken, job).await, [""; 0], "{lose}");
        let aside = replaced_name(&name, job);
        shelf
            .postgres
            .swap(&scratch_name(job), &aside)
            .await
            .unwrap();
        shelf.database.session = shelf.database.server.connect(&name).await;
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
            .fetch_one(&mut shelf.database.session)
            .await
            .unwrap();
        assert_eq!(rows, 70, "{lose}");
        let kept = shelf.postgres.replaced().await.unwrap();
        assert_eq!(kept.is_empty(), is_gone, "{lose}");
        assert_eq!(shelf.postgres.exists(&aside).await.unwrap(), !is_gone);
    }
}

#[tokio::test]
async fn any_database_can_be_the_live_one_and_what_would_keep_it_from_being_swapped_is_known() {
    let server = Server::own("-swap", &[], &["max_prepared_transactions=5"]).await;
    let settings = DatabaseSettings {
        url: SecretString::from(server.url("postgres")),
        ..TestDatabase::on(server).await.settings()
    };
    let postgres = Postgres::new(settings).unwrap();
    let mut live = server.connect("postgres").await;
    let incoming = "CREATE TABLE here (); CREATE DATABASE incoming";
    for statement in incoming.split(';') {
        sqlx::raw_sql(statement).execute(&mut live).await.unwrap();
    }
    let aside = replaced_name("postgres", new_id());
    assert!(!postgres.is_empty("postgres").await.unwrap());
    assert!(postgres.is_empty("incoming").await.unwrap());
    assert!(!postgres.is_empty("nobody").await.unwrap());
    assert_eq!(postgres.connections().await.unwrap(), 200 - 3);
    assert_eq!(postgres.maintenance_memory().await.unwrap(), 64 << 20);
    postgres.swap("incoming", &aside).await.unwrap();
    assert!(postgres.is_empty("postgres").await.unwrap());
    assert_eq!(
        postgres.replaced().await.unwrap(),
        std::slice::from_ref(&aside)
    );
    postgres.swap(&aside, "incoming").await.unwrap();
    assert!(!postgres.is_empty("postgres").await.unwrap());

    assert_eq!(
        postgres.prepared_transactions("postgres").await.unwrap(),
        [""; 0]
    );
    let mut live = server.connect("postgres").await;
    let prepare = "BEGIN; LOCK TABLE here; PREPARE TRANSACTION 'left open'";
    sqlx::raw_sql(prepare).execute(&mut live).await.unwrap();
    assert_eq!(
        postgres.prepared_transactions("postgres").await.unwrap(),
        ["left open"]
    );
    assert_eq!(
        postgres.prepared_transactions("incoming").await.unwrap(),
        [""; 0]
    );
}

#[tokio::test]
async fn subscriptions_are_told_and_not_dropped_with_their_database() {
    let mut shelf = Shelf::with(
        "CREATE TABLE events (id int); \
         CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)",
    )
    .await;
    let name = shelf.database.name.clone();
    assert_eq!(shelf.postgres.subscriptions(&name).await.unwrap(), ["feed"]);
    let (taken, job) = (shelf.create().await, new_id());
    let notes = shelf.restore(&taken, job).await;
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].contains("the subscription feed was not restored"),
        "{notes:?}"
    );
    let aside = replaced_name(&name, job);
    shelf
        .postgres
        .swap(&scratch_name(job), &aside)
        .await
        .unwrap();
    let error = shelf.postgres.drop_replaced(&aside).await.unwrap_err();
    let error = told(&error);
    assert!(error.contains("still has the subscription feed"), "{error}");
    shelf.database.session = shelf.database.server.connect(&aside).await;
    for way_out in [
        "ALTER SUBSCRIPTION feed DISABLE",
        "ALTER SUBSCRIPTION feed SET (slot_name = NONE)",
        "DROP SUBSCRIPTION feed",
    ] {
        shelf.database.run(way_out).await;
    }
    shelf.postgres.drop_replaced(&aside).await.unwrap();
}

#[tokio::test]
async fn whatever_the_schema_its_copy_is_found_to_be_the_same() {
    for sql in [
        "DROP SCHEMA public; CREATE SCHEMA ours; CREATE TABLE ours.events (id int); \
         CREATE TABLE ours.schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); \
         INSERT INTO ours.schema_migrations VALUES (7, false); \
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path TO ours', current_database()); END $$",
        "CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent); \
         ALTER TABLE parent ADD COLUMN c int",
        "CREATE TABLE days (day date, n int) PARTITION BY RANGE (day); \
         CREATE TABLE late (n int, day date); \
         ALTER TABLE days ATTACH PARTITION late FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    ] {
        let shelf = Shelf::with(sql).await;
        let (taken, proof) = (shelf.create().await, new_id());
        let proven = shelf.prove(&taken, proof).await;
        proven.unwrap_or_else(|e| panic!("{sql}: {}", told(&e)));
        shelf.postgres.drop_scratch(proof).await.unwrap();
    }
}

#[tokio::test]
async fn constraints_of_domains_with_one_name_are_told_apart() {
    let mut shelf = Shelf::with(
        "CREATE SCHEMA one; CREATE SCHEMA two; \
         CREATE DOMAIN one.kind AS int CONSTRAINT positive CHECK (VALUE > 0); \
         CREATE DOMAIN two.kind AS int CONSTRAINT positive CHECK (VALUE > 0)",
    )
    .await;
    let mut fingerprints = vec![shelf.create().await.fingerprint];
    for change in [
        "ALTER DOMAIN one.kind DROP CONSTRAINT positive; \
         ALTER DOMAIN one.kind ADD CONSTRAINT positive CHECK (VALUE > 0) NOT VALID",
        "ALTER DOMAIN one.kind VALIDATE CONSTRAINT positive; \
         ALTER DOMAIN two.kind DROP CONSTRAINT positive; \
         ALTER DOMAIN two.kind ADD CONSTRAINT positive CHECK (VALUE > 0) NOT VALID",
    ] {
        shelf.database.run(change).await;
        fingerprints.push(shelf.create().await.fingerprint);
    }
    let [both, without_one, without_two] = fingerprints[..] else {
        panic!("{fingerprints:?}");
    };
    assert!(both != without_one && both != without_two && without_one != without_two);
}

#[tokio::test]
async fn what_names_a_role_that_is_gone_can_be_proven_and_nobody_stays_for_it() {
    // Of its own: roles are everybody's, and somebody else's proof would let one stand in as well.
    let server = Server::own("-gone-soon", &[], &[]).await;
    let mut shelf = Shelf::with_on(
        server,
        "CREATE ROLE \"gone soon\" LOGIN; CREATE TABLE events (id int); \
         CREATE POLICY theirs ON events TO \"gone soon\" USING (true)",
    )
    .await;
    let taken = shelf.create().await;
    shelf
        .database
        .run("DROP POLICY theirs ON events; DROP ROLE \"gone soon\"")
        .await;
    let proof = new_id();
    let proven = shelf.prove(&taken, proof).await;
    proven.unwrap_or_else(|e| panic!("{}", told(&e)));
    let stands_in = "SELECT coalesce(string_agg(rolcanlogin::text, ' '), 'nobody') \
                     FROM pg_roles WHERE rolname = $1";
    assert_eq!(shelf.ask("gone soon", stands_in).await, "false");
    shelf.postgres.drop_scratch(proof).await.unwrap();
    assert_eq!(shelf.ask("gone soon", stands_in).await, "nobody");

    let job = new_id();
    let notes = shelf.restore(&taken, job).await;
    assert!(
        notes.iter().any(|note| note.contains("\"gone soon\"")),
        "{notes:?}"
    );
    shelf.postgres.drop_scratch(job).await.unwrap();
    assert_eq!(
        shelf.ask("gone soon", stands_in).await,
        "true",
        "made for good"
    );
}
