//! Nonces and the audit trail.

use sha2::{Digest as _, Sha256};
use sqlx::Row;
use togather_model::Timestamp;

use super::{State, StateError};

/// A command, accepted or refused, as the audit trail keeps it.
#[derive(Debug, Clone)]
pub struct AuditEntry<'a> {
    /// When it was judged, by the node's clock.
    pub at: Timestamp,
    /// The RPC's path.
    pub method: &'a str,
    /// The operator it was signed by, or the one the certificate names when the signature is not
    /// good.
    pub operator: &'a str,
    /// The signed bytes as they came.
    pub payload: &'a [u8],
    /// The signature as it came.
    pub signature: &'a str,
    /// `accepted`, `repeated` (an operation known already was answered), `undecided` (the state failed),
    /// or the refusal's code.
    pub outcome: &'a str,
}

impl State {
    /// Uses a nonce up. Committed before anything runs.
    ///
    /// Returns false if it was used before.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn use_nonce(
        &self,
        operator: &str,
        nonce: &[u8],
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StateError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM nonce WHERE keep_until < ?")
            .bind(fixed(now))
            .execute(&mut *transaction)
            .await?;
        let fresh = sqlx::query(
            "INSERT INTO nonce (operator, nonce, keep_until) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(operator)
        .bind(nonce)
        .bind(fixed(keep_until))
        .execute(&mut *transaction)
        .await?
        .rows_affected()
            == 1;
        sqlx::query("UPDATE identity SET latest_seen = max(latest_seen, ?)")
            .bind(fixed(now))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(fresh)
    }

    /// Appends to the audit trail; each row's hash covers the row before it.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn audit(&self, entry: &AuditEntry<'_>) -> Result<(), StateError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let previous = sqlx::query("SELECT hash FROM audit ORDER BY sequence DESC LIMIT 1")
            .fetch_optional(&mut *transaction)
            .await?;
        let previous: Vec<u8> = previous.map_or_else(|| vec![0; 32], |row| row.get(0));
        let at = fixed(entry.at);
        sqlx::query(
            "INSERT INTO audit (at, method, operator, payload, signature, outcome, hash)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&at)
        .bind(entry.method)
        .bind(entry.operator)
        .bind(entry.payload)
        .bind(entry.signature)
        .bind(entry.outcome)
        .bind(chained_hash(&previous, &at, entry))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Methods, operators and outcomes of the audit trail, oldest first.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn audit_outcomes(&self) -> Result<Vec<(String, String, String)>, StateError> {
        let rows = sqlx::query("SELECT method, operator, outcome FROM audit ORDER BY sequence")
            .fetch_all(&self.pool)
            .await?;
        Ok(rows
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect())
    }
}

/// SHA-256 over the previous hash and every field, each with its length before it, so that no two
/// different rows hash alike.
fn chained_hash(previous: &[u8], at: &str, entry: &AuditEntry<'_>) -> Vec<u8> {
    let mut hasher = Sha256::new();
    for field in [
        previous,
        at.as_bytes(),
        entry.method.as_bytes(),
        entry.operator.as_bytes(),
        entry.payload,
        entry.signature.as_bytes(),
        entry.outcome.as_bytes(),
    ] {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field);
    }
    hasher.finalize().to_vec()
}

/// RFC 3339 with all nine digits, so that text order is time order.
fn fixed(at: Timestamp) -> String {
    format!("{at:.9}")
}
