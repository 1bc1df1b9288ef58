//! Asking the app how it is: in its slot, and through the proxy as the public would.
//!
//! No connection is kept, so an answer is about now, and a slot that drains is not held up by our own
//! connections. An app that reports less than the Togather server (no JSON, no metrics) is judged by
//! what it does report. Apps limit how often a client may ask most paths; the [`Asker`] keeps within.

mod answer;
mod asker;
mod metrics;
mod page;
mod proof;
mod ration;
mod reach;

#[cfg(test)]
pub(crate) mod fake;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use reqwest::{Client, redirect};
use togather_model::{Slot, Timestamp};
use tokio::time::Instant;
use url::Url;

pub use answer::{Answer, Check};
pub use asker::{Asker, Clock, Condition};
pub use metrics::{Counted, Requests};
pub(crate) use page::Expectation;
pub use page::Received;
pub(crate) use proof::{Proof, how_it_ended};
pub(crate) use ration::Rounds;
use reach::Question;
pub use reach::Reach;

/// The largest answer that is read, in bytes. A health answer has some hundreds; metrics of a busy
/// app some hundred thousand.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Where the app is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Directly, in this slot.
    Slot(Slot),
    /// The way the public does: through the proxy.
    Public,
}

/// What the node asks of the app over HTTP. One call is one question; waiting is the caller's.
#[async_trait]
pub trait Health: Send + Sync {
    /// Asks for the verdict, which names version and checks (`app.health_path`). A limited path.
    async fn verdict(&self, place: Place) -> Result<Answer, HealthError>;

    /// Asks whether the app takes requests, as often as one likes (`app.ready_path`); `None`: it has
    /// no such path.
    async fn ready(&self, place: Place) -> Result<Option<Answer>, HealthError>;

    /// The requests this slot's app has counted since it started (`/metrics`,
    /// `…http_requests_total{status}`). A limited path.
    async fn requests(&self, slot: Slot) -> Result<Counted, HealthError>;

    /// Asks for a page by its path (`app.expect`). A limited path.
    async fn page(&self, place: Place, path: &str) -> Result<Received, HealthError>;

    /// Whether the public address leads here, where this slot is live. Asks no limited path of an app.
    async fn reach(&self, live: Option<Slot>) -> Reach;
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

impl HealthError {
    /// Whether the question cannot have reached the app, so that it did not count it either.
    fn is_unheard(&self) -> bool {
        match self {
            Self::NoAnswer { source, .. } => source.is_request() && !source.is_timeout(),
            Self::Address(_) | Self::Client(_) | Self::Other(_) => true,
            Self::TooLong { .. } => false,
        }
    }
}

/// Where the app answers.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The address the public uses. Its host and scheme are kept, but the connection goes to this
    /// machine, so that it is this node's proxy that is asked, whatever the name resolves to.
    pub public_url: Url,
    /// The path of the health answer, for example `/health`.
    pub health_path: String,
    /// The path that may be asked as often as one likes, if the app has one, for example `/readyz`.
    pub ready_path: Option<String>,
    /// The path of the Prometheus metrics, if the app has them.
    pub metrics_path: Option<String>,
    /// The series that counts requests by status; `None`: it is found by its name's end.
    pub requests_metric: Option<String>,
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

    fn url(&self, place: Place, path: &str) -> Result<Url, HealthError> {
        let mut url = match place {
            Place::Public => self.settings.public_url.clone(),
            Place::Slot(slot) => {
                let text = format!("http://127.0.0.1:{}", slot.port());
                text.parse().map_err(|_| HealthError::Other(text))?
            }
        };
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        url.set_path(path);
        url.set_query(query);
        Ok(url)
    }

    async fn ask(&self, url: Url) -> Result<(Received, Duration), HealthError> {
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
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let received = Received {
            http_status: response.status().as_u16(),
            slot: header("x-togather-slot").and_then(|slot| slot.parse().ok()),
            retry_after: header("retry-after").and_then(retry_after),
            body,
        };
        Ok((received, begun.elapsed()))
    }

    async fn ask_health(&self, url: Url) -> Result<Answer, HealthError> {
        let (received, latency) = self.ask(url).await?;
        let mut answer = Answer::read(received.http_status, &received.body, latency);
        // The proxy knows where it sent the request; the app only says what it was told it is.
        answer.slot = received.slot.or(answer.slot);
        answer.retry_after = received.retry_after;
        Ok(answer)
    }
}

/// The wait that a `Retry-After` header asks for: so many seconds, or until a date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Some(
        Timestamp::now()
            .duration_until(at)
            .try_into()
            .unwrap_or_default(),
    )
}

#[async_trait]
impl Health for Http {
    async fn verdict(&self, place: Place) -> Result<Answer, HealthError> {
        let url = self.url(place, &self.settings.health_path)?;
        self.ask_health(url).await
    }

    async fn ready(&self, place: Place) -> Result<Option<Answer>, HealthError> {
        let Some(path) = &self.settings.ready_path else {
            return Ok(None);
        };
        self.ask_health(self.url(place, path)?).await.map(Some)
    }

    async fn requests(&self, slot: Slot) -> Result<Counted, HealthError> {
        let Some(path) = &self.settings.metrics_path else {
            return Ok(Counted::Unwanted);
        };
        let (received, _) = self.ask(self.url(Place::Slot(slot), path)?).await?;
        match received.http_status {
            200..300 => {}
            _ if received.is_later() => return Ok(Counted::Later),
            status => return Ok(Counted::NoMetrics(status)),
        }
        let own: Vec<&str> = [
            Some(&self.settings.health_path),
            Some(path),
            self.settings.ready_path.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
        let name = self.settings.requests_metric.as_deref();
        let metrics = String::from_utf8_lossy(&received.body);
        let counted = Requests::read(&metrics, name, &own);
        let wanted = self.settings.requests_metric.clone();
        Ok(counted.map_or(Counted::NoSeries(wanted), Counted::Requests))
    }

    async fn page(&self, place: Place, path: &str) -> Result<Received, HealthError> {
        let (received, _) = self.ask(self.url(place, path)?).await?;
        Ok(received)
    }

    async fn reach(&self, live: Option<Slot>) -> Reach {
        // Where nothing is live, it is the proxy itself that answers.
        let path = match (&self.settings.ready_path, live) {
            (Some(path), _) => Some(path.as_str()),
            (None, None) => Some("/"),
            (None, Some(_)) => None,
        };
        let path = path.and_then(|path| self.url(Place::Public, path).ok());
        let question = Question {
            public: &self.settings.public_url,
            path: path.clone(),
            live,
        };
        let here = async {
            let came = self.ask(path?).await.map(|(received, _)| received);
            question.judge_here(&came)
        };
        let (unproven, doubts) = tokio::join!(here, question.doubts());
        Reach { unproven, doubts }
    }
}

#[cfg(test)]
mod tests;
