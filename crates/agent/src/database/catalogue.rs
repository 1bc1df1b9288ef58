//! What a database is made of, compared and summed up, so that "nothing changed" is a proof and not
//! a hope.

use std::collections::BTreeMap;

use sqlx::{Connection, PgConnection, Row};
use togather_model::Digest;

use super::error::DatabaseError;

/// Every object of a schema: tables, columns, indexes, constraints, functions and so on; not what
/// belongs to an extension, and not the bookkeeping of migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Catalogue(BTreeMap<(String, String), Object>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    /// The same to the letter in a restored copy.
    shape: String,
    /// How PostgreSQL prints its expressions; may differ in a copy.
    wording: String,
}

impl Catalogue {
    /// Reads the catalogue of the database this connection is in.
    ///
    /// # Errors
    /// The database did not answer, or refused.
    pub(crate) async fn read(connection: &mut PgConnection) -> Result<Self, DatabaseError> {
        let failed = |e| DatabaseError::from_sqlx("the catalogue could not be read", e);
        let mut inner = connection.begin().await.map_err(failed)?;
        sqlx::query("SELECT set_config('search_path', 'pg_catalog', true)")
            .execute(&mut *inner)
            .await
            .map_err(failed)?;
        let rows = sqlx::query(include_str!("catalogue.sql"))
            .persistent(false)
            .fetch_all(&mut *inner)
            .await
            .map_err(failed)?;
        // Rolled back, so that the search path is the caller's again even inside a transaction.
        inner.rollback().await.map_err(failed)?;
        let object = |row: &sqlx::postgres::PgRow| {
            let shape = row.try_get("shape")?;
            let wording = row.try_get("wording")?;
            Ok((
                (row.try_get("kind")?, row.try_get("name")?),
                Object { shape, wording },
            ))
        };
        let objects: Result<_, sqlx::Error> = rows.iter().map(object).collect();
        Ok(Self(objects.map_err(failed)?))
    }

    /// What is in the other one and not, or not in the same way, in this one, a phrase each.
    pub(crate) fn differences(&self, later: &Self) -> Vec<String> {
        let phrase = |verb: &str, (kind, name): &(String, String)| format!("{verb} {kind} {name}");
        let gone = self.0.keys().filter(|key| !later.0.contains_key(key));
        let mut differences: Vec<String> = gone.map(|key| phrase("gone:", key)).collect();
        for (key, object) in &later.0 {
            match self.0.get(key) {
                None => differences.push(phrase("new:", key)),
                Some(before) if before != object => differences.push(phrase("changed:", key)),
                Some(_) => {}
            }
        }
        differences
    }

    /// One digest of everything in it: the same only where nothing differs.
    pub(crate) fn exact_fingerprint(&self) -> Digest {
        let line = |((kind, name), object): (&(String, String), &Object)| {
            format!("{kind}\t{name}\t{}\t{}\n", object.shape, object.wording)
        };
        Digest::of(self.0.iter().map(line).collect::<String>().as_bytes())
    }

    /// One digest of every object's shape; a faithful copy of the database has the same.
    pub(crate) fn fingerprint(&self) -> Digest {
        let line = |((kind, name), object): (&(String, String), &Object)| {
            format!("{kind}\t{name}\t{}\n", object.shape)
        };
        // An index whose building failed is not dumped, so no copy can have it.
        let copied = self
            .0
            .iter()
            .filter(|((kind, _), _)| kind != "invalid index");
        Digest::of(copied.map(line).collect::<String>().as_bytes())
    }
}
