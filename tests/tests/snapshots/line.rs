//! The line between the agent and the S3 server, on which something goes wrong when it is told to.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, request::Parts};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinHandle};

use crate::bucket::listen;

/// A kind of request: its method, and a part of its address.
pub(crate) type Asked = (Method, &'static str);

pub(crate) const ROLES: Asked = (Method::PUT, ".globals.sql");
pub(crate) const BEGIN: Asked = (Method::POST, "?uploads");
pub(crate) const SECOND_PART: Asked = (Method::PUT, "partNumber=2&");
pub(crate) const THIRD_PART: Asked = (Method::PUT, "partNumber=3&");
pub(crate) const COMPLETE: Asked = (Method::POST, "uploadId=");
pub(crate) const MANIFEST: Asked = (Method::PUT, ".manifest.json");
pub(crate) const MARK: Asked = (Method::PUT, ".verified.json");
pub(crate) const LIST: Asked = (Method::GET, "list-type=2");
pub(crate) const READ: Asked = (Method::GET, ".dump");
pub(crate) const TAKE_BACK: Asked = (Method::DELETE, "uploadId=");
pub(crate) const REMOVE: Asked = (Method::POST, "?delete");

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// This status is the answer, and the server never hears of the request.
    Refused(u16),
    /// The connection ends in the middle of the request.
    CutThere,
    /// The server does what it was asked, and its answer is never heard.
    AnswerLost,
    /// The connection ends in the middle of the answer.
    CutBack,
    /// No answer comes, and the connection stays.
    Silence,
    /// The answer comes after this time.
    Late(Duration),
    /// Half of the answer comes, and the connection stays.
    Stalled,
}

/// The line. Other than told, it passes everything on as it is.
pub(crate) struct Line {
    pub(crate) port: u16,
    wrongs: Arc<Wrongs>,
    listening: JoinHandle<()>,
}

#[derive(Default)]
struct Wrongs {
    rules: Mutex<Vec<Rule>>,
    /// How often nobody was at the other end.
    in_vain: AtomicUsize,
}

struct Rule {
    asked: Asked,
    wrong: Wrong,
    /// So many go well before.
    after: usize,
    times: usize,
    happened: usize,
}

impl Line {
    pub(crate) async fn to(server: u16) -> Self {
        let wrongs = Arc::new(Wrongs::default());
        let going = Arc::clone(&wrongs);
        let (port, listening) = listen(0, move |stream| {
            let wrongs = Arc::clone(&going);
            async move {
                let pass = service_fn(move |request| pass(request, server, Arc::clone(&wrongs)));
                let http = hyper::server::conn::http1::Builder::new();
                // An error is how the connection is cut.
                let _ = http.serve_connection(TokioIo::new(stream), pass).await;
            }
        })
        .await;
        Self {
            port,
            wrongs,
            listening,
        }
    }

    /// The next so many of these requests go wrong in this way.
    pub(crate) fn goes_wrong(&self, asked: Asked, wrong: Wrong, times: usize) {
        self.goes_wrong_after(0, asked, wrong, times);
    }

    /// The same once so many of them have gone well.
    pub(crate) fn goes_wrong_after(&self, after: usize, asked: Asked, wrong: Wrong, times: usize) {
        self.wrongs.rules.lock().unwrap().push(Rule {
            asked,
            wrong,
            after,
            times,
            happened: 0,
        });
    }

    /// How often the server could not be reached.
    pub(crate) fn in_vain(&self) -> usize {
        self.wrongs.in_vain.load(Ordering::Relaxed)
    }

    /// Nothing goes wrong any more. Returns how much did.
    pub(crate) fn is_well(&self) -> usize {
        let rules = std::mem::take(&mut *self.wrongs.rules.lock().unwrap());
        rules.iter().map(|rule| rule.happened).sum()
    }

    /// How much went wrong since all was well.
    pub(crate) fn happened(&self) -> usize {
        let rules = self.wrongs.rules.lock().unwrap();
        rules.iter().map(|rule| rule.happened).sum()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Wrongs {
    fn of(&self, request: &Parts) -> Option<Wrong> {
        let mut rules = self.rules.lock().unwrap();
        let address = request.uri.to_string();
        let rule = rules.iter_mut().find(|rule| {
            let (method, part) = &rule.asked;
            rule.happened < rule.times && request.method == *method && address.contains(part)
        })?;
        if rule.after > 0 {
            rule.after -= 1;
            return None;
        }
        rule.happened += 1;
        Some(rule.wrong)
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

async fn pass(
    request: Request<Incoming>,
    server: u16,
    wrongs: Arc<Wrongs>,
) -> Result<Answer, io::Error> {
    let (parts, mut body) = request.into_parts();
    let wrong = wrongs.of(&parts);
    match wrong {
        Some(Wrong::CutThere) => {
            let _ = body.frame().await;
            return Err(cut());
        }
        Some(Wrong::Silence) => std::future::pending().await,
        Some(Wrong::Refused(status)) => {
            let why = format!("<Error><Code>made to fail</Code><Status>{status}</Status></Error>");
            let _ = body.collect().await;
            let answer = Response::builder().status(status).body(whole(why.into()));
            return answer.map_err(io::Error::other);
        }
        Some(Wrong::AnswerLost | Wrong::CutBack | Wrong::Late(_) | Wrong::Stalled) | None => {}
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let Ok(stream) = TcpStream::connect(("127.0.0.1", server)).await else {
        wrongs.in_vain.fetch_add(1, Ordering::Relaxed);
        return Err(cut());
    };
    let (parts, answer) = ask(stream, Request::from_parts(parts, Full::new(body))).await?;
    let half = || stream::iter([Ok(Frame::data(answer.slice(..answer.len() / 2)))]);
    let body = match wrong {
        Some(Wrong::AnswerLost) => return Err(cut()),
        Some(Wrong::CutBack) => {
            StreamBody::new(half().chain(stream::once(cut_off()))).boxed_unsync()
        }
        Some(Wrong::Stalled) => StreamBody::new(half().chain(stream::pending())).boxed_unsync(),
        Some(Wrong::Late(by)) => {
            tokio::time::sleep(by).await;
            whole(answer)
        }
        _ => whole(answer),
    };
    Ok(Response::from_parts(parts, body))
}

async fn ask(
    stream: TcpStream,
    request: Request<Full<Bytes>>,
) -> Result<(http::response::Parts, Bytes), io::Error> {
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(io::Error::other)?;
    let answered = async {
        let answer = sender.send_request(request).await?;
        let (parts, body) = answer.into_parts();
        Ok((parts, body.collect().await?.to_bytes()))
    };
    let answered: Result<_, hyper::Error> = tokio::select! {
        answered = answered => answered,
        ended = connection => match ended {
            Err(e) => Err(e),
            Ok(()) => return Err(cut()),
        },
    };
    answered.map_err(io::Error::other)
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, io::Error> {
    let never = |never: Infallible| match never {};
    Full::new(body).map_err(never).boxed_unsync()
}

async fn cut_off() -> Result<Frame<Bytes>, io::Error> {
    // What came before it is to be sent first.
    tokio::task::yield_now().await;
    Err(cut())
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
