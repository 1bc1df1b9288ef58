//! New events as they come, over server-sent events.
//!
//! A stream tells of events made through this process. It begins by saying who speaks, so that a
//! listener sees a switch, and it ends at once when the server is asked to stop: a stop would
//! otherwise wait for every listener to leave.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::State,
    response::sse::{self, KeepAlive, Sse},
};
use futures::{Stream, StreamExt, stream};
use serde_json::json;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

use super::App;
use crate::events::Event;

/// `GET /api/v1/events/stream`.
pub(super) async fn events(
    State(app): State<Arc<App>>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let speaker = json!({"version": app.build.version, "slot": app.slot});
    let hello = sse::Event::default()
        .event("hello")
        .data(speaker.to_string());
    let news = BroadcastStream::new(app.news.subscribe()).map(|news| told(&news));
    let mut stopping = app.stopping.clone();
    let stop = async move {
        // A server that is gone has stopped too.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let stream = stream::iter([hello])
        .chain(news)
        .take_until(Box::pin(stop))
        .map(Ok);
    Sse::new(stream).keep_alive(KeepAlive::default())
}

fn told(news: &Result<Arc<Event>, BroadcastStreamRecvError>) -> sse::Event {
    match news {
        Ok(event) => sse::Event::default()
            .event("created")
            .id(event.id.to_string())
            .data(json!(event.as_ref()).to_string()),
        Err(BroadcastStreamRecvError::Lagged(count)) => sse::Event::default()
            .event("missed")
            .data(json!({"events": count}).to_string()),
    }
}
