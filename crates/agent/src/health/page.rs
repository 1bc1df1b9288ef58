//! Asking for pages that the new version must answer as expected: each once, in its slot or through
//! the proxy.

use std::time::Duration;

use togather_model::{Page, Slot, Strategy};
use tokio::time::Instant;

use super::{
    Asker, HealthError, Place,
    answer::is_later,
    proof::{LATER_AT_MOST, LONGEST_PAUSE, growing, how_it_ended, said_whole},
};
use crate::containers::Containers;

/// What came when a page was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The HTTP status.
    pub http_status: u16,
    /// The slot that answered, as far as the proxy says (`X-Togather-Slot`).
    pub slot: Option<Slot>,
    /// How long to wait before asking again, if the answer says so (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// The answer.
    pub body: Vec<u8>,
}

impl Received {
    /// Whether it says no more than that it was asked for too soon.
    pub(super) fn is_later(&self) -> bool {
        is_later(self.http_status, self.retry_after)
    }
}

/// What pages must answer, and where they are asked.
pub(crate) struct Expectation<'a> {
    pub(crate) asker: &'a Asker,
    pub(crate) strategy: &'a Strategy,
    pub(crate) place: Place,
    /// Where to see whether the slot's process has ended: then it is given up at once.
    pub(crate) containers: Option<&'a dyn Containers>,
    /// The slot that must answer.
    pub(crate) slot: Slot,
    pub(crate) pages: &'a [Page],
    /// Told what is waited for.
    pub(crate) say: &'a (dyn Fn(String) + Send + Sync),
}

/// How long the pages may keep everybody waiting.
struct Patience {
    deadline: Instant,
    /// How much longer they may because the app asked to come back later.
    grant: Duration,
}

/// What asking for a page comes to.
enum Outcome {
    AsExpected,
    Wrong(String),
    /// Visitors have used up what one client may ask: that says nothing about the page.
    Doubtful,
}

/// How one question ended.
enum Asked {
    Settled(Outcome),
    Again { after: Duration, why: String },
}

impl Expectation<'_> {
    /// Asks for every page. Returns how it went, for people.
    ///
    /// # Errors
    /// The pages that are not as expected, a phrase each, in which no answer is quoted.
    pub(crate) async fn carry_out(&self) -> Result<String, Vec<String>> {
        let mut patience = Patience {
            deadline: self.asker.now() + self.strategy.health_timeout,
            grant: LATER_AT_MOST,
        };
        let (mut wrong, mut doubtful) = (Vec::new(), Vec::new());
        for page in self.pages {
            match self.settle(page, &mut patience).await {
                Outcome::AsExpected => {}
                Outcome::Wrong(why) => wrong.push(format!("`{}`: {why}", page.path)),
                Outcome::Doubtful => doubtful.push(format!("`{}`", page.path)),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let well = self.pages.len() - doubtful.len();
        let mut told = format!("{well} of {} pages as expected", self.pages.len());
        if !doubtful.is_empty() {
            told += &format!(
                "; {} could not be asked for: HTTP 429, which visitors get as well; see TRUSTED_PROXY_CIDRS",
                doubtful.join(", ")
            );
        }
        Ok(told)
    }

    /// Asks until there is an answer about the page itself.
    async fn settle(&self, page: &Page, patience: &mut Patience) -> Outcome {
        let mut times = 0;
        loop {
            if self.asker.left() == 0 {
                (self.say)(format!(
                    "`{}` waits for its turn: the agent asks no more than 20 times a minute",
                    page.path
                ));
            }
            // Waiting for one's turn is nothing the app can help.
            patience.deadline += self.asker.turn().await;
            let (after, why) = match self.ask(page, patience).await {
                Asked::Settled(outcome) => return outcome,
                Asked::Again { after, why } => (after, why),
            };
            if let Some(containers) = self.containers
                && let Some(ended) = how_it_ended(containers, self.slot).await
            {
                return Outcome::Wrong(ended);
            }
            times += 1;
            let pause = after.max(growing(self.strategy.health_interval, times));
            if self.asker.now() + pause > patience.deadline {
                let within = self.strategy.health_timeout.as_secs();
                return Outcome::Wrong(format!(
                    "expected {page}, found none within {within} s: {why}"
                ));
            }
            (self.say)(format!("`{}` is asked for again: {why}", page.path));
            self.asker.sleep(pause).await;
        }
    }

    async fn ask(&self, page: &Page, patience: &mut Patience) -> Asked {
        let received = match self.asker.page(self.place, &page.path).await {
            Ok(received) => received,
            Err(error) => return self.unanswered(page, &error),
        };
        let other = received.slot.filter(|slot| *slot != self.slot);
        if let (Place::Public, Some(other)) = (self.place, other) {
            // The old version may answer once more before the proxy lets go of it.
            return Asked::Again {
                after: Duration::ZERO,
                why: format!("the {other} slot answered"),
            };
        }
        let judged = page.judge(received.http_status, &received.body);
        if judged.is_err() && received.is_later() {
            return self.later(&received, patience);
        }
        Asked::Settled(judged.map_or_else(Outcome::Wrong, |()| Outcome::AsExpected))
    }

    fn unanswered(&self, page: &Page, error: &HealthError) -> Asked {
        let why = said_whole(error);
        match error.is_unheard() {
            true => Asked::Again {
                after: Duration::ZERO,
                why,
            },
            false => Asked::Settled(Outcome::Wrong(format!("expected {page}: {why}"))),
        }
    }

    /// Who asks again that late is given the time; through the proxy only while that keeps nobody
    /// waiting for the proof, since the slot has shown the page.
    fn later(&self, received: &Received, patience: &mut Patience) -> Asked {
        let after = received.retry_after.unwrap_or(LONGEST_PAUSE);
        if self.place == Place::Public && self.asker.now() + after >= patience.deadline {
            return Asked::Settled(Outcome::Doubtful);
        }
        let grant = after.min(patience.grant);
        patience.grant -= grant;
        patience.deadline += grant;
        Asked::Again {
            after,
            why: format!(
                "to be asked for later (HTTP {}), in {} s",
                received.http_status,
                after.as_secs()
            ),
        }
    }
}

#[cfg(test)]
mod tests;
