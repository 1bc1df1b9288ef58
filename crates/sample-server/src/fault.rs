//! The ways in which this server can be broken on purpose, one at a time, by `FAULT`.
//!
//! A fault changes only what it says it changes: everything else goes on as in a good release.
//! Releases whose *migrations* are broken are made of files, not of faults.

mod condition;

use std::str::FromStr;

pub(crate) use self::condition::Condition;

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
    /// As `SilentErrorsInSoak`, but only one of five of the app's requests fails.
    SomeErrorsInSoak,
    /// Ends with an error before it listens.
    CrashAtStart,
    /// Lives without listening.
    NeverListens,
    /// Answers 404 everywhere.
    NoRoutes,
    /// One of its pages is not there.
    MissingPage,
    /// Healthy, but names a commit that nobody built.
    WrongCommit,
    /// Degraded: the check of the job queue warns.
    DegradedJobQueue,
    /// Degraded: the check of the contexts warns.
    DegradedContexts,
    /// `scrape sync` ends with an error.
    FailingPrepare,
    /// `scrape sync` counts a warning, and ends well.
    WarningPrepare,
    /// `healthcheck` ends with an error; the server itself is healthy.
    FailingHook,
    /// Not broken: takes `SLOW_START` to become healthy.
    SlowStart,
    /// Not broken: a job goes on for `SLOW_STOP` after SIGTERM.
    SlowStop,
    /// Goes on after SIGTERM, so that only SIGKILL ends it.
    IgnoresSigterm,
}

/// A word that names no fault.
#[derive(Debug)]
pub(crate) struct UnknownFault;

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 18] = [
        Self::NeverHealthy,
        Self::FailsInSoak,
        Self::ErrorsInSoak,
        Self::SilentErrorsInSoak,
        Self::SomeErrorsInSoak,
        Self::CrashAtStart,
        Self::NeverListens,
        Self::NoRoutes,
        Self::MissingPage,
        Self::WrongCommit,
        Self::DegradedJobQueue,
        Self::DegradedContexts,
        Self::FailingPrepare,
        Self::WarningPrepare,
        Self::FailingHook,
        Self::SlowStart,
        Self::SlowStop,
        Self::IgnoresSigterm,
    ];

    /// Its name, as in `FAULT`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NeverHealthy => "never-healthy",
            Self::FailsInSoak => "fails-in-soak",
            Self::ErrorsInSoak => "errors-in-soak",
            Self::SilentErrorsInSoak => "silent-errors-in-soak",
            Self::SomeErrorsInSoak => "some-errors-in-soak",
            Self::CrashAtStart => "crash-at-start",
            Self::NeverListens => "never-listens",
            Self::NoRoutes => "no-routes",
            Self::MissingPage => "missing-page",
            Self::WrongCommit => "wrong-commit",
            Self::DegradedJobQueue => "degraded-job-queue",
            Self::DegradedContexts => "degraded-contexts",
            Self::FailingPrepare => "failing-prepare",
            Self::WarningPrepare => "warning-prepare",
            Self::FailingHook => "failing-hook",
            Self::SlowStart => "slow-start",
            Self::SlowStop => "slow-stop",
            Self::IgnoresSigterm => "ignores-sigterm",
        }
    }

    /// The check of the health answer that warns because of it.
    pub(crate) fn warns(self) -> Option<&'static str> {
        match self {
            Self::DegradedJobQueue => Some("job_queue"),
            Self::DegradedContexts => Some("jsonld_contexts"),
            Self::NeverHealthy
            | Self::FailsInSoak
            | Self::ErrorsInSoak
            | Self::SilentErrorsInSoak
            | Self::SomeErrorsInSoak
            | Self::CrashAtStart
            | Self::NeverListens
            | Self::NoRoutes
            | Self::MissingPage
            | Self::WrongCommit
            | Self::FailingPrepare
            | Self::WarningPrepare
            | Self::FailingHook
            | Self::SlowStart
            | Self::SlowStop
            | Self::IgnoresSigterm => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_by_its_name() {
        for fault in Fault::ALL {
            assert_eq!(fault.as_str().parse::<Fault>().ok(), Some(fault));
        }
        assert!("".parse::<Fault>().is_err());
    }
}
