//! Caddy's admin endpoint: one connection a question.

use std::{
    error::Error,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{AdminEndpoint, TrafficError, socket};

/// Loading takes Caddy some milliseconds; an operator's many sites may take it a while longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer in bytes: the whole configuration, translated to JSON.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Admin {
    endpoint: AdminEndpoint,
    /// Named where something is wrong with the endpoint: it says where that is.
    caddyfile: PathBuf,
}

/// A question, or an order.
struct Question<'a> {
    method: Method,
    path: &'a str,
    caddyfile: &'a str,
}

impl Admin {
    pub(super) fn new(endpoint: AdminEndpoint, caddyfile: &Path) -> Self {
        Self {
            endpoint,
            caddyfile: caddyfile.to_owned(),
        }
    }

    pub(super) const fn endpoint(&self) -> &AdminEndpoint {
        &self.endpoint
    }

    /// What this Caddyfile means, as Caddy's JSON. Changes nothing.
    pub(super) async fn adapt(&self, caddyfile: &str) -> Result<Value, TrafficError> {
        let mut answer: Value = serde_json::from_slice(&self.post("/adapt", caddyfile).await?)
            .map_err(|e| TrafficError::NoAnswer(e.into()))?;
        Ok(answer["result"].take())
    }

    /// Serves by this Caddyfile from now on. A refusal leaves what is served untouched.
    pub(super) async fn load(&self, caddyfile: &str) -> Result<(), TrafficError> {
        self.post("/load", caddyfile).await.map(drop)
    }

    /// What the configuration that Caddy serves by says of the admin endpoint; null: nothing.
    pub(super) async fn served(&self) -> Result<Value, TrafficError> {
        let question = Question {
            method: Method::GET,
            path: "/config/admin",
            caddyfile: "",
        };
        match self.ask(question).await {
            Ok(answer) => {
                serde_json::from_slice(&answer).map_err(|e| TrafficError::NoAnswer(e.into()))
            }
            // Caddy has no configuration yet.
            Err(TrafficError::Refused { .. }) => Ok(Value::Null),
            Err(error) => Err(error),
        }
    }

    async fn post(&self, path: &str, caddyfile: &str) -> Result<Bytes, TrafficError> {
        let method = Method::POST;
        self.ask(Question {
            method,
            path,
            caddyfile,
        })
        .await
    }

    async fn ask(&self, question: Question<'_>) -> Result<Bytes, TrafficError> {
        let host = self.endpoint.host();
        let exchanged = match &self.endpoint {
            AdminEndpoint::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                let stream = stream.map_err(|e| socket::unreachable(path, &self.caddyfile, e))?;
                timeout(PATIENCE, exchange(stream, host, question)).await
            }
            AdminEndpoint::Loopback(address) => {
                let stream = TcpStream::connect(address).await;
                let stream = stream.map_err(|source| TrafficError::UnreachableAddress {
                    address: address.clone(),
                    caddyfile: self.caddyfile.clone(),
                    source,
                })?;
                timeout(PATIENCE, exchange(stream, host, question)).await
            }
        };
        exchanged
            .map_err(|elapsed| TrafficError::NoAnswer(elapsed.into()))?
            .map_err(TrafficError::NoAnswer)?
    }
}

type Answered = Result<Bytes, TrafficError>;

async fn exchange<S>(
    stream: S,
    host: &str,
    question: Question<'_>,
) -> Result<Answered, Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::builder()
        .method(question.method)
        .uri(question.path)
        // Caddy compares it with the addresses it listens on.
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "text/caddyfile")
        .body(Full::new(Bytes::copy_from_slice(
            question.caddyfile.as_bytes(),
        )))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let ask = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER);
        let body = body.collect().await?.to_bytes();
        drop(sender);
        Ok::<_, Box<dyn Error + Send + Sync>>((status, body))
    };
    // The connection ends with an error when Caddy closes it early; the answer is what counts.
    let (answer, _closed) = tokio::join!(ask, connection);
    let (status, body) = answer?;
    if status.is_success() {
        return Ok(Ok(body));
    }
    Ok(Err(TrafficError::Refused {
        status: status.as_u16(),
        message: message(&body),
    }))
}

/// Caddy's errors are `{"error": "..."}`.
fn message(body: &[u8]) -> String {
    let error = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|json| Some(json.get("error")?.as_str()?.to_owned()));
    error.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn caddys_own_words_are_kept() {
        assert_eq!(
            message(br#"{"error":"Caddyfile:2: unrecognized"}"#),
            "Caddyfile:2: unrecognized"
        );
        assert_eq!(message(b"host not allowed\n"), "host not allowed");
    }
}
