//! Images that were fetched ahead of their deployment, and until when they stay.

use sqlx::Row;
use togather_model::{Digest, Image, Timestamp};

use super::{State, StateError};

impl State {
    /// Keeps an image that was fetched for this release until then; asked again, until the later one.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn keep_image(
        &self,
        release: Digest,
        image: &Image,
        until: Timestamp,
    ) -> Result<(), StateError> {
        let json = serde_json::to_string(image);
        let json = json.map_err(|e| StateError::unreadable("image", e))?;
        sqlx::query(
            "INSERT INTO kept_image (reference, release, json, until) VALUES (?, ?, ?, ?)
             ON CONFLICT (reference) DO UPDATE
             SET release = excluded.release, until = max(until, excluded.until)",
        )
        .bind(image.reference())
        .bind(release.to_string())
        .bind(json)
        .bind(format!("{until:.9}"))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The images that are kept now; those whose time is over are forgotten.
    ///
    /// # Errors
    /// The state cannot be read or written.
    pub async fn kept_images(&self, now: Timestamp) -> Result<Vec<Image>, StateError> {
        sqlx::query("DELETE FROM kept_image WHERE until <= ?")
            .bind(format!("{now:.9}"))
            .execute(&self.pool)
            .await?;
        let rows = sqlx::query("SELECT json FROM kept_image ORDER BY reference")
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let json: String = row.get(0);
                serde_json::from_str(&json).map_err(|e| StateError::unreadable("image", e))
            })
            .collect()
    }

    /// Keeps the image of this release no longer for its own sake.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn let_image_go(&self, release: Digest) -> Result<(), StateError> {
        sqlx::query("DELETE FROM kept_image WHERE release = ?")
            .bind(release.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[tokio::test]
    async fn an_image_stays_until_its_time_is_over_or_its_release_lets_it_go() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("state.db"), at(0)).await;
        let state = state.unwrap();
        let image = |name: &str| Image::Registry {
            repository: format!("registry.example.org/{name}"),
            digest: Digest::of(name.as_bytes()),
        };
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        state.keep_image(one, &image("a"), at(10)).await.unwrap();
        state.keep_image(other, &image("b"), at(5)).await.unwrap();
        // Asked again for less: what was promised first holds.
        state.keep_image(one, &image("a"), at(7)).await.unwrap();
        let kept = state.kept_images(at(4)).await.unwrap();
        assert_eq!(kept, [image("a"), image("b")]);
        assert_eq!(state.kept_images(at(5)).await.unwrap(), [image("a")]);
        state.let_image_go(other).await.unwrap();
        assert_eq!(state.kept_images(at(9)).await.unwrap(), [image("a")]);
        state.let_image_go(one).await.unwrap();
        assert_eq!(state.kept_images(at(9)).await.unwrap(), []);
    }
}
