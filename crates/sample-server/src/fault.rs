//! The ways in which this server can be broken on purpose, one at a time, by `FAULT`.
//!
//! A fault changes only what it says it changes: everything else goes on as in a good release.
//! Releases whose *migrations* are broken are made of files, not of faults.

use std::{
    str::FromStr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::settings::Settings;

/// One way of being broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Health never says healthy; everything else works.
    NeverHealthy,
    /// Healthy until `FAULT_AFTER` has passed since the first public request, then not; requests
    /// are answered all the while.
    FailsInSoak,
    /// As `FailsInSoak`, and the app's own requests fail too, with 500.
    ErrorsInSoak,
    /// As `ErrorsInSoak`, but health still says healthy: only the error rate tells.
    SilentErrorsInSoak,
    /// Ends with an error before it listens.
    CrashAtStart,
    /// Healthy, but names a commit that nobody built.
    WrongCommit,
    /// `sync` ends with an error.
    FailingHook,
    /// Not broken: takes `SLOW_START` to become healthy.
    SlowStart,
    /// Goes on after SIGTERM, so that only SIGKILL ends it.
    IgnoresSigterm,
}

/// A word that names no fault.
#[derive(Debug)]
pub(crate) struct UnknownFault;

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::NeverHealthy,
        Self::FailsInSoak,
        Self::ErrorsInSoak,
        Self::SilentErrorsInSoak,
        Self::CrashAtStart,
        Self::WrongCommit,
        Self::FailingHook,
        Self::SlowStart,
        Self::IgnoresSigterm,
    ];

    /// Its name, as in `FAULT`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NeverHealthy => "never-healthy",
            Self::FailsInSoak => "fails-in-soak",
            Self::ErrorsInSoak => "errors-in-soak",
            Self::SilentErrorsInSoak => "silent-errors-in-soak",
            Self::CrashAtStart => "crash-at-start",
            Self::WrongCommit => "wrong-commit",
            Self::FailingHook => "failing-hook",
            Self::SlowStart => "slow-start",
            Self::IgnoresSigterm => "ignores-sigterm",
        }
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let known = Self::ALL.into_iter().find(|fault| fault.as_str() == text);
        known.ok_or(UnknownFault)
    }
}

/// A serving process and what its fault makes of it as time passes.
#[derive(Debug)]
pub(crate) struct Condition {
    fault: Option<Fault>,
    after: Duration,
    slow_start: Duration,
    started: Instant,
    first_public_request: OnceLock<Instant>,
}

impl Condition {
    pub(crate) fn new(settings: &Settings, started: Instant) -> Self {
        Self {
            fault: settings.fault,
            after: settings.fault_after,
            slow_start: settings.slow_start,
            started,
            first_public_request: OnceLock::new(),
        }
    }

    /// Takes note that a request of the public was answered.
    pub(crate) fn answered_the_public(&self, now: Instant) {
        self.first_public_request.get_or_init(|| now);
    }

    /// Why health is to say that something is wrong, if it is.
    pub(crate) fn complaint(&self, now: Instant) -> Option<String> {
        let fault = self.fault?;
        let ill = match fault {
            Fault::NeverHealthy => true,
            Fault::FailsInSoak | Fault::ErrorsInSoak => self.has_gone_bad(now),
            Fault::SlowStart => now.duration_since(self.started) < self.slow_start,
            Fault::SilentErrorsInSoak
            | Fault::CrashAtStart
            | Fault::WrongCommit
            | Fault::FailingHook
            | Fault::IgnoresSigterm => false,
        };
        ill.then(|| format!("this release is made to be so: {}", fault.as_str()))
    }

    /// Whether the app's own requests are to fail.
    pub(crate) fn fails_requests(&self, now: Instant) -> bool {
        matches!(
            self.fault,
            Some(Fault::ErrorsInSoak | Fault::SilentErrorsInSoak)
        ) && self.has_gone_bad(now)
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
        }
    }

    #[test]
    fn a_fault_is_read_by_its_name() {
        for fault in Fault::ALL {
            assert_eq!(fault.as_str().parse::<Fault>().ok(), Some(fault));
        }
        assert!("".parse::<Fault>().is_err());
    }

    #[test]
    fn what_fails_in_the_soak_is_well_until_a_while_after_the_first_public_request() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        for (fault, ill, fails) in [
            ("fails-in-soak", true, false),
            ("errors-in-soak", true, true),
            ("silent-errors-in-soak", false, true),
        ] {
            let condition = condition(fault, start);
            assert!(condition.complaint(later(60)).is_none(), "{fault}");
            condition.answered_the_public(later(60));
            condition.answered_the_public(later(61));
            assert!(condition.complaint(later(62)).is_none(), "{fault}");
            assert!(!condition.fails_requests(later(62)), "{fault}");
            assert_eq!(condition.complaint(later(63)).is_some(), ill, "{fault}");
            assert_eq!(condition.fails_requests(later(63)), fails, "{fault}");
        }
    }

    #[test]
    fn a_slow_start_ends() {
        let start = Instant::now();
        let condition = condition("slow-start", start);
        assert!(condition.complaint(start).is_some());
        assert!(
            condition
                .complaint(start + Duration::from_secs(8))
                .is_none()
        );
    }
}
