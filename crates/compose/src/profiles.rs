//! Services that run only if somebody asks for one of their profiles.

use crate::reader::{Context, Section};

/// The variable of the environment file that asks for profiles, as it does for Compose.
const ASKED: &str = "COMPOSE_PROFILES";

/// Whether nobody asked for any of the service's profiles.
pub(crate) fn is_off(context: &Context<'_>, service: &Section<'_>) -> bool {
    let Some(value) = service.get("profiles") else {
        return false;
    };
    let profiles = value.texts();
    let asked = context.value_of(ASKED).unwrap_or_default();
    let is_asked = |profile: &String| {
        asked
            .split(',')
            .map(str::trim)
            // An empty variable asks for nothing, not for the profile without a name.
            .any(|asked| asked == "*" || !asked.is_empty() && asked == profile)
    };
    !profiles.is_empty() && !profiles.iter().any(is_asked)
}
