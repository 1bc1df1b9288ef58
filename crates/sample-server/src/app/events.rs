//! Events over HTTP: decode, ask the database, encode.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{App, problem::Problem};
use crate::events::{self, Event, NewEvent, Wanted};

#[derive(Debug, Serialize)]
struct Events {
    events: Vec<Event>,
}

/// `GET /api/v1/events?limit=&q=` or `&longitude=&latitude=&radius=`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|rejected| Problem::unreadable(&rejected.body_text()))?;
    let question = wanted.question().map_err(Problem::invalid)?;
    let found = events::list(&app.database, &question).await?;
    Ok(Json(Events { events: found }).into_response())
}

/// `GET /api/v1/events/{id}`.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Response, Problem> {
    // What is no number names no event.
    let Path(id) = id.map_err(|_| Problem::not_found())?;
    let found = events::find(&app.database, id).await?;
    found.map_or_else(
        || Err(Problem::not_found()),
        |event| Ok(Json(event).into_response()),
    )
}

/// `POST /api/v1/events`.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    event: Result<Json<NewEvent>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(event) = event.map_err(|rejected| Problem::unreadable(&rejected.body_text()))?;
    let mistakes = event.mistakes();
    if !mistakes.is_empty() {
        return Err(Problem::invalid(mistakes));
    }
    let event = Arc::new(events::add(&app.database, &event).await?);
    // Nobody may be listening.
    let _ = app.news.send(Arc::clone(&event));
    let address = format!("/api/v1/events/{}", event.id);
    let headers = [(header::LOCATION, address)];
    Ok((StatusCode::CREATED, headers, Json(event.as_ref())).into_response())
}
