//! Asking the app how it is: in its slot, and through the proxy as the public would.
//!
//! Nothing is retried here and no connection is kept, so an answer is about now, and a slot that
//! drains is not held up by our own connections. An app that reports less than the Togather server
//! (no JSON, no metrics) is judged by what it does report.

mod answer;
mod metrics;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use reqwest::{Client, StatusCode, redirect};
use togather_model::Slot;
use tokio::time::Instant;
use url::Url;

pub use answer::{Answer, Check};
pub use metrics::Requests;

/// The largest answer that is read, in bytes. A health answer has some hundreds; metrics of a busy
/// app some hundred thousand.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// What the node asks of the app over HTTP. One call is one question; waiting is the caller's.
#[async_trait]
pub trait Health: Send + Sync {
    /// Asks the app in this slot for its health.
    async fn slot(&self, slot: Slot) -> Result<Answer, HealthError>;

    /// Asks for health the way the public does: through the proxy.
    async fn public(&self) -> Result<Answer, HealthError>;

    /// The requests this slot's app has counted since it started, if it counts them (`/metrics`,
    /// `http_requests_total{status}`).
    async fn requests(&self, slot: Slot) -> Result<Option<Requests>, HealthError>;
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The public address has no host that could be asked.
    #[error("`{0}` is not an address to ask: expected for example `https://events.example.org`")]
    Address(Url),
    /// The HTTP client could not be made, for example because no root certificates are installed.
    #[error("the HTTP client could not be made")]
    Client(#[source] reqwest::Error),
    /// No connection, no answer in time, or a certificate that does not fit.
    #[error("{url} did not answer")]
    NoAnswer {
        /// What was asked.
        url: Url,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// The answer is longer than anything this agent reads.
    #[error("{url} answered with more than {MAX_ANSWER} bytes")]
    TooLong {
        /// What was asked.
        url: Url,
    },
    /// For stand-ins in tests.
    #[error("{0}")]
    Other(String),
}

/// Where the app answers.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The address the public uses. Its host and scheme are kept, but the connection goes to this
    /// machine, so that it is this node's proxy that is asked, whatever the name resolves to.
    pub public_url: Url,
    /// The path of the health answer, for example `/health`.
    pub health_path: String,
    /// The path of the Prometheus metrics, if the app has them.
    pub metrics_path: Option<String>,
    /// The longest one question may take.
    pub timeout: Duration,
}

/// The app as HTTP shows it.
#[derive(Debug)]
pub struct Http {
    settings: HttpSettings,
    client: Client,
}

impl Http {
    /// An app that answers as these settings say.
    ///
    /// # Errors
    /// The public address names no host, or the HTTP client cannot be made.
    pub fn new(settings: HttpSettings) -> Result<Self, HealthError> {
        let public = &settings.public_url;
        let Some(host) = public
            .host_str()
            .filter(|_| public.scheme().starts_with("http"))
        else {
            return Err(HealthError::Address(public.clone()));
        };
        // Port 0 stands for the address's own.
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut client = Client::builder()
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none())
            .timeout(settings.timeout)
            .resolve(host, here);
        if public.scheme() == "http" {
            // The system's root certificates take memory for good; without https nobody needs them.
            client = client.tls_certs_only([]);
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Losing a race here means that another one is installed, which is as good.
            let _lost = rustls::crypto::ring::default_provider().install_default();
        }
        let client = client.build().map_err(HealthError::Client)?;
        Ok(Self { settings, client })
    }

    fn slot_url(slot: Slot, path: &str) -> Result<Url, HealthError> {
        let text = format!("http://127.0.0.1:{}", slot.port());
        let mut url: Url = text.parse().map_err(|_| HealthError::Other(text))?;
        url.set_path(path);
        Ok(url)
    }

    async fn ask(&self, url: Url) -> Result<Asked, HealthError> {
        let no_answer = |source: reqwest::Error| HealthError::NoAnswer {
            url: url.clone(),
            // The address is said once, by us.
            source: source.without_url(),
        };
        let begun = Instant::now();
        let mut response = self
            .client
            .get(url.clone())
            .send()
            .await
            .map_err(no_answer)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(HealthError::TooLong { url });
            }
            body.extend_from_slice(&chunk);
        }
        let slot = response.headers().get("x-togather-slot");
        Ok(Asked {
            status: response.status(),
            slot: slot.and_then(|slot| slot.to_str().ok()?.parse().ok()),
            body,
            latency: begun.elapsed(),
        })
    }

    async fn ask_health(&self, url: Url) -> Result<Answer, HealthError> {
        let asked = self.ask(url).await?;
        let mut answer = Answer::read(asked.status.as_u16(), &asked.body, asked.latency);
        // The proxy knows where it sent the request; the app only says what it was told it is.
        answer.slot = asked.slot.or(answer.slot);
        Ok(answer)
    }
}

struct Asked {
    status: StatusCode,
    slot: Option<Slot>,
    body: Vec<u8>,
    latency: Duration,
}

#[async_trait]
impl Health for Http {
    async fn slot(&self, slot: Slot) -> Result<Answer, HealthError> {
        let url = Self::slot_url(slot, &self.settings.health_path)?;
        self.ask_health(url).await
    }

    async fn public(&self) -> Result<Answer, HealthError> {
        let mut url = self.settings.public_url.clone();
        url.set_path(&self.settings.health_path);
        self.ask_health(url).await
    }

    async fn requests(&self, slot: Slot) -> Result<Option<Requests>, HealthError> {
        let Some(path) = &self.settings.metrics_path else {
            return Ok(None);
        };
        let asked = self.ask(Self::slot_url(slot, path)?).await?;
        if !asked.status.is_success() {
            return Ok(None);
        }
        Ok(Requests::read(&String::from_utf8_lossy(&asked.body)))
    }
}

#[cfg(test)]
mod tests;
