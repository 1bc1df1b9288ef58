//! Whether an app that answered is fit to serve: what the operator accepts, and whether it is worse
//! than the version it replaces.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// A status an operator can accept. `unhealthy` is none of them: nobody wants it to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acceptable {
    /// Every check passes.
    Healthy,
    /// Something warns, nothing fails.
    Degraded,
}

/// The worst result a check may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// It must pass, and must be reported.
    Pass,
    /// It may warn, whatever it did in the version before.
    Warn,
}

/// What an app said of itself: the part of a health answer that is judged and remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// `healthy`, `degraded` or `unhealthy`; `None`: the app does not say, and answered well.
    pub status: Option<String>,
    /// The checks by name: `pass`, `warn` or `fail`.
    pub checks: BTreeMap<String, String>,
}

/// What is accepted of an app: `app.accept`, `app.checks` and `app.no_worse_than_live` in
/// deployment.yml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// The statuses that are fit to serve.
    pub accept: Vec<Acceptable>,
    /// What is asked of single checks.
    pub checks: BTreeMap<String, Demand>,
    /// Whether a release that is worse than the one it replaces is refused.
    pub no_worse_than_live: bool,
}

impl Default for Acceptance {
    fn default() -> Self {
        Self {
            accept: vec![Acceptable::Healthy],
            checks: BTreeMap::new(),
            no_worse_than_live: true,
        }
    }
}

impl Acceptance {
    /// Judges what an app said of itself. `live` is what the version said that it replaces; `None`:
    /// there was none, or it could not be asked.
    ///
    /// # Errors
    /// Everything that makes it unfit, a phrase each.
    pub fn judge(&self, said: &Verdict, live: Option<&Verdict>) -> Result<(), Vec<String>> {
        let mut complaints = Vec::new();
        if !self.accepts(said) {
            complaints.push(format!(
                "its status is {}, and `app.accept` is {self}",
                said.status()
            ));
        }
        complaints.extend(self.checks.iter().filter_map(|(name, demand)| {
            let found = said.checks.get(name).map(String::as_str);
            let is_met = match demand {
                Demand::Pass => found == Some("pass"),
                Demand::Warn => found.is_none_or(|found| rank(found) <= rank("warn")),
            };
            (!is_met).then(|| {
                format!(
                    "the check `{name}` {}, and `app.checks` asks for {demand}",
                    found.map_or_else(|| "is not reported".into(), |found| format!("says {found}"))
                )
            })
        }));
        if let Some(live) = live.filter(|_| self.no_worse_than_live) {
            complaints.extend(self.what_is_worse(said, live));
        }
        match complaints.is_empty() {
            true => Ok(()),
            false => Err(complaints),
        }
    }

    fn accepts(&self, said: &Verdict) -> bool {
        self.accept.iter().any(|accepted| match accepted {
            Acceptable::Healthy => matches!(said.status(), "healthy"),
            Acceptable::Degraded => matches!(said.status(), "degraded"),
        })
    }

    /// The checks that are worse than in the version before, but for those `app.checks` speaks of.
    fn what_is_worse(&self, said: &Verdict, live: &Verdict) -> Vec<String> {
        let worse = said.checks.iter().filter_map(|(name, found)| {
            let before = live.checks.get(name).map(String::as_str);
            let is_worse = rank(found) > before.map_or(0, rank);
            (is_worse && !self.checks.contains_key(name)).then(|| {
                format!(
                    "the check `{name}` says {found}; in the version it replaces it {}",
                    before.map_or_else(
                        || "is not reported".into(),
                        |before| format!("says {before}")
                    )
                )
            })
        });
        let worse: Vec<String> = worse.collect();
        // An app that names no checks is compared by its status.
        if worse.is_empty()
            && said.checks.is_empty()
            && said.rank().cmp(&live.rank()) == Ordering::Greater
        {
            return vec![format!(
                "its status is {}; that of the version it replaces is {}",
                said.status(),
                live.status()
            )];
        }
        worse
    }
}

impl Verdict {
    fn status(&self) -> &str {
        self.status.as_deref().unwrap_or("healthy")
    }

    fn rank(&self) -> u8 {
        match self.status() {
            "healthy" => 0,
            "degraded" => 1,
            _ => 2,
        }
    }
}

/// How bad a check's result is. A word nobody knows is doubt, as a warning is.
fn rank(found: &str) -> u8 {
    match found {
        "pass" => 0,
        "fail" => 2,
        _ => 1,
    }
}

impl fmt::Display for Acceptance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.accept.iter().map(|accepted| match accepted {
            Acceptable::Healthy => "healthy",
            Acceptable::Degraded => "degraded",
        });
        write!(f, "[{}]", names.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Warn => "pass or warn",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: &str, checks: &[(&str, &str)]) -> Verdict {
        let checks = checks.iter();
        Verdict {
            status: Some(status.into()),
            checks: checks.map(|(n, s)| ((*n).into(), (*s).into())).collect(),
        }
    }

    fn new_fleet() -> Acceptance {
        Acceptance {
            accept: vec![Acceptable::Healthy, Acceptable::Degraded],
            ..Acceptance::default()
        }
    }

    #[test]
    fn without_a_key_only_healthy_is_fit() {
        let acceptance = Acceptance::default();
        assert_eq!(acceptance.judge(&said("healthy", &[]), None), Ok(()));
        assert_eq!(acceptance.judge(&Verdict::default(), None), Ok(()));
        let degraded = said("degraded", &[("job_queue", "warn")]);
        // Not even where the version before was no better.
        let refused = acceptance.judge(&degraded, Some(&degraded)).unwrap_err();
        assert_eq!(
            refused,
            ["its status is degraded, and `app.accept` is [healthy]"]
        );
    }

    #[test]
    fn with_nothing_live_the_statuses_alone_decide() {
        let degraded = said("degraded", &[("job_queue", "warn")]);
        assert_eq!(new_fleet().judge(&degraded, None), Ok(()));
        assert!(new_fleet().judge(&said("unhealthy", &[]), None).is_err());
        assert!(new_fleet().judge(&said("splendid", &[]), None).is_err());
    }

    #[test]
    fn a_release_that_is_more_degraded_is_refused_and_the_check_is_named() {
        let live = said("degraded", &[("job_queue", "warn"), ("contexts", "pass")]);
        let same = said("degraded", &[("job_queue", "warn"), ("contexts", "pass")]);
        let other = said("degraded", &[("job_queue", "pass"), ("contexts", "warn")]);
        let more = said("degraded", &[("job_queue", "warn"), ("cache", "warn")]);
        assert_eq!(new_fleet().judge(&same, Some(&live)), Ok(()));
        assert_eq!(
            new_fleet().judge(&other, Some(&live)).unwrap_err(),
            ["the check `contexts` says warn; in the version it replaces it says pass"]
        );
        assert_eq!(
            new_fleet().judge(&more, Some(&live)).unwrap_err(),
            ["the check `cache` says warn; in the version it replaces it is not reported"]
        );
        let mut lenient = new_fleet();
        lenient.no_worse_than_live = false;
        assert_eq!(lenient.judge(&other, Some(&live)), Ok(()));
    }

    #[test]
    fn statuses_are_compared_where_there_are_no_checks() {
        let refused = new_fleet().judge(&said("degraded", &[]), Some(&said("healthy", &[])));
        assert_eq!(
            refused.unwrap_err(),
            ["its status is degraded; that of the version it replaces is healthy"]
        );
        let no_worse = new_fleet().judge(&said("degraded", &[]), Some(&said("unhealthy", &[])));
        assert_eq!(no_worse, Ok(()));
    }

    #[test]
    fn single_checks_may_be_demanded_or_let_through() {
        let mut acceptance = new_fleet();
        let demands = [("job_queue", Demand::Pass), ("contexts", Demand::Warn)];
        acceptance.checks = demands.map(|(name, demand)| (name.into(), demand)).into();
        let live = said("healthy", &[("job_queue", "pass"), ("contexts", "pass")]);

        let let_through = said("degraded", &[("job_queue", "pass"), ("contexts", "warn")]);
        assert_eq!(acceptance.judge(&let_through, Some(&live)), Ok(()));
        let queue = said("degraded", &[("job_queue", "warn")]);
        assert_eq!(
            acceptance.judge(&queue, Some(&queue)).unwrap_err(),
            ["the check `job_queue` says warn, and `app.checks` asks for pass"]
        );
        let silent = acceptance.judge(&said("healthy", &[]), None).unwrap_err();
        assert_eq!(
            silent,
            ["the check `job_queue` is not reported, and `app.checks` asks for pass"]
        );
    }
}
