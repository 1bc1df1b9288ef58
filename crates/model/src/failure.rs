//! How things fail: what happened, why, and what to do next, as one value.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::step::Step;

/// The kinds of failure that scripts tell apart by exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// None of the others.
    Other,
    /// Another deployment, rollout or job holds the node.
    Held,
    /// The new version was not healthy.
    Unhealthy,
    /// A migration failed.
    Migration,
    /// A node could not be reached.
    Unreachable,
    /// Not signed by, or not allowed to, this operator.
    NotAllowed,
    /// An undo failed; a human is needed.
    Stuck,
    /// The configuration is wrong.
    Configuration,
}

impl FailureKind {
    /// The exit code of a command that ends with this failure. A documented contract.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Held => 3,
            Self::Unhealthy => 4,
            Self::Migration => 5,
            Self::Unreachable => 6,
            Self::NotAllowed => 7,
            Self::Stuck => 8,
            Self::Configuration => 10,
        }
    }
}

/// A failure as people and scripts get to see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: FailureKind,
    /// The step that failed, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// What happened, in one sentence without a full stop.
    pub what: String,
    /// Why: the chain of causes, outermost first, each said once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do next, a sentence or a command each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

impl Failure {
    /// A failure of this kind.
    #[must_use]
    pub fn new(kind: FailureKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            step: None,
            what: what.into(),
            causes: Vec::new(),
            next: Vec::new(),
        }
    }

    /// A failure whose causes are the error and its sources, each said once.
    #[must_use]
    pub fn caused_by(
        kind: FailureKind,
        what: impl Into<String>,
        error: &dyn std::error::Error,
    ) -> Self {
        let mut failure = Self::new(kind, what);
        let mut cause = Some(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !failure.what.contains(&text) && !failure.causes.contains(&text) {
                failure.causes.push(text);
            }
            cause = error.source();
        }
        failure
    }

    /// The same failure with one more thing to do next.
    #[must_use]
    pub fn next(mut self, what_to_do: impl Into<String>) -> Self {
        self.next.push(what_to_do.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
