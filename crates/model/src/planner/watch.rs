//! What will be asked of the new version and watched, and what cannot be: told before anybody says yes.

use super::Request;
use crate::{
    observed::{Connections, Observed, Series},
    step::Step,
};

/// Connections to the database that are neither version's: the agent's own, `pg_dump`'s, an operator's.
const OTHERS: u64 = 10;

/// What a step will do in particular, for people.
pub(super) fn note(step: Step, observed: &Observed, request: &Request) -> Option<String> {
    match step {
        Step::StartSlot => overlap(observed).map(|Connections { app, server }| {
            format!("both versions at once: 2 × {app} of the database's {server} connections")
        }),
        Step::AwaitHealthy => {
            let pages = match &*request.pages {
                [] => return None,
                [only] => format!("1 page: {only}"),
                pages => format!("{} pages: {}", pages.len(), pages.join(", ")),
            };
            Some(format!("asks for {pages}"))
        }
        Step::ProveTraffic => match request.pages.len() {
            0 => None,
            1 => Some("asks for the page again".into()),
            several => Some(format!("asks for the {several} pages again")),
        },
        Step::Soak => match &observed.series {
            Series::Named(series) => Some(format!("watches `{series}`")),
            Series::Unwanted => Some("watches no errors: `app.metrics_path` is null".into()),
            Series::Unknown => Some(
                "which series counts its errors is known only once the new version runs".into(),
            ),
            Series::Missing(_) => None,
        },
        Step::VerifyRelease
        | Step::Preflight
        | Step::FetchImage
        | Step::BaseServices
        | Step::Snapshot
        | Step::Rehearse
        | Step::Migrate
        | Step::Prepare
        | Step::RunHooks
        | Step::SwitchTraffic
        | Step::RetireOldSlot => None,
    }
}

/// What will not be seen, or may not suffice. `soaks`: the new version is watched at all.
pub(super) fn warnings(observed: &Observed, request: &Request, soaks: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if let (Series::Missing(why), true) = (&observed.series, soaks) {
        warnings.push(format!(
            "{why}: unless the new version counts them, the soak does not see requests that fail; \
             `app.requests_metric` in deployment.yml names the series"
        ));
    }
    if observed.live.is_some() && observed.live_verdict.is_none() && request.compares_with_live {
        warnings.push(
            "what the live version says of itself could not be asked: whether the new one is no worse cannot be \
             judged, `app.accept` and `app.checks` alone decide"
                .into(),
        );
    }
    if let Some(Connections { app, server }) = overlap(observed)
        && 2 * app + OTHERS > server
    {
        warnings.push(format!(
            "while both versions run, their pools may take 2 × {app} connections (DATABASE_MAX_CONNECTIONS), and the \
             database allows {server}; lower the one or raise `max_connections`"
        ));
    }
    warnings
}

fn overlap(observed: &Observed) -> Option<Connections> {
    observed.live.as_ref().and(observed.connections)
}
