//! What the Togather server demands of its environment before it starts. A server that is easier to
//! please would let a deployment pass that fails with the real one.

use super::environment::{Environment, SettingsError};

/// Characters of a secret that signs something.
const SHORTEST_SECRET: usize = 32;
/// Timings of the scraper's polling and their defaults, in milliseconds; each is at least the one
/// before it.
const POLLING: [(&str, i64); 3] = [
    ("SCRAPER_POLL_BACKOFF_START_MS", 200),
    ("SCRAPER_POLL_BACKOFF_MAX_MS", 2_000),
    ("SCRAPER_POLL_TIMEOUT_MS", 30_000),
];

/// Checks everything but the database, which the settings themselves demand.
pub(super) fn check<F>(env: &Environment<F>) -> Result<(), SettingsError>
where
    F: Fn(&str) -> Option<String>,
{
    origins(env)?;
    if env.get("JWT_SECRET").is_none() {
        return Err(SettingsError::Missing {
            key: "JWT_SECRET",
            expected: format!("at least {SHORTEST_SECRET} characters"),
        });
    }
    long_enough(env, "JWT_SECRET")?;
    long_enough(env, "CSRF_KEY")?;
    let closing = env.number("SHUTDOWN_POOL_CLOSE_TIMEOUT_SECONDS", 10_i64);
    if closing <= 0 {
        return Err(SettingsError::Invalid {
            key: "SHUTDOWN_POOL_CLOSE_TIMEOUT_SECONDS",
            value: closing.to_string(),
            expected: "a number of seconds above 0".to_owned(),
        });
    }
    polling(env)
}

/// Who may call from a browser must be said, outside of development and tests.
fn origins<F>(env: &Environment<F>) -> Result<(), SettingsError>
where
    F: Fn(&str) -> Option<String>,
{
    let environment = env.get("ENVIRONMENT");
    if matches!(environment.as_deref(), None | Some("development" | "test")) {
        return Ok(());
    }
    let origins = env.get("CORS_ALLOWED_ORIGINS").unwrap_or_default();
    if origins.split(',').all(|origin| origin.trim().is_empty()) {
        return Err(SettingsError::Missing {
            key: "CORS_ALLOWED_ORIGINS",
            expected: "origins separated by commas, or `*` (required unless ENVIRONMENT is \
                       development or test)"
                .to_owned(),
        });
    }
    Ok(())
}

/// A secret that is set is never shown, and never short.
fn long_enough<F>(env: &Environment<F>, key: &'static str) -> Result<(), SettingsError>
where
    F: Fn(&str) -> Option<String>,
{
    match env.get(key).map(|secret| secret.len()) {
        Some(have) if have < SHORTEST_SECRET => Err(SettingsError::TooShort {
            key,
            have,
            least: SHORTEST_SECRET,
        }),
        _ => Ok(()),
    }
}

fn polling<F>(env: &Environment<F>) -> Result<(), SettingsError>
where
    F: Fn(&str) -> Option<String>,
{
    let mut least = 1;
    for (key, otherwise) in POLLING {
        let value = env.number(key, otherwise);
        if value < least {
            return Err(SettingsError::Invalid {
                key,
                value: value.to_string(),
                expected: format!("at least {least} ms"),
            });
        }
        least = value;
    }
    Ok(())
}
