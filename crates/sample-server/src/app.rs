//! The HTTP side: routes, what is the same for every request, and the small answers.

mod events;
mod problem;
mod stream;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, MatchedPath, Query, Request, State, rejection::QueryRejection},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::{broadcast, watch};

use self::problem::Problem;
use crate::{
    events::Event,
    fault::{Condition, Fault},
    health::{self, Health, Status},
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

/// What every request can reach.
#[derive(Debug)]
pub(crate) struct App {
    build: Build,
    slot: Option<String>,
    database: PgPool,
    condition: Condition,
    metrics: Metrics,
    news: broadcast::Sender<Arc<Event>>,
    /// Turns true once, when the server is asked to stop.
    stopping: watch::Receiver<bool>,
}

impl App {
    pub(crate) fn new(settings: &Settings, stopping: watch::Receiver<bool>) -> Self {
        let mut build = settings.build.clone();
        if settings.fault == Some(Fault::WrongCommit) {
            NOBODYS_COMMIT.clone_into(&mut build.git_commit);
        }
        Self {
            build,
            slot: settings.slot.clone(),
            database: settings.pool(),
            condition: Condition::new(settings, Instant::now()),
            metrics: Metrics::default(),
            news: broadcast::Sender::new(NEWS_KEPT),
            stopping,
        }
    }
}

/// Everything this server answers.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/slow", get(slow))
        .route("/api/v1/events", get(events::list).post(events::create))
        .route("/api/v1/events/stream", get(stream::events))
        .route("/api/v1/events/{id}", get(events::one))
        .fallback(async || Problem::not_found())
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), observe))
        .with_state(app)
}

/// Counts and times every request, and lets the faults have their way.
async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let _under_way = app.metrics.under_way();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let of_the_app = route.starts_with("/api/") || route == "/slow";
    // Proxies add this header. Who asks a slot directly is not the public, but its keeper.
    let of_the_public = of_the_app || request.headers().contains_key("x-forwarded-for");

    let response = if of_the_app && app.condition.fails_requests(begun) {
        Problem::made_to_fail().into_response()
    } else {
        next.run(request).await
    };

    let status = response.status().as_u16();
    let now = Instant::now();
    if of_the_public {
        app.condition.answered_the_public(now);
    }
    app.metrics
        .record(method.as_str(), route, status, now.duration_since(begun));
    tracing::debug!(%method, route, status, "answered");
    response
}

async fn health(State(app): State<Arc<App>>) -> Response {
    let checks = health::look(&app.database, app.condition.complaint(Instant::now())).await;
    let status = Status::of(checks.values());
    let http_status = match status {
        Status::Healthy => StatusCode::OK,
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    let health = Health {
        status,
        version: app.build.version.clone(),
        git_commit: app.build.git_commit.clone(),
        slot: app.slot.clone(),
        checks,
        timestamp: Timestamp::now(),
    };
    (http_status, Json(health)).into_response()
}

async fn version(State(app): State<Arc<App>>) -> Response {
    let build = &app.build;
    Json(json!({
        "version": build.version,
        "git_commit": build.git_commit,
        "build_date": build.date,
        "server": STAND_IN,
    }))
    .into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let format = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], app.metrics.text()).into_response()
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
