//! One request over HTTP/1.1: what is sent, and what counts as a good answer.

use std::{error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;
use tokio::time::timeout;

use super::{
    sample::{Answer, Kind},
    target::Target,
};

/// A request that has no whole answer by then has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a slow request is asked to take, in milliseconds.
const SLOW: u32 = 1500;
/// More than any answer has.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;

type Body = Full<Bytes>;

/// Sends to one target.
#[derive(Debug)]
pub(crate) struct Sender {
    address: SocketAddr,
    /// Keeps its connections.
    kept: Client<HttpConnector, Body>,
    /// A connection for every request. A proxy may close a kept connection at the moment a request
    /// leaves on it; what must not be sent twice does not take that chance.
    fresh: Client<HttpConnector, Body>,
}

/// What became of a request.
pub(crate) struct Sent {
    pub(crate) resent: bool,
    pub(crate) result: Result<Answer, String>,
}

impl Sender {
    pub(crate) fn new(target: &Target) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = |idle| {
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(idle)
                .build(connector.clone())
        };
        Self {
            address: target.address(),
            kept: client(usize::MAX),
            fresh: client(0),
        }
    }

    /// Sends the request and reads its answer to the end. One that only reads is sent once more if
    /// the kept connection turned out to be closed, as every HTTP client does (RFC 9110, 9.2.2).
    pub(crate) async fn send(&self, kind: Kind, number: u32) -> Sent {
        let client = match kind {
            Kind::Read | Kind::Slow => &self.kept,
            Kind::Write => &self.fresh,
        };
        let mut resent = false;
        let once_or_twice = async {
            match self.once(client, kind, number).await {
                Err(Failed::Closed(_)) if kind != Kind::Write => {
                    resent = true;
                    self.once(&self.fresh, kind, number).await
                }
                other => other,
            }
        };
        let result = match timeout(PATIENCE, once_or_twice).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Failed::Closed(why) | Failed::Otherwise(why))) => Err(why),
            Err(_) => Err(format!("no whole answer within {} s", PATIENCE.as_secs())),
        };
        Sent { resent, result }
    }

    async fn once(
        &self,
        client: &Client<HttpConnector, Body>,
        kind: Kind,
        number: u32,
    ) -> Result<Answer, Failed> {
        let request = request(self.address, kind, number)
            .map_err(|error| Failed::Otherwise(error.to_string()))?;
        let answer = client.request(request).await?;
        let status = answer.status();
        let slot = answer.headers().get("x-togather-slot");
        let slot = slot.and_then(|slot| Some(slot.to_str().ok()?.to_owned()));
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect();
        let body = body.await.map_err(|error| {
            Failed::Otherwise(format!("the answer broke off: {}", causes(error.as_ref())))
        })?;
        if !status.is_success() {
            let text = body.to_bytes();
            let text = String::from_utf8_lossy(&text[..text.len().min(120)]).into_owned();
            return Err(Failed::Otherwise(format!("{status} {}", text.trim())));
        }
        Ok(Answer {
            status: status.as_u16(),
            slot,
        })
    }
}

/// Why there is no good answer.
enum Failed {
    /// The connection was closed before a byte of the answer.
    Closed(String),
    Otherwise(String),
}

impl From<legacy::Error> for Failed {
    fn from(error: legacy::Error) -> Self {
        let why = causes(&error);
        let mut cause: Option<&dyn Error> = Some(&error);
        let closed = loop {
            let Some(at) = cause else { break false };
            if let Some(at) = at.downcast_ref::<hyper::Error>()
                && (at.is_incomplete_message() || at.is_closed() || at.is_canceled())
            {
                break true;
            }
            if let Some(at) = at.downcast_ref::<std::io::Error>() {
                use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
                break matches!(at.kind(), ConnectionReset | BrokenPipe);
            }
            cause = at.source();
        };
        if closed && !error.is_connect() {
            Self::Closed(why)
        } else {
            Self::Otherwise(why)
        }
    }
}

fn request(address: SocketAddr, kind: Kind, number: u32) -> Result<Request<Body>, http::Error> {
    let at = |path: &str| format!("http://{address}{path}");
    match kind {
        Kind::Read => Request::get(at("/api/v1/events?limit=20")).body(Body::default()),
        Kind::Slow => Request::get(at(&format!("/slow?ms={SLOW}"))).body(Body::default()),
        Kind::Write => {
            let event = json!({
                "name": format!("Load {number}"),
                "starts_at": "2030-01-01T20:00:00Z",
                "longitude": -79.38,
                "latitude": 43.65,
            });
            Request::builder()
                .method(Method::POST)
                .uri(at("/api/v1/events"))
                .header(CONTENT_TYPE, "application/json")
                .body(Body::from(event.to_string()))
        }
    }
}

/// The error and its causes, each once.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(at) = cause {
        let said = at.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = at.source();
    }
    text
}
