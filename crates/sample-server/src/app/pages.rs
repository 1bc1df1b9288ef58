//! Pages for visitors and for programs that want to know what can be asked.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{Html, IntoResponse, Response},
};
use serde_json::json;

use super::{App, STAND_IN, problem::Problem};
use crate::fault::Fault;

/// `GET /`.
pub(super) async fn landing() -> Html<String> {
    Html(format!(
        "<!doctype html><title>Togather</title><h1>Togather</h1><p>{STAND_IN}</p>\n"
    ))
}

/// `GET /api/v1/openapi.json`, which the image of a broken release lacks.
pub(super) async fn openapi(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    if app.condition.fault() == Some(Fault::MissingPage) {
        return Err(Problem::not_found());
    }
    let paths = ["/api/v1/events", "/api/v1/events/{id}", "/health"];
    let paths: serde_json::Map<_, _> = paths
        .map(|path| (path.to_owned(), json!({"get": {}})))
        .into_iter()
        .collect();
    let document = json!({
        "openapi": "3.1.0",
        "info": {"title": "Togather", "version": app.build.version, "description": STAND_IN},
        "paths": paths,
    });
    Ok(Json(document).into_response())
}
