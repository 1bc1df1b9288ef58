//! Visitors with a connection each, which they keep as long as Caddy does.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::sleep};

type Failed = Box<dyn Error + Send + Sync>;
type Sender = SendRequest<Empty<Bytes>>;

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) answered: usize,
    /// Answered with something else than a slot's own answer.
    pub(crate) wrong: usize,
    /// Sent, and never answered.
    pub(crate) lost: usize,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicUsize,
}

pub(crate) struct Clients {
    shared: Arc<Shared>,
    running: JoinSet<Counted>,
}

impl Clients {
    pub(crate) fn start(many: usize, port: u16) -> Self {
        let shared = Arc::new(Shared::default());
        let mut running = JoinSet::new();
        for _ in 0..many {
            running.spawn(visit(port, Arc::clone(&shared)));
        }
        Self { shared, running }
    }

    /// Until so many more were answered.
    pub(crate) async fn some_more(&self, many: usize) {
        let until = self.shared.answered.load(Ordering::Relaxed) + many;
        while self.shared.answered.load(Ordering::Relaxed) < until {
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn stop(mut self) -> Counted {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Counted::default();
        while let Some(one) = self.running.join_next().await {
            let one = one.unwrap();
            all.answered += one.answered;
            all.wrong += one.wrong;
            all.lost += one.lost;
        }
        all
    }
}

async fn visit(port: u16, shared: Arc<Shared>) -> Counted {
    let mut counted = Counted::default();
    let mut kept: Option<Sender> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        // One that Caddy closed in the meantime is made anew; no request was sent on it.
        let sender = match kept.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => Ok(sender),
            None => connect(port).await,
        };
        let asked = match sender {
            Ok(mut sender) => request(&mut sender).await.map(|answer| (answer, sender)),
            Err(failed) => Err(failed),
        };
        match asked {
            Ok((answer, sender)) => {
                counted.answered += 1;
                shared.answered.fetch_add(1, Ordering::Relaxed);
                if !matches!(&answer, (StatusCode::OK, body) if body == "blue" || body == "green") {
                    counted.wrong += 1;
                }
                kept = Some(sender);
            }
            Err(_) => counted.lost += 1,
        }
        sleep(Duration::from_millis(2)).await;
    }
    counted
}

/// One request on a connection of its own.
pub(crate) async fn ask(port: u16) -> Result<String, Failed> {
    let mut sender = connect(port).await?;
    let (status, body) = request(&mut sender).await?;
    match status {
        StatusCode::OK => Ok(body),
        other => Err(format!("{other}: {body}").into()),
    }
}

async fn connect(port: u16) -> Result<Sender, Failed> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn request(sender: &mut Sender) -> Result<(StatusCode, String), Failed> {
    sender.ready().await?;
    let request = Request::get("/").header(header::HOST, "127.0.0.1");
    let response = sender.send_request(request.body(Empty::new())?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec())?))
}
