//! What a client is told when it does not get what it asked for (RFC 9457).

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::events::Mistake;

/// An answer that is none.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    mistakes: Vec<Mistake>,
}

impl Problem {
    fn new(status: StatusCode, detail: &str) -> Self {
        Self {
            status,
            detail: detail.to_owned(),
            mistakes: Vec::new(),
        }
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing here")
    }

    /// A request that is not of the expected shape.
    pub(super) fn unreadable(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    /// A request of the right shape whose fields break rules.
    pub(super) fn invalid(mistakes: Vec<Mistake>) -> Self {
        let detail = "some fields are not valid";
        Self {
            mistakes,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
    }

    pub(super) fn made_to_fail() -> Self {
        let detail = "this release is made to fail";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

/// A database that refuses is a fault of this server; one that does not answer may be back soon.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the database failed a request");
        match error.as_database_error() {
            Some(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the database refused; the server's log says why",
            ),
            None => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer; try again later",
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "errors": self.mistakes,
        });
        let format = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, format, Json(body)).into_response()
    }
}
