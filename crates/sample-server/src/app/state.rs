//! What the server says of itself: how it is, what was built, what it counted.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::json;

use super::{App, STAND_IN};
use crate::{
    fault::Fault,
    health::{self, Health, Look, Status},
    metrics::Gauges,
};

/// `GET /health`: every check, at the price of one request of the client's allowance.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let look = Look {
        complaint: app.condition.complaint(Instant::now()),
        job_tables: app.job_tables,
        warn: app.condition.fault().and_then(Fault::warns),
    };
    let checks = health::look(&app.database, &look).await;
    let status = Status::of(checks.values());
    app.metrics.set_health(status, &checks);
    let http_status = match status {
        Status::Healthy | Status::Degraded => StatusCode::OK,
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    let health = Health {
        status,
        version: app.build.version.clone(),
        git_commit: app.build.git_commit.clone(),
        slot: app.slot.clone(),
        docs_url: "/api/docs",
        checks,
        timestamp: Timestamp::now(),
    };
    (http_status, Json(health)).into_response()
}

/// `GET /healthz`: the process lives.
pub(super) async fn alive() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// `GET /readyz`: the database answers and its schema is clean.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if !app.condition.is_starting(Instant::now()) && health::is_ready(&app.database).await {
        return Json(json!({"status": "ready"})).into_response();
    }
    let not_ready = Json(json!({"status": "not_ready"}));
    (StatusCode::SERVICE_UNAVAILABLE, not_ready).into_response()
}

/// `GET /version`.
pub(super) async fn version(State(app): State<Arc<App>>) -> Response {
    let build = &app.build;
    Json(json!({
        "version": build.version,
        "git_commit": build.git_commit,
        "build_date": build.date,
        "server": STAND_IN,
    }))
    .into_response()
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let idle = app.database.num_idle();
    let open = app.database.size() as usize;
    let text = app.metrics.text(&Gauges {
        build: &app.build,
        slot: app.slot.as_deref().unwrap_or("unknown"),
        job_slot: app.job_slot.as_deref().unwrap_or("unknown"),
        connections_open: open,
        connections_idle: idle,
        connections_most: app.database.options().get_max_connections(),
    });
    let format = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], text).into_response()
}
