//! The two places a node can run the app in: one serves, the other is idle or becoming the next.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One of the two slots of a blue-green deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Published on 127.0.0.1:8081.
    Blue,
    /// Published on 127.0.0.1:8082.
    Green,
}

impl Slot {
    /// Both slots.
    pub const ALL: [Self; 2] = [Self::Blue, Self::Green];

    /// The other slot.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// The loopback port this slot publishes the app on. These are the ports that the Togather
    /// server's own deployment uses, so an existing node's firewall and habits keep working.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Blue => 8081,
            Self::Green => 8082,
        }
    }

    /// `blue` or `green`: the value of `DEPLOYMENT_SLOT` and of the `X-Togather-Slot` header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names neither slot.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a slot: expected `blue` or `green`")]
pub struct NotASlot(String);

impl FromStr for Slot {
    type Err = NotASlot;

    fn from_str(text: &str) -> Result<Self, NotASlot> {
        Self::ALL
            .into_iter()
            .find(|slot| slot.as_str() == text)
            .ok_or_else(|| NotASlot(text.to_owned()))
    }
}
