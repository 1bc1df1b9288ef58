//! A restore that stands still in the middle for as long as it is told to.

use sqlx::AssertSqlSafe;

use crate::{
    Shelf,
    postgres_server::{Server, docker},
};

/// A table that cannot be filled while there is a certain file beside the database: the function of
/// its CHECK waits.
pub(crate) struct Held {
    server: &'static Server,
    file: String,
}

impl Held {
    /// Gives this shelf's database such a table. It holds nothing up yet.
    pub(crate) async fn table(shelf: &mut Shelf) -> Self {
        let file = format!("/tmp/held_{}", shelf.database.name.replace(' ', "_"));
        let sql = format!(
            "CREATE FUNCTION held() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                 WHILE (pg_stat_file('{file}', true)).size IS NOT NULL LOOP
                     PERFORM pg_sleep(0.02);
                 END LOOP;
                 RETURN true;
             END $$;
             CREATE TABLE gate (n int CHECK (held()));
             INSERT INTO gate VALUES (1)"
        );
        let made = sqlx::raw_sql(AssertSqlSafe(sql));
        made.execute(&mut shelf.database.session).await.unwrap();
        let server = shelf.database.server;
        Self { server, file }
    }

    pub(crate) fn hold(&self) {
        docker(&["exec", &self.server.container, "touch", &self.file]).unwrap();
    }

    pub(crate) fn let_go(&self) {
        docker(&["exec", &self.server.container, "rm", "-f", &self.file]).unwrap();
    }
}
