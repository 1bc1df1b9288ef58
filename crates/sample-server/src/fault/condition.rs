//! What a fault makes of a serving process as time passes.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Fault;
use crate::settings::Settings;

/// Of so many requests one fails, where only some do.
const ONE_OF: u64 = 5;

/// A serving process and its fault, if it has one.
#[derive(Debug)]
pub(crate) struct Condition {
    fault: Option<Fault>,
    after: Duration,
    slow_start: Duration,
    started: Instant,
    first_public_request: OnceLock<Instant>,
    requests: AtomicU64,
}

impl Condition {
    pub(crate) fn new(settings: &Settings, started: Instant) -> Self {
        Self {
            fault: settings.fault,
            after: settings.fault_after,
            slow_start: settings.slow_start,
            started,
            first_public_request: OnceLock::new(),
            requests: AtomicU64::new(0),
        }
    }

    pub(crate) const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Takes note that a request of the public was answered.
    pub(crate) fn answered_the_public(&self, now: Instant) {
        self.first_public_request.get_or_init(|| now);
    }

    /// Whether it is still starting, on purpose.
    pub(crate) fn is_starting(&self, now: Instant) -> bool {
        self.fault == Some(Fault::SlowStart) && now.duration_since(self.started) < self.slow_start
    }

    /// Why health is to say that something is wrong, if it is.
    pub(crate) fn complaint(&self, now: Instant) -> Option<String> {
        let fault = self.fault?;
        let ill = match fault {
            Fault::NeverHealthy => true,
            Fault::FailsInSoak | Fault::ErrorsInSoak => self.has_gone_bad(now),
            Fault::SlowStart => self.is_starting(now),
            Fault::SilentErrorsInSoak
            | Fault::SomeErrorsInSoak
            | Fault::CrashAtStart
            | Fault::NeverListens
            | Fault::NoRoutes
            | Fault::MissingPage
            | Fault::WrongCommit
            | Fault::DegradedJobQueue
            | Fault::DegradedContexts
            | Fault::FailingPrepare
            | Fault::WarningPrepare
            | Fault::FailingHook
            | Fault::SlowStop
            | Fault::IgnoresSigterm => false,
        };
        ill.then(|| format!("this release is made to be so: {}", fault.as_str()))
    }

    /// Whether this one of the app's own requests is to fail.
    pub(crate) fn fails_this_request(&self, now: Instant) -> bool {
        match self.fault {
            Some(Fault::ErrorsInSoak | Fault::SilentErrorsInSoak) => self.has_gone_bad(now),
            Some(Fault::SomeErrorsInSoak) => {
                self.has_gone_bad(now)
                    && self
                        .requests
                        .fetch_add(1, Ordering::Relaxed)
                        .is_multiple_of(ONE_OF)
            }
            _ => false,
        }
    }

    fn has_gone_bad(&self, now: Instant) -> bool {
        let first = self.first_public_request.get();
        first.is_some_and(|first| now.duration_since(*first) >= self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(fault: &str, started: Instant) -> Condition {
        Condition {
            fault: Some(fault.parse().unwrap()),
            after: Duration::from_secs(3),
            slow_start: Duration::from_secs(8),
            started,
            first_public_request: OnceLock::new(),
            requests: AtomicU64::new(0),
        }
    }

    #[test]
    fn what_fails_in_the_soak_is_well_until_a_while_after_the_first_public_request() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        for (fault, ill, fails) in [
            ("fails-in-soak", true, 0),
            ("errors-in-soak", true, 10),
            ("silent-errors-in-soak", false, 10),
            ("some-errors-in-soak", false, 2),
        ] {
            let condition = condition(fault, start);
            let failed = |now| {
                (0..10)
                    .filter(|_| condition.fails_this_request(now))
                    .count()
            };
            assert!(condition.complaint(later(60)).is_none(), "{fault}");
            condition.answered_the_public(later(60));
            condition.answered_the_public(later(61));
            assert!(condition.complaint(later(62)).is_none(), "{fault}");
            assert_eq!(failed(later(62)), 0, "{fault}");
            assert_eq!(condition.complaint(later(63)).is_some(), ill, "{fault}");
            assert_eq!(failed(later(63)), fails, "{fault}");
        }
    }

    #[test]
    fn a_slow_start_ends() {
        let start = Instant::now();
        let condition = condition("slow-start", start);
        assert!(condition.complaint(start).is_some());
        let ready = start + Duration::from_secs(8);
        assert!(condition.complaint(ready).is_none());
        assert!(!condition.is_starting(ready));
    }
}
