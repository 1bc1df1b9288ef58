//! The HTTP side: routes, and what is the same for every request.

mod events;
mod pages;
mod problem;
mod state;
mod stream;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{
        ConnectInfo, DefaultBodyLimit, MatchedPath, Query, Request, State,
        rejection::QueryRejection,
    },
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::{broadcast, watch};

use self::problem::Problem;
use crate::{
    events::Event,
    fault::{Condition, Fault},
    limits::Gate,
    metrics::Metrics,
    settings::{Build, Settings},
};

/// Said wherever somebody might take this for the real thing.
pub(crate) const STAND_IN: &str =
    "sample-server: a stand-in for the Togather server, for demonstrations and tests";

/// Named by a release that lies about its commit.
const NOBODYS_COMMIT: &str = "badc0ffee0ddf00dbadc0ffee0ddf00dbadc0ffe";
/// The longest body that is read, in bytes; the largest valid event has a few thousand.
const LONGEST_BODY: usize = 64 * 1024;
/// The slowest answer that can be asked for. A stop waits for it, so it must fit in its grace.
const SLOWEST: Duration = Duration::from_secs(20);
/// New events a slow listener may lag behind by.
const NEWS_KEPT: usize = 256;
/// How long a client that asked too often is told to stay away, in seconds.
const RETRY_AFTER: &str = "60";

/// What every request can reach.
#[derive(Debug)]
pub(crate) struct App {
    build: Build,
    slot: Option<String>,
    job_slot: Option<String>,
    job_tables: bool,
    database: PgPool,
    condition: Condition,
    gate: Gate,
    metrics: Metrics,
    news: broadcast::Sender<Arc<Event>>,
    /// Turns true once, when the server is asked to stop.
    stopping: watch::Receiver<bool>,
}

impl App {
    pub(crate) fn new(
        settings: &Settings,
        database: PgPool,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let mut build = settings.build.clone();
        if settings.fault == Some(Fault::WrongCommit) {
            NOBODYS_COMMIT.clone_into(&mut build.git_commit);
        }
        Self {
            build,
            slot: settings.slot.clone(),
            job_slot: settings.job_slot.clone(),
            job_tables: settings.job_tables,
            database,
            condition: Condition::new(settings, Instant::now()),
            gate: Gate::new(&settings.limits),
            metrics: Metrics::default(),
            news: broadcast::Sender::new(NEWS_KEPT),
            stopping,
        }
    }

    /// What clients asked on paths that are limited.
    pub(crate) fn ledger(&self) -> serde_json::Value {
        self.gate.ledger()
    }
}

/// Everything this server answers.
pub(crate) fn router(app: Arc<App>) -> Router {
    if app.condition.fault() == Some(Fault::NoRoutes) {
        return Router::new().fallback(async || Problem::not_found());
    }
    Router::new()
        .route("/", get(pages::landing))
        .route("/health", get(state::health))
        .route("/healthz", get(state::alive))
        .route("/readyz", get(state::ready))
        .route("/version", get(state::version))
        .route("/metrics", get(state::metrics))
        .route("/slow", get(slow))
        .route("/silent", get(silent))
        .route("/api/v1/openapi.json", get(pages::openapi))
        .route("/api/v1/events", get(events::list).post(events::create))
        .route("/api/v1/events/stream", get(stream::events))
        .route("/api/v1/events/{id}", get(events::one))
        .fallback(async || Problem::not_found())
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), observe))
        // About the stand-in itself: not limited, and not counted either.
        .route("/stand-in/requests", get(requests))
        .with_state(app)
}

/// Counts and times every request, turns away who asks too often, and lets the faults have their way.
async fn observe(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let _under_way = app.metrics.under_way();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    // Proxies add this header. Who asks a slot directly is not the public, but its keeper.
    let of_the_public = request.headers().contains_key("x-forwarded-for");

    let response = if !app.gate.admits(route, peer.ip(), request.headers(), begun) {
        too_many()
    } else if is_of_the_app(route) && app.condition.fails_this_request(begun) {
        Problem::made_to_fail().into_response()
    } else {
        next.run(request).await
    };

    let now = Instant::now();
    if of_the_public {
        app.condition.answered_the_public(now);
    }
    let status = match response.extensions().get::<Silent>() {
        Some(Silent) => 0,
        None => response.status().as_u16(),
    };
    app.metrics
        .record(method.as_str(), route, status, now.duration_since(begun));
    tracing::debug!(%method, route, status, "answered");
    response
}

/// What visitors come for, in contrast to what the server says of itself.
fn is_of_the_app(route: &str) -> bool {
    route == "/" || route == "/slow" || route.starts_with("/api/")
}

fn too_many() -> Response {
    let headers = [(header::RETRY_AFTER, RETRY_AFTER)];
    (StatusCode::TOO_MANY_REQUESTS, headers).into_response()
}

async fn requests(State(app): State<Arc<App>>) -> Response {
    Json(app.ledger()).into_response()
}

/// Marks an answer into which nothing was written.
#[derive(Debug, Clone, Copy)]
struct Silent;

/// An answer into which nothing was written: the client sees 200, the metrics count status 0, as
/// they do in the Togather server.
async fn silent() -> Response {
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(Silent);
    response
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    /// Milliseconds.
    ms: u64,
}

/// Answers after as long as it was asked to take, to be under way when something happens.
async fn slow(slow: Result<Query<Slow>, QueryRejection>) -> Result<Response, Problem> {
    let Query(Slow { ms }) = slow.map_err(|rejected| Problem::unreadable(&rejected.body_text()))?;
    let asked = Duration::from_millis(ms);
    if asked > SLOWEST {
        let most = SLOWEST.as_millis();
        return Err(Problem::unreadable(&format!("`ms` may be at most {most}")));
    }
    tokio::time::sleep(asked).await;
    Ok(Json(json!({"slept_ms": ms})).into_response())
}
