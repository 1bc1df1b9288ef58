//! An app and a clock for tests: the app limits how often it is asked, as the Togather server does,
//! and time passes only when somebody waits.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use togather_model::Slot;
use tokio::time::Instant;

use super::{
    Answer, Asker, Check, Clock, Counted, Health, HealthError, Place, Reach, Received, Requests,
};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Time that passes when somebody waits, and at once.
#[derive(Clone)]
pub(crate) struct Time(Arc<Mutex<Instant>>);

impl Time {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

#[async_trait]
impl Clock for Time {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
        // Others may go on meanwhile.
        tokio::task::yield_now().await;
    }
}

type Say = Box<dyn Fn(Duration) -> Answer + Send + Sync>;
type ShowPage = Box<dyn Fn(Duration, Place, &str) -> Received + Send + Sync>;
type Count = Box<dyn Fn(Duration) -> Option<Requests> + Send + Sync>;

/// An app in green, by how long it has been there.
pub(crate) struct App {
    time: Time,
    begun: Instant,
    /// Until then nothing listens.
    pub(crate) listens_after: Duration,
    /// So many requests a minute are answered on limited paths; those of visitors are among them.
    pub(crate) limit: usize,
    pub(crate) visitors: usize,
    pub(crate) has_ready_path: bool,
    pub(crate) ready: Say,
    pub(crate) health: Say,
    pub(crate) counted: Count,
    /// What pages answer, by place and path.
    pub(crate) page: ShowPage,
    asked: Mutex<Vec<(Instant, &'static str)>>,
}

impl App {
    pub(crate) fn new(time: &Time) -> Self {
        Self {
            time: time.clone(),
            begun: time.now(),
            listens_after: Duration::ZERO,
            limit: 60,
            visitors: 0,
            has_ready_path: true,
            ready: Box::new(|_| said(200, None, &[])),
            health: Box::new(|_| said(200, Some("healthy"), &[])),
            counted: Box::new(|_| None),
            page: Box::new(|_, _, _| page(200, "a page")),
            asked: Mutex::default(),
        }
    }

    pub(crate) fn asker(self) -> (Arc<Self>, Asker) {
        let app = Arc::new(self);
        let asker = Asker::by(app.clone(), Arc::new(app.time.clone()));
        (app, asker)
    }

    fn age(&self) -> Duration {
        self.time.now().duration_since(self.begun)
    }

    /// How often limited paths were asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// How often this one was.
    pub(crate) fn asked_for(&self, what: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(_, path)| *path == what).count()
    }

    /// The most questions on limited paths within any 60 seconds.
    pub(crate) fn most_in_a_minute(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        let counts = asked.iter().enumerate().map(|(nth, (first, _))| {
            let end = *first + Duration::from_secs(60);
            asked[nth..].iter().filter(|(at, _)| *at < end).count()
        });
        counts.max().unwrap_or(0)
    }

    fn limited(&self, path: &'static str) -> Result<Option<Answer>, HealthError> {
        self.listens()?;
        let now = self.time.now();
        let mut asked = self.asked.lock().unwrap();
        asked.push((now, path));
        let minute = |at: &Instant| now.duration_since(*at) < Duration::from_secs(60);
        let recent = asked.iter().filter(|(at, _)| minute(at)).count();
        Ok((recent + self.visitors > self.limit).then(|| Answer {
            retry_after: Some(Duration::from_secs(60)),
            ..said(429, None, &[])
        }))
    }

    fn listens(&self) -> Result<(), HealthError> {
        match self.age() >= self.listens_after {
            true => Ok(()),
            false => Err(HealthError::Other("connection refused".into())),
        }
    }
}

/// An answer of this app.
pub(crate) fn said(http_status: u16, status: Option<&str>, checks: &[(&str, &str)]) -> Answer {
    Answer {
        http_status,
        status: status.map(Into::into),
        version: None,
        git_commit: status.map(|_| COMMIT.into()),
        slot: Some(Slot::Green),
        checks: checks
            .iter()
            .map(|(name, status)| Check {
                name: (*name).into(),
                status: (*status).into(),
                message: "so it is".into(),
            })
            .collect(),
        latency: Duration::from_millis(1),
        retry_after: None,
    }
}

/// A page of this app.
pub(crate) fn page(http_status: u16, body: &str) -> Received {
    Received {
        http_status,
        slot: Some(Slot::Green),
        retry_after: None,
        body: body.into(),
    }
}

#[async_trait]
impl Health for App {
    async fn verdict(&self, place: Place) -> Result<Answer, HealthError> {
        let path = match place {
            Place::Slot(_) => "slot",
            Place::Public => "public",
        };
        let turned_away = self.limited(path)?;
        Ok(turned_away.unwrap_or_else(|| (self.health)(self.age())))
    }

    async fn ready(&self, _: Place) -> Result<Option<Answer>, HealthError> {
        if !self.has_ready_path {
            return Ok(None);
        }
        self.listens()?;
        Ok(Some((self.ready)(self.age())))
    }

    async fn requests(&self, _: Slot) -> Result<Counted, HealthError> {
        let turned_away = self.limited("metrics")?;
        Ok(match turned_away {
            Some(_) => Counted::Later,
            None => (self.counted)(self.age()).map_or(Counted::NoSeries(None), Counted::Requests),
        })
    }

    async fn page(&self, place: Place, path: &str) -> Result<Received, HealthError> {
        let turned_away = self.limited("page")?;
        Ok(match turned_away {
            Some(answer) => Received {
                retry_after: answer.retry_after,
                ..page(answer.http_status, "")
            },
            None => (self.page)(self.age(), place, path),
        })
    }

    async fn reach(&self, _: Option<Slot>) -> Reach {
        Reach::default()
    }
}
