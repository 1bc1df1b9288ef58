//! A health answer: the Togather server's JSON, or whatever another app says.

use std::time::Duration;

use serde_json::Value;
use togather_model::{Acceptance, Slot, Verdict};

/// The fewest digits by which a shortened commit is recognised; git itself shortens to seven.
const SHORT_COMMIT: usize = 7;

const TOO_MANY_REQUESTS: u16 = 429;
const UNAVAILABLE: u16 = 503;

/// Whether an answer says no more than that it was asked for too soon.
pub(super) fn is_later(http_status: u16, retry_after: Option<Duration>) -> bool {
    http_status == TOO_MANY_REQUESTS || http_status == UNAVAILABLE && retry_after.is_some()
}

/// An answer to a question how the app is. What the app does not report is `None`, and is not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub http_status: u16,
    /// `healthy`, `degraded` or `unhealthy`, if the answer was JSON that says so.
    pub status: Option<String>,
    /// The version that answered.
    pub version: Option<String>,
    /// The git commit that answered.
    pub git_commit: Option<String>,
    /// The slot, from the body or from the proxy's `X-Togather-Slot` header.
    pub slot: Option<Slot>,
    /// The checks the app reports.
    pub checks: Vec<Check>,
    /// How long the answer took.
    pub latency: Duration,
    /// How long to wait before asking again, if the answer says so (`Retry-After`).
    pub retry_after: Option<Duration>,
}

/// One check of a health answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, for example `database`.
    pub name: String,
    /// `pass`, `warn` or `fail`.
    pub status: String,
    /// What it found.
    pub message: String,
}

impl Answer {
    /// Reads a body leniently: what is missing or of another shape is not reported, no more.
    pub(super) fn read(http_status: u16, body: &[u8], latency: Duration) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| {
            let text = json.get(key)?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        Self {
            http_status,
            status: text("status"),
            version: text("version"),
            git_commit: text("git_commit"),
            slot: text("slot").and_then(|slot| slot.parse().ok()),
            checks: json
                .get("checks")
                .and_then(Value::as_object)
                .map_or_else(Vec::new, |checks| {
                    checks
                        .iter()
                        .map(|(name, check)| Check::read(name, check))
                        .collect()
                }),
            latency,
            retry_after: None,
        }
    }

    /// Whether the app says it is well: a 2xx status and, if it names one, the status `healthy`.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.is_ready()
            && self
                .status
                .as_deref()
                .is_none_or(|status| status == "healthy")
    }

    /// Whether the HTTP status alone says that the app is well.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        (200..300).contains(&self.http_status)
    }

    /// Whether the answer is not about the app at all, but about having asked too soon. Who asks too
    /// often gets 429; an app that is busy may answer 503 and say when to come back.
    #[must_use]
    pub fn is_later(&self) -> bool {
        is_later(self.http_status, self.retry_after)
    }

    /// What the app says of itself, to be judged and remembered; `None`: the answer is no verdict,
    /// because it came too soon or is not of the app's making.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        let status = match (&self.status, self.is_ready()) {
            // An app's own word counts as far as its HTTP status agrees.
            (Some(status), false) if status == "healthy" || status == "degraded" => None,
            (Some(status), _) => Some(status.clone()),
            (None, true) => Some("healthy".into()),
            (None, false) => None,
        };
        let checks = self.checks.iter();
        status.filter(|_| !self.is_later()).map(|status| Verdict {
            status: Some(status),
            checks: checks
                .map(|check| (check.name.clone(), check.status.clone()))
                .collect(),
        })
    }

    /// Whether the app is fit to serve: by what the operator accepts, and by what the version said
    /// that it replaces.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn is_fit(&self, acceptance: &Acceptance, live: Option<&Verdict>) -> Result<(), String> {
        let verdict = self.verdict().filter(|_| self.is_ready());
        let verdict = verdict.ok_or_else(|| self.why())?;
        acceptance
            .judge(&verdict, live)
            .map_err(|complaints| format!("{}; {}", self.why(), complaints.join("; ")))
    }

    /// Whether this commit answered, as far as the app says. It may shorten the commit.
    #[must_use]
    pub fn is_commit(&self, git_commit: &str) -> bool {
        self.git_commit.as_deref().is_none_or(|said| {
            said == git_commit || (said.len() >= SHORT_COMMIT && git_commit.starts_with(said))
        })
    }

    /// The answer in words, above all what is wrong with it.
    #[must_use]
    pub fn why(&self) -> String {
        if self.is_later() {
            let when = self
                .retry_after
                .map_or_else(String::new, |after| format!(" in {} s", after.as_secs()));
            return format!(
                "HTTP {}, asked too often: to be asked again{when}",
                self.http_status
            );
        }
        let status = self.status.as_deref().unwrap_or("no status told");
        let complaints = self.checks.iter().filter(|check| check.status != "pass");
        let complaints =
            complaints.map(|check| format!("; {}: {} {}", check.name, check.status, check.message));
        format!(
            "HTTP {}, {status}{}",
            self.http_status,
            complaints.collect::<String>()
        )
    }
}

impl Check {
    fn read(name: &str, check: &Value) -> Self {
        let text = |key: &str| {
            check
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            name: name.to_owned(),
            status: text("status"),
            message: text("message"),
        }
    }
}
