//! Metrics in OpenMetrics' text format, as Prometheus reads it: `GET /metrics`.
//!
//! A scrape asks nothing outside: it reads a few rows of the node's state and what the lookout knows.
//! Times are those of what happened and not ages, so that an alert rule works when the agent hangs.

#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::{Registry, Unit},
};
use togather_model::{JobKind, OperationState, Timestamp};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::{
    jobs::Job,
    lookout::{Known, Lookout},
    state::{State, StateError, Tally},
};

/// The format and its version.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections that may be open: Prometheus needs one.
const MAX_CONNECTIONS: usize = 8;
/// How long a client may take to say what it wants, and a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything a scrape tells.
struct Facts {
    known: Known,
    /// The last job of each kind that ended.
    jobs: Vec<Job>,
    tallies: Vec<Tally>,
    is_stuck: bool,
}

/// Where metrics are asked for.
pub struct Metrics {
    state: State,
    lookout: Lookout,
    listener: TcpListener,
}

impl Metrics {
    /// Listens at this address; nothing is answered yet.
    ///
    /// # Errors
    /// The address is not the machine's, or taken.
    pub async fn listen(address: SocketAddr, state: State, lookout: Lookout) -> io::Result<Self> {
        Ok(Self {
            state,
            lookout,
            listener: TcpListener::bind(address).await?,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the agent stops.
    pub async fn serve(self, stopping: CancellationToken) {
        let open = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let this = Arc::new(self);
        loop {
            let Ok(place) = Arc::clone(&open).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = this.listener.accept() => accepted,
                () = stopping.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (this, stopping) = (Arc::clone(&this), stopping.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = this.answer(stream) => {}
                            () = stopping.cancelled() => {}
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection for metrics was not accepted");
                    // What is used up (open files, say) is not there again at once.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn answer(&self, stream: TcpStream) {
        let service =
            service_fn(|request| async move { Ok::<_, Infallible>(self.to(&request).await) });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = served.await {
            tracing::debug!(%error, "a connection for metrics broke");
        }
    }

    async fn to(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/metrics" {
            return refusal(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
        }
        if request.method() != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "metrics are only to GET\n");
        }
        match self.text().await {
            Ok(text) => {
                let mut response = Response::new(Full::from(text));
                let format = header::HeaderValue::from_static(FORMAT);
                response.headers_mut().insert(header::CONTENT_TYPE, format);
                response
            }
            Err(error) => {
                tracing::warn!(%error, "metrics could not be told");
                refusal(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the agent's state cannot be read; look at its journal\n",
                )
            }
        }
    }

    async fn text(&self) -> Result<String, StateError> {
        let state = &self.state;
        let last = state.operations(None, 1).await?.into_iter().next();
        let is_stuck = last.is_some_and(|last| last.state == OperationState::Stuck);
        let facts = Facts {
            known: self.lookout.known(),
            jobs: state.last_jobs().await?,
            tallies: state.tallies().await?,
            is_stuck: is_stuck || state.stuck_job().await?.is_some(),
        };
        facts.text().map_err(|_| StateError::Unreadable {
            what: "metric",
            why: "it has no text".to_owned(),
        })
    }
}

fn refusal(status: StatusCode, why: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(why));
    *response.status_mut() = status;
    response
}

type Labels = Vec<(&'static str, String)>;
type Whole = Gauge;
type Fraction = Gauge<f64, AtomicU64>;

/// The registry of one scrape, which is filled and told and gone.
struct Page(Registry);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: i64) {
        self.0.register(name, help, ConstGauge::new(value));
    }

    fn flag(&mut self, name: &str, help: &str, is_so: bool) {
        self.gauge(name, help, i64::from(is_so));
    }

    fn time(&mut self, name: &str, help: &str, at: Option<Timestamp>) {
        if let Some(at) = at {
            let value = ConstGauge::new(seconds(at));
            self.0.register_with_unit(name, help, Unit::Seconds, value);
        }
    }

    fn size(&mut self, name: &str, help: &str, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            let value = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            self.0.register_with_unit(name, help, Unit::Bytes, value);
        }
    }
}

impl Facts {
    fn text(&self) -> Result<String, fmt::Error> {
        let mut page = Page(Registry::with_prefix("togather"));
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        let help = "The agent that tells this";
        page.0.register("agent_build", help, Info::new(version));
        let help = "Whether a deployment or restore could not be taken back, and a human is needed";
        page.flag("stuck", help, self.is_stuck);
        self.snapshots(&mut page);
        self.last_jobs(&mut page);
        self.endings(&mut page);
        let mut text = String::new();
        encode(&mut text, &page.0)?;
        Ok(text)
    }

    fn snapshots(&self, page: &mut Page) {
        let known = &self.known;
        let (last, verified) = (known.last, known.last_verified);
        let help = "When the newest snapshot in the store was taken";
        page.time("snapshot_last_timestamp", help, last.map(|s| s.taken_at));
        let help = "When the newest snapshot was taken that was restored and found whole";
        let at = verified.map(|s| s.taken_at);
        page.time("snapshot_last_verified_timestamp", help, at);
        let help = "The size of the newest snapshot's dump";
        page.size("snapshot_last_size", help, last.map(|s| s.bytes));
        let help = "Whether the last verified snapshot is older than snapshots.overdue_after";
        page.flag("snapshot_overdue", help, known.is_overdue);
        let help = "Snapshots that wait on the node's own disk for the store";
        let spooled = i64::try_from(known.spooled).unwrap_or(i64::MAX);
        page.gauge("snapshots_spooled", help, spooled);
        let help = "When the snapshot store last answered";
        page.time("snapshot_store_seen_timestamp", help, known.seen_at);
    }

    fn last_jobs(&self, page: &mut Page) {
        let ended: Family<Labels, Whole> = Family::default();
        let took: Family<Labels, Fraction> = Family::default();
        let success: Family<Labels, Whole> = Family::default();
        for job in &self.jobs {
            let label = vec![("job", label(job.kind).to_owned())];
            let ended_at = job.ended_at.unwrap_or(job.started_at);
            let length = ended_at.duration_since(job.started_at).as_secs_f64();
            ended.get_or_create(&label).set(seconds(ended_at));
            took.get_or_create(&label).set(length);
            let is_well = i64::from(job.failure.is_none());
            success.get_or_create(&label).set(is_well);
        }
        let help = "When the last job of this kind ended";
        let (unit, name) = (Unit::Seconds, "snapshot_job_last_timestamp");
        page.0.register_with_unit(name, help, unit, ended);
        let help = "How long the last job of this kind took";
        let (unit, name) = (Unit::Seconds, "snapshot_job_last_duration");
        page.0.register_with_unit(name, help, unit, took);
        let help = "Whether the last job of this kind did what it was to do";
        page.0.register("snapshot_job_last_success", help, success);
    }

    fn endings(&self, page: &mut Page) {
        let deployments: Family<Labels, Counter> = Family::default();
        let jobs: Family<Labels, Counter> = Family::default();
        for kind in ["deploy", "rollback"] {
            for ending in ["done", "undone", "stuck"] {
                let labels = vec![("kind", kind.to_owned()), ("ending", ending.to_owned())];
                let times = self.times(kind, ending);
                deployments.get_or_create(&labels).inc_by(times);
            }
        }
        for kind in JobKind::ALL {
            for result in ["done", "failed", "stuck", "skipped"] {
                let labels = vec![
                    ("job", label(kind).to_owned()),
                    ("result", result.to_owned()),
                ];
                let times = self.times(kind.as_str(), result);
                jobs.get_or_create(&labels).inc_by(times);
            }
        }
        let help = "Deployments and rollbacks that ended";
        page.0.register("deployments", help, deployments);
        let help = "Jobs on snapshots that ended, or never got their turn";
        page.0.register("snapshot_jobs", help, jobs);
    }

    fn times(&self, what: &str, ending: &str) -> u64 {
        let mut tallies = self.tallies.iter();
        let tally = tallies.find(|tally| (&*tally.what, &*tally.ending) == (what, ending));
        tally.map_or(0, |tally| tally.times)
    }
}

const fn label(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Create => "create",
        JobKind::Verify => "verify",
        JobKind::Restore => "restore",
        JobKind::UndoRestore => "undo_restore",
        JobKind::Prune => "prune",
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.as_second()
}
