//! Asking without harm: every question to a path that the app limits goes through here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use togather_model::{Series, Slot, Verdict};
use tokio::time::{Instant, sleep};

use super::{
    Answer, Counted, Health, HealthError, Place, Reach, Received,
    ration::{Ration, Rounds},
};

/// An answer so young needs no other, where it is only to be shown.
const YOUNG: Duration = Duration::from_secs(3);

/// The same where the ready path, which was just asked, vouches for it.
const VOUCHED_FOR: Duration = Duration::from_secs(60);

/// What is left to deployments when the answer is only to be shown.
const FOR_DEPLOYMENTS: usize = 14;

/// The time that passes between questions.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Instant;

    /// Lets this time pass.
    async fn sleep(&self, time: Duration);
}

/// The machine's time.
struct Machine;

#[async_trait]
impl Clock for Machine {
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn sleep(&self, time: Duration) {
        sleep(time).await;
    }
}

/// Asks the app, all of the agent together no more often than 20 times a minute on limited paths.
/// Who asks too early waits.
pub struct Asker {
    app: Arc<dyn Health>,
    clock: Arc<dyn Clock>,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Debug, Default)]
struct Asked {
    ration: Ration,
    /// What the process before was asked, while it may come to serve again.
    set_aside: Ration,
    /// The last answers that were verdicts.
    recent: BTreeMap<Place, (Instant, Answer)>,
    /// What was known last of the series that counts requests.
    series: BTreeMap<Slot, (Instant, Series)>,
}

/// How the app in the live slot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Whether it answers, and as the version it should be.
    pub answers: bool,
    /// What it says of itself, if it could be asked.
    pub verdict: Option<Verdict>,
}

impl Asker {
    /// Asks this app.
    #[must_use]
    pub fn new(app: Arc<dyn Health>) -> Self {
        Self::by(app, Arc::new(Machine))
    }

    /// Asks this app by this clock.
    #[must_use]
    pub fn by(app: Arc<dyn Health>, clock: Arc<dyn Clock>) -> Self {
        Self {
            app,
            clock,
            asked: Arc::default(),
        }
    }

    /// Asks this app, which was asked otherwise so far; what was asked counts on.
    #[must_use]
    pub fn with(&self, app: Arc<dyn Health>) -> Self {
        Self {
            app,
            clock: Arc::clone(&self.clock),
            asked: Arc::clone(&self.asked),
        }
    }

    /// Now, by this asker's clock.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Lets time pass between two questions.
    pub async fn sleep(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    /// A process was started, which counts for itself: nobody has asked it anything.
    pub fn begin_anew(&self) {
        let mut asked = self.asked();
        let before = std::mem::take(&mut asked.ration);
        asked.set_aside.join(before);
    }

    /// A deployment has ended. The process that it started serves on with what it was asked, or, if it
    /// does not stay, an earlier one does: then everything counts.
    pub fn settle(&self, it_stays: bool) {
        let mut asked = self.asked();
        let before = std::mem::take(&mut asked.set_aside);
        if !it_stays {
            asked.ration.join(before);
        }
    }

    /// Waits until a limited path may be asked. Returns how long that took.
    pub async fn turn(&self) -> Duration {
        let begun = self.now();
        loop {
            let now = self.now();
            let next = self.asked().ration.next(now);
            if next <= now {
                return now.duration_since(begun);
            }
            self.sleep(next.duration_since(now)).await;
        }
    }

    /// How many questions are left now.
    pub fn left(&self) -> usize {
        self.asked().ration.left(self.now())
    }

    /// The time between two rounds of questions that can go on until `end` without waiting.
    pub(crate) fn pace(&self, end: Instant, rounds: Rounds) -> Duration {
        self.asked().ration.pace(self.now(), end, rounds)
    }

    /// Asks for the verdict as soon as that is allowed.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn verdict(&self, place: Place) -> Result<Answer, HealthError> {
        self.limited(self.app.verdict(place))
            .await
            .inspect(|answer| {
                if !answer.is_later() {
                    let recent = (self.now(), answer.clone());
                    self.asked().recent.insert(place, recent);
                }
            })
    }

    /// Asks whether the app takes requests; `None`: it has no path for that.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn ready(&self, place: Place) -> Result<Option<Answer>, HealthError> {
        self.app.ready(place).await
    }

    /// The requests this slot's app has counted, asked for as soon as that is allowed.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn requests(&self, slot: Slot) -> Result<Counted, HealthError> {
        let counted = self.limited(self.app.requests(slot)).await?;
        let known = (self.now(), counted.series());
        if known.1 != Series::Unknown {
            self.asked().series.insert(slot, known);
        }
        Ok(counted)
    }

    /// The series by which a soak of this slot's app would see failed requests. What was found within
    /// the last minute will do; nobody waits for it.
    pub async fn series(&self, slot: Slot) -> Series {
        let known = self.asked().series.get(&slot).cloned();
        if let Some((_, known)) =
            known.filter(|(at, _)| self.now().duration_since(*at) < VOUCHED_FOR)
        {
            return known;
        }
        if self.left() == 0 {
            return Series::Unknown;
        }
        let counted = self.requests(slot).await;
        counted.map_or(Series::Unknown, |counted| counted.series())
    }

    /// Asks for a page as soon as that is allowed.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn page(&self, place: Place, path: &str) -> Result<Received, HealthError> {
        self.limited(self.app.page(place, path)).await
    }

    /// Whether the public address leads here, where this slot is live.
    pub async fn reach(&self, live: Option<Slot>) -> Reach {
        self.app.reach(live).await
    }

    /// How the app in this slot is. The ready path is asked now; while it vouches for it, a verdict
    /// of the last minute will do.
    pub async fn condition(&self, slot: Slot, git_commit: &str) -> Condition {
        let place = Place::Slot(slot);
        let vouched = match self.ready(place).await {
            Ok(None) => false,
            Ok(Some(ready)) if ready.is_ready() => true,
            Ok(Some(ready)) if ready.is_later() => false,
            Ok(Some(_)) | Err(_) => return Condition::silent(),
        };
        let recent = match vouched {
            true => self.recent(place, VOUCHED_FOR),
            false => None,
        };
        let recent = recent.filter(|answer| answer.is_commit(git_commit));
        let answer = match recent {
            Some(answer) => Ok(answer),
            None => self.verdict(place).await,
        };
        match answer {
            // Asked too often: that says nothing against it.
            Ok(answer) if answer.is_later() => Condition {
                answers: true,
                verdict: None,
            },
            Ok(answer) if answer.is_commit(git_commit) => Condition {
                answers: true,
                verdict: answer.verdict(),
            },
            Ok(_) | Err(_) => Condition::silent(),
        }
    }

    /// The verdict to be shown to people: a new one where that does not hold up a deployment.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn glance(&self, place: Place) -> Result<Answer, HealthError> {
        let ready = self.ready(place).await?;
        let vouched = ready.as_ref().is_some_and(Answer::is_ready);
        let is_free = self.left() > FOR_DEPLOYMENTS;
        let recent = match (vouched, is_free) {
            (false, true) => self.recent(place, YOUNG),
            (true, true) => self.recent(place, VOUCHED_FOR / 4),
            (_, false) => self.recent(place, VOUCHED_FOR),
        };
        match (recent, ready) {
            // Who is not ready any more is not as it was.
            (Some(recent), None) => Ok(recent),
            (Some(recent), Some(ready)) if ready.is_ready() => Ok(Answer {
                slot: ready.slot.or(recent.slot),
                ..recent
            }),
            (Some(recent), Some(_)) if !recent.is_healthy() => Ok(recent),
            // Nothing is known of it: one question, which will do for a minute.
            (None, Some(ready)) if ready.is_ready() && self.left() > 0 => self.verdict(place).await,
            (_, Some(ready)) if !is_free => Ok(ready),
            (_, None | Some(_)) => self.verdict(place).await,
        }
    }

    fn recent(&self, place: Place, young: Duration) -> Option<Answer> {
        let asked = self.asked();
        let (at, answer) = asked.recent.get(&place)?;
        (self.now().duration_since(*at) < young).then(|| answer.clone())
    }

    async fn limited<T>(
        &self,
        question: impl Future<Output = Result<T, HealthError>>,
    ) -> Result<T, HealthError> {
        self.turn().await;
        self.asked().ration.spend(self.now());
        question.await.inspect_err(|error| {
            if error.is_unheard() {
                self.asked().ration.give_back();
            }
        })
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        // What it holds is whole at every moment.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    const fn silent() -> Self {
        Self {
            answers: false,
            verdict: None,
        }
    }
}
