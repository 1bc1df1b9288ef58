//! The door in front of every call: it looks the call up in the table, has the gate look at who
//! wants to read, and gives no call more than its time.

use std::{
    convert::Infallible,
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use togather_model::{Failure, FailureKind};
use togather_proto::{method, to_status};
use tokio::time::timeout;
use tonic::{Code, Status, body::Body};
use tower::Service;

use super::{Services, peer_of, too_large};
use crate::gate::{Need, need_of};

/// How long a call may take to send its question and be answered; a stream, to begin. An image
/// archive comes in its own time, watched piece by piece.
const ANSWER: Duration = Duration::from_secs(60);

/// The services behind the door.
#[derive(Clone)]
pub(super) struct Door<S> {
    inner: S,
    services: Arc<Services>,
}

impl<S> Door<S> {
    pub(super) const fn new(inner: S, services: Arc<Services>) -> Self {
        Self { inner, services }
    }
}

impl<S> Service<Request<Body>> for Door<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone that is left behind is not ready; this one was asked.
        let ready = self.inner.clone();
        let inner = mem::replace(&mut self.inner, ready);
        Box::pin(pass(inner, Arc::clone(&self.services), request))
    }
}

async fn pass<S>(
    mut inner: S,
    services: Arc<Services>,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let path = request.uri().path().to_owned();
    let peer = peer_of(request.extensions());
    let Some(need) = need_of(&path) else {
        return Ok(Status::unimplemented("there is no such call").into_http());
    };
    if need == Need::Read
        && let Err(failure) = services.gate.admit_reader(&peer, &path).await
    {
        return Ok(to_status(&failure).into_http());
    }
    if path == method::LOAD_IMAGE {
        return inner.call(request).await;
    }
    let Ok(answer) = timeout(ANSWER, inner.call(request)).await else {
        let failure = Failure::new(
            FailureKind::Other,
            format!("the call was given up after {ANSWER:?}"),
        );
        return Ok(to_status(&failure.next("ask the node what became of it")).into_http());
    };
    let answer = answer?;
    // A message over the limit is refused by its announced length, before it is read.
    if let Some(status) = Status::from_header_map(answer.headers())
        && status.code() == Code::OutOfRange
        && let Err(failure) = services
            .gate
            .refuse_unread::<()>(&peer, &path, too_large(&status))
            .await
    {
        return Ok(to_status(&failure).into_http());
    }
    Ok(answer)
}
