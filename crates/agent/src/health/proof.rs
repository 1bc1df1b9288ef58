//! Waiting for an app to be fit to serve, and proving it: ready first, which may be asked at short
//! intervals, then the verdict, several times in a row.

use std::time::Duration;

use togather_model::{Failure, FailureKind, Slot, Strategy};
use tokio::time::Instant;

use super::{Answer, Asker, HealthError, Place};
use crate::containers::Containers;

/// The longest pause between two questions for a verdict that is not good yet.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How much longer than `health_timeout` it may take when the app asks to come back later.
pub(super) const LATER_AT_MOST: Duration = Duration::from_secs(120);

/// What is to be proven, and by what.
pub(crate) struct Proof<'a> {
    pub(crate) asker: &'a Asker,
    pub(crate) strategy: &'a Strategy,
    pub(crate) place: Place,
    /// Where to see whether the slot's process has ended: then it is given up at once.
    pub(crate) containers: Option<&'a dyn Containers>,
    /// The slot and the commit that must answer.
    pub(crate) slot: Slot,
    pub(crate) git_commit: &'a str,
    /// What is wrong with a verdict.
    pub(crate) judge: &'a (dyn Fn(&Answer) -> Result<(), String> + Send + Sync),
}

/// What an answer comes to.
enum Outcome {
    Good,
    /// It says nothing about the app: to be asked again after this time.
    Later(Option<Duration>),
    /// The question did not reach the app, so it may be put again soon.
    Unheard(String),
    Bad(String),
    /// Waiting on is in vain.
    Hopeless(String),
}

impl Proof<'_> {
    /// Asks until the app is fit, as this commit, so often in a row. Returns how it went, for people.
    ///
    /// # Errors
    /// Why it is not proven.
    pub(crate) async fn carry_out(&self) -> Result<String, String> {
        let mut deadline = self.asker.now() + self.strategy.health_timeout;
        self.await_ready(deadline).await?;
        let (mut in_a_row, mut asked, mut bad) = (0, 0, 0_u32);
        let mut granted = Duration::ZERO;
        loop {
            // Waiting for one's turn is nothing the app can help.
            deadline += self.asker.turn().await;
            let answer = self.asker.verdict(self.place).await;
            asked += 1;
            let outcome = self.outcome(&answer);
            let pause = match &outcome {
                Outcome::Good => {
                    (in_a_row, bad) = (in_a_row + 1, 0);
                    if in_a_row >= self.strategy.health_successes {
                        let how = answer.ok().and_then(|answer| answer.status);
                        let how = how.unwrap_or_else(|| "healthy".into());
                        return Ok(format!(
                            "{how} {in_a_row} times in a row, asked {asked} times"
                        ));
                    }
                    self.strategy.health_interval
                }
                Outcome::Later(when) => {
                    let pause = when
                        .unwrap_or(LONGEST_PAUSE)
                        .max(self.strategy.health_interval);
                    if self.asker.now() + pause >= deadline
                        && let Some(doubtful) = self.as_far_as_it_can_be_told(&answer).await
                    {
                        return Ok(doubtful);
                    }
                    let grant = pause.min(LATER_AT_MOST.saturating_sub(granted));
                    (granted, deadline) = (granted + grant, deadline + grant);
                    pause
                }
                Outcome::Unheard(_) => {
                    in_a_row = 0;
                    self.strategy.health_interval
                }
                Outcome::Bad(_) => {
                    (in_a_row, bad) = (0, bad + 1);
                    growing(self.strategy.health_interval, bad)
                }
                Outcome::Hopeless(why) => return Err(why.clone()),
            };
            self.must_go_on(&outcome, deadline).await?;
            let left = deadline.saturating_duration_since(self.asker.now());
            self.asker
                .sleep(pause.min(left.max(self.strategy.health_interval)))
                .await;
        }
    }

    /// Waits until the ready path says that the app takes requests; an app without one is asked for
    /// its verdict at once.
    async fn await_ready(&self, deadline: Instant) -> Result<(), String> {
        loop {
            let pause = self.strategy.health_interval;
            let (outcome, pause) = match self.asker.ready(self.place).await {
                Ok(None) => return Ok(()),
                Ok(Some(answer)) if answer.is_later() => {
                    let pause = answer.retry_after.unwrap_or(pause).max(pause);
                    (Outcome::Later(answer.retry_after), pause.min(LONGEST_PAUSE))
                }
                Ok(Some(answer)) if !answer.is_ready() => {
                    let status = answer.http_status;
                    let why = format!("its ready path (`app.ready_path`) answers HTTP {status}");
                    (Outcome::Bad(why), pause)
                }
                Ok(Some(answer)) if answer.slot.is_some_and(|slot| slot != self.slot) => {
                    let why = format!("{} answers", answer.slot.map_or("nobody", Slot::as_str));
                    (Outcome::Bad(why), pause)
                }
                Ok(Some(_)) => return Ok(()),
                Err(error) => (Outcome::Unheard(said_whole(&error)), pause),
            };
            self.must_go_on(&outcome, deadline).await?;
            self.asker.sleep(pause).await;
        }
    }

    fn outcome(&self, answer: &Result<Answer, HealthError>) -> Outcome {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_unheard() => return Outcome::Unheard(said_whole(error)),
            Err(error) => return Outcome::Bad(said_whole(error)),
        };
        if answer.is_later() {
            return Outcome::Later(answer.retry_after);
        }
        let told = answer.git_commit.as_deref().unwrap_or("not told");
        let is_fit = (self.judge)(answer);
        match self.place {
            Place::Slot(_) if is_fit.is_ok() && !answer.is_commit(self.git_commit) => {
                Outcome::Hopeless(format!(
                    "it answers as commit {told}, but the release is {}",
                    self.git_commit
                ))
            }
            // The old version may answer once more before the proxy lets go of it.
            Place::Public
                if !answer.is_commit(self.git_commit) || answer.slot != Some(self.slot) =>
            {
                let slot = answer.slot.map_or("not told", Slot::as_str);
                Outcome::Bad(format!("{}, commit {told}, slot {slot}", answer.why()))
            }
            Place::Slot(_) | Place::Public => is_fit.map_or_else(Outcome::Bad, |()| Outcome::Good),
        }
    }

    /// On the public path the agent is one of many visitors, and all of them may have used up what
    /// one client is allowed. That it is the new version that they are turned away by is told by the
    /// proxy, and that it is fit was proven in its slot.
    async fn as_far_as_it_can_be_told(
        &self,
        answer: &Result<Answer, HealthError>,
    ) -> Option<String> {
        let slot = answer.as_ref().ok().and_then(|answer| answer.slot);
        if self.place != Place::Public || slot != Some(self.slot) {
            return None;
        }
        let doubt = "the verdict could not be asked for: HTTP 429, which visitors get as well; see TRUSTED_PROXY_CIDRS";
        match self.asker.ready(self.place).await {
            Ok(None) => Some(format!("{} answers; {doubt}", self.slot)),
            Ok(Some(ready)) if ready.is_ready() && ready.slot == Some(self.slot) => {
                Some(format!("{} answers and is ready; {doubt}", self.slot))
            }
            Ok(Some(_)) | Err(_) => None,
        }
    }

    async fn must_go_on(&self, outcome: &Outcome, deadline: Instant) -> Result<(), String> {
        let last = match (outcome, self.place) {
            (Outcome::Good, _) => return Ok(()),
            (Outcome::Later(_), _) => "to be asked again later (HTTP 429 or Retry-After)".into(),
            (Outcome::Unheard(why), Place::Slot(_)) => format!(
                "its process runs, but nothing answers on its port (`app.port` in deployment.yml): {why}"
            ),
            (Outcome::Unheard(why) | Outcome::Bad(why) | Outcome::Hopeless(why), _) => why.clone(),
        };
        if let Some(containers) = self.containers
            && let Some(ended) = how_it_ended(containers, self.slot).await
        {
            return Err(ended);
        }
        if self.asker.now() < deadline {
            return Ok(());
        }
        let within = self.strategy.health_timeout.as_secs();
        Err(format!(
            "not healthy within {within} s; the last answer: {last}"
        ))
    }
}

/// How the slot's process ended, if it did: waiting on would be in vain.
pub(crate) async fn how_it_ended(containers: &dyn Containers, slot: Slot) -> Option<String> {
    match containers.slot(slot).await {
        Ok(Some(held)) if !held.running => Some(format!(
            "its process ended with exit code {}",
            held.exit_code
                .map_or_else(|| "unknown".into(), |code| code.to_string())
        )),
        Ok(None) => Some("its container is gone".into()),
        Ok(Some(_)) | Err(_) => None,
    }
}

/// Twice as long each time.
pub(super) fn growing(interval: Duration, times: u32) -> Duration {
    let factor = 2_u32.saturating_pow(times.saturating_sub(1));
    interval.saturating_mul(factor).min(LONGEST_PAUSE)
}

pub(super) fn said_whole(error: &HealthError) -> String {
    Failure::caused_by(FailureKind::Other, "no answer", error).to_string()
}

#[cfg(test)]
mod tests;
