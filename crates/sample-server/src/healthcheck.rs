//! Asking the server on this machine for its health, for a container's own check.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::body::Body;
use http_body_util::{BodyExt, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::timeout;

/// Longer than the server itself takes when its database is gone.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// Asks the server that listens on this address, and hands back its answer.
///
/// # Errors
/// There is no answer in time, or it is not a healthy one.
pub(crate) async fn ask(listens_on: SocketAddr, path: &str) -> Result<String> {
    let url = format!("http://{}{path}", reachable(listens_on));
    let asking = async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let answer = client.get(url.parse()?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let (status, text) = timeout(PATIENCE, asking)
        .await
        .with_context(|| format!("{url} did not answer within {} s", PATIENCE.as_secs()))?
        .with_context(|| format!("{url} did not answer"))?;
    if !status.is_success() {
        bail!("not healthy (HTTP {}): {text}", status.as_u16());
    }
    Ok(text)
}

/// Who listens everywhere is reached on this machine's own address.
fn reachable(listens_on: SocketAddr) -> SocketAddr {
    let ip = match listens_on.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listens_on.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_here() {
        for (listens_on, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            let listens_on = listens_on.parse().unwrap();
            assert_eq!(reachable(listens_on).to_string(), asked);
        }
    }

    #[tokio::test]
    async fn no_answer_is_an_error_that_says_who_was_asked() {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = format!("{:#}", ask(nobody, "/health").await.unwrap_err());
        assert!(error.contains("http://127.0.0.1:1/health"), "{error}");
    }
}
