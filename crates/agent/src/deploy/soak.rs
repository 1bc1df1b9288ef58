//! The soak: the new version is watched for a while before the deployment counts as done.

mod window;

use std::time::Duration;

use togather_model::{Failure, FailureKind, Slot, Strategy};

use super::Deployment;
use crate::health::{Answer, Asker, Counted, HealthError, Place, Rounds};
use window::Window;

/// The longest time between two looks at the ready path.
const LOOK: Duration = Duration::from_secs(1);

/// The shortest time between two questions to limited paths.
const TICK: Duration = Duration::from_secs(5);

/// So many questions are left for the end: the last count and the last verdict.
const FOR_THE_END: usize = 2;

impl Deployment<'_> {
    /// Watches the new version until the soak is over.
    pub(super) async fn soak(&self) -> Result<String, Failure> {
        let judge = |answer: &Answer| self.judge(answer);
        let soak = Soak {
            asker: &self.node.health,
            strategy: &self.node.strategy,
            slot: self.plan.to,
            span: self.plan.soak,
            judge: &judge,
        };
        soak.watch().await.map_err(|complaint| {
            let mut failure = Failure::new(
                FailureKind::Unhealthy,
                format!("{} went bad while it was watched", self.plan.version),
            );
            failure.causes.push(complaint);
            failure.next(format!("mend the release; {}", self.what_serves_again()))
        })
    }

    fn what_serves_again(&self) -> String {
        match &self.plan.from {
            Some(live) => format!("the version before ({}) serves again", live.version),
            None => "nothing serves, as before: no version was live".into(),
        }
    }
}

/// A soak: what is watched, and for how long.
pub(crate) struct Soak<'a> {
    pub(crate) asker: &'a Asker,
    pub(crate) strategy: &'a Strategy,
    pub(crate) slot: Slot,
    pub(crate) span: Duration,
    /// What is wrong with a verdict.
    pub(crate) judge: &'a (dyn Fn(&Answer) -> Result<(), String> + Send + Sync),
}

/// What a look comes to.
enum Look {
    Good,
    Bad(String),
    /// The app was asked too often, which says nothing about it.
    Later,
    /// It has no ready path.
    Blind,
}

impl Soak<'_> {
    /// Looks at the ready path every second, counts errors and asks for verdicts every few, as often
    /// as the ration allows. Returns what was seen, for people.
    ///
    /// # Errors
    /// What went bad.
    pub(crate) async fn watch(&self) -> Result<String, String> {
        let end = self.asker.now() + self.span;
        let mut window = Window::new(self.strategy.soak_error_rate);
        let (mut looks, mut bad_in_a_row, mut is_first) = (0_u32, 0, true);
        let mut next_tick = self.asker.now();
        loop {
            let left = end.saturating_duration_since(self.asker.now());
            let mut look = self.look().await;
            let is_blind = matches!(look, Look::Blind);
            if self.asker.now() >= next_tick || left.is_zero() {
                self.count(&mut window).await?;
                // The verdict was proven a moment ago.
                if left.is_zero() || is_blind && !is_first {
                    look = self.verdict(look).await;
                }
                next_tick = self.asker.now() + self.asker.pace(end, rounds(is_blind));
                is_first = false;
            } else if is_blind && bad_in_a_row > 0 {
                look = self.verdict(look).await;
            }
            looks += 1;
            match look {
                Look::Bad(complaint) if bad_in_a_row + 1 >= self.strategy.health_successes => {
                    return Err(complaint);
                }
                // One bad look is not the end, but a soak does not end on one either.
                Look::Bad(_) => bad_in_a_row += 1,
                Look::Good => bad_in_a_row = 0,
                Look::Later | Look::Blind => {}
            }
            if left.is_zero() && bad_in_a_row == 0 {
                let seen = window.seen();
                return Ok(format!(
                    "looked {looks} times in {} s; {seen}",
                    self.span.as_secs()
                ));
            }
            self.asker
                .sleep(left.clamp(self.strategy.health_interval.min(LOOK), LOOK))
                .await;
        }
    }

    /// Whether the app takes requests now, in its slot and on the public path.
    async fn look(&self) -> Look {
        let mut seen = Look::Good;
        for place in [Place::Slot(self.slot), Place::Public] {
            match self.asker.ready(place).await {
                Ok(None) => return Look::Blind,
                Ok(Some(answer)) if answer.is_later() => seen = Look::Later,
                Ok(Some(answer)) if !answer.is_ready() => {
                    let status = answer.http_status;
                    return self.bad(place, &format!("the ready path answers HTTP {status}"));
                }
                Ok(Some(answer)) => {
                    if let Some(complaint) = self.too_slow(&answer) {
                        return self.bad(place, &complaint);
                    }
                }
                Err(error) => return self.silent(place, &error),
            }
        }
        seen
    }

    /// The app's verdict on the public path, which leads through everything, unless the look was bad
    /// already or nothing may be asked now.
    async fn verdict(&self, look: Look) -> Look {
        if matches!(look, Look::Bad(_)) || self.asker.left() == 0 {
            return look;
        }
        match self.asker.verdict(Place::Public).await {
            Err(error) => self.silent(Place::Public, &error),
            Ok(answer) if answer.is_later() => match look {
                Look::Blind => Look::Later,
                Look::Good | Look::Bad(_) | Look::Later => look,
            },
            Ok(answer) => {
                let complaint = (self.judge)(&answer).err();
                match complaint.or_else(|| self.too_slow(&answer)) {
                    Some(complaint) => self.bad(Place::Public, &complaint),
                    None => Look::Good,
                }
            }
        }
    }

    /// Counts the requests, if that is allowed now, and judges by them.
    async fn count(&self, window: &mut Window) -> Result<(), String> {
        if self.asker.left() == 0 {
            return Ok(());
        }
        match self.asker.requests(self.slot).await {
            Ok(Counted::Requests(counted)) => window.add(self.asker.now(), counted),
            // What could not be counted now is counted the next time.
            Ok(
                Counted::NoSeries(_) | Counted::NoMetrics(_) | Counted::Later | Counted::Unwanted,
            )
            | Err(_) => Ok(()),
        }
    }

    fn too_slow(&self, answer: &Answer) -> Option<String> {
        let took = answer.latency.as_millis();
        (answer.latency > self.strategy.soak_latency).then(|| format!("the answer took {took} ms"))
    }

    fn silent(&self, place: Place, error: &HealthError) -> Look {
        let failure = Failure::caused_by(FailureKind::Unhealthy, "no answer", error);
        self.bad(place, &failure.to_string())
    }

    fn bad(&self, place: Place, complaint: &str) -> Look {
        Look::Bad(match place {
            Place::Slot(_) => format!("in its slot: {complaint}"),
            Place::Public => format!("on the public path: {complaint}"),
        })
    }
}

/// A count of the requests; without a ready path a verdict as well, and half as often.
const fn rounds(is_blind: bool) -> Rounds {
    let (cost, at_least) = match is_blind {
        true => (2, TICK.saturating_mul(2)),
        false => (1, TICK),
    };
    Rounds {
        cost,
        at_the_end: FOR_THE_END,
        at_least,
    }
}

#[cfg(test)]
mod tests;
