//! Caddy's admin endpoint on its unix socket: one connection a question.

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
use tokio::{net::UnixStream, time::timeout};

use super::TrafficError;

/// Loading takes Caddy some milliseconds; an operator's many sites may take it a while longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer in bytes: the whole configuration, translated to JSON.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Admin {
    socket: PathBuf,
}

impl Admin {
    pub(super) const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
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

    async fn post(&self, path: &str, caddyfile: &str) -> Result<Bytes, TrafficError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| {
            TrafficError::Unreachable {
                socket: self.socket.clone(),
                source,
            }
        })?;
        timeout(PATIENCE, exchange(stream, path, caddyfile))
            .await
            .map_err(|elapsed| TrafficError::NoAnswer(elapsed.into()))?
            .map_err(TrafficError::NoAnswer)?
    }
}

type Answered = Result<Bytes, TrafficError>;

async fn exchange(
    stream: UnixStream,
    path: &str,
    caddyfile: &str,
) -> Result<Answered, Box<dyn Error + Send + Sync>> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        // Caddy compares the host with the addresses it listens on; a unix socket's has no name.
        .header(header::HOST, "")
        .header(header::CONTENT_TYPE, "text/caddyfile")
        .body(Full::new(Bytes::copy_from_slice(caddyfile.as_bytes())))?;
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
