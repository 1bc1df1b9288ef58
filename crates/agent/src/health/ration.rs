//! How often a path may be asked that the app limits for each client. Pure: the time is an argument.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The time over which questions are counted: a minute, and a little for answers that lag.
pub(crate) const WINDOW: Duration = Duration::from_secs(61);

/// So many questions within that time: a third of what the Togather server allows one client, which
/// may be all its visitors together.
pub(crate) const AT_MOST: usize = 20;

/// Questions that are asked in rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    /// So many in each.
    pub(crate) cost: usize,
    /// So many when it is over.
    pub(crate) at_the_end: usize,
    /// The time between two rounds is never shorter.
    pub(crate) at_least: Duration,
}

/// When limited paths were asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ration {
    asked: VecDeque<Instant>,
}

impl Ration {
    /// How many more questions there may be now.
    pub(crate) fn left(&mut self, now: Instant) -> usize {
        while self.asked.front().is_some_and(|at| *at + WINDOW <= now) {
            self.asked.pop_front();
        }
        AT_MOST.saturating_sub(self.asked.len())
    }

    /// Counts what was counted elsewhere as well.
    pub(crate) fn join(&mut self, other: Self) {
        self.asked.extend(other.asked);
        self.asked.make_contiguous().sort_unstable();
    }

    /// When the next question may be asked, `now` or later.
    pub(crate) fn next(&mut self, now: Instant) -> Instant {
        match self.left(now) {
            0 => self.asked.front().map_or(now, |oldest| *oldest + WINDOW),
            _ => now,
        }
    }

    /// The shortest pause, this long at least, between rounds of questions that can go on until `end`
    /// without anybody having to wait: so many a round, and so many at the end.
    pub(crate) fn pace(&self, now: Instant, end: Instant, rounds: Rounds) -> Duration {
        // Later than that, today's questions count no more, and it is asked again how many are left.
        let rest = end.saturating_duration_since(now).min(WINDOW);
        let mut pause = rounds.at_least;
        while pause < rest && !self.clone().suffices(now, end, pause, rounds) {
            pause += Duration::from_millis(500);
        }
        pause
    }

    fn suffices(&mut self, now: Instant, end: Instant, pause: Duration, rounds: Rounds) -> bool {
        let mut at = now + pause;
        while at < end && at <= now + WINDOW {
            if !self.spend_all(at, rounds.cost) {
                return false;
            }
            at += pause;
        }
        end > now + WINDOW || self.spend_all(end, rounds.at_the_end)
    }

    fn spend_all(&mut self, at: Instant, questions: usize) -> bool {
        let suffices = self.left(at) >= questions;
        (0..questions).for_each(|_| self.spend(at));
        suffices
    }

    /// Counts a question that is asked now.
    pub(crate) fn spend(&mut self, now: Instant) {
        self.asked.push_back(now);
    }

    /// The last one did not reach the app: nobody counted it.
    pub(crate) fn give_back(&mut self) {
        self.asked.pop_back();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However impatient whoever asks is.
        #[test]
        fn no_minute_has_more_questions_than_allowed(
            pauses in proptest::collection::vec(0_u64..9_000, 1..200),
        ) {
            let start = Instant::now();
            let (mut ration, mut now, mut asked) = (Ration::default(), start, Vec::new());
            for pause in pauses {
                now = ration.next(now + Duration::from_millis(pause));
                ration.spend(now);
                asked.push(now);
            }
            for (first, at) in asked.iter().enumerate() {
                let within = asked[first..].iter().take_while(|later| **later < *at + Duration::from_secs(60));
                prop_assert!(within.count() <= AT_MOST);
            }
        }

        /// Whatever was asked before, and however long it goes on.
        #[test]
        fn who_keeps_the_pace_has_questions_left_for_the_end(
            before in proptest::collection::vec(0_u64..60_000, 0..17),
            seconds in 1_u64..200, cost in 1_usize..3,
        ) {
            let (begun, mut ration) = (Instant::now(), Ration::default());
            let mut before = before;
            before.sort_unstable();
            for at in before {
                ration.spend(begun + Duration::from_millis(at));
            }
            let mut now = begun + Duration::from_secs(60);
            let end = now + Duration::from_secs(seconds);
            let rounds = Rounds { cost, at_the_end: 2, at_least: Duration::from_secs(5) };
            loop {
                now += ration.pace(now, end, rounds);
                if now >= end {
                    break;
                }
                prop_assert!(ration.spend_all(now, cost));
            }
            prop_assert!(ration.spend_all(end, 2));
        }

        /// And nobody waits who need not.
        #[test]
        fn who_asks_rarely_never_waits(pauses in proptest::collection::vec(3_100_u64..9_000, 1..100)) {
            let (mut ration, mut now) = (Ration::default(), Instant::now());
            for pause in pauses {
                now += Duration::from_millis(pause);
                prop_assert_eq!(ration.next(now), now);
                ration.spend(now);
            }
        }
    }

    #[test]
    fn what_did_not_reach_the_app_is_not_counted() {
        let (mut ration, now) = (Ration::default(), Instant::now());
        for _ in 0..1_000 {
            ration.spend(now);
            ration.give_back();
        }
        assert_eq!(ration.left(now), AT_MOST);
    }
}
