//! Caddy, over its admin endpoint: which slot gets the node's traffic.
//!
//! The agent owns one snippet that the operator's Caddyfile imports. A switch writes the snippet
//! (temporary file, fsync, rename) and loads the whole Caddyfile, so what is on disk and what is
//! live are the same, also after Caddy restarts. If Caddy refuses, the old snippet goes back.
//!
//! A crash between the rename and the load leaves the snippet ahead of Caddy. [`Caddy::reload`] at
//! the agent's start, or any later switch, puts that right: both load whatever is on disk.

mod admin;
mod caddyfile;
mod connections;
mod endpoint;
mod error;
mod snippet;
mod socket;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use togather_model::Slot;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

use admin::Admin;
pub use endpoint::{AdminEndpoint, NoAdminEndpoint};
pub use error::TrafficError;
use snippet::Snippet;

/// How often the connections to a slot are counted while it drains.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// What the node asks of its proxy. Every verb may be called twice.
#[async_trait]
pub trait Traffic: Send + Sync {
    /// Checks, without changing anything, that a switch would work: the admin endpoint answers, the
    /// Caddyfile can be read and adapts, it imports the snippet, the snippet's folder is writable.
    async fn ready(&self) -> Result<(), TrafficError>;

    /// The slot that the snippet on disk sends traffic to; `None` before the first deployment.
    async fn live(&self) -> Result<Option<Slot>, TrafficError>;

    /// Sends new requests to this slot; `None`: to none (the first deployment was taken back).
    /// When it returns, Caddy serves by it.
    async fn switch(&self, to: Option<Slot>) -> Result<(), TrafficError>;

    /// Waits until the proxy has no connection to this slot any more, at most this long. Returns
    /// how many were left.
    async fn drained(&self, slot: Slot, within: Duration) -> Result<usize, TrafficError>;
}

/// The Caddy that serves this node.
#[derive(Debug)]
pub struct Caddy {
    admin: Admin,
    caddyfile: PathBuf,
    snippet: Snippet,
    /// One switch at a time: two would mix up which snippet is the old one.
    switching: Mutex<()>,
}

impl Caddy {
    /// The Caddy with this admin endpoint. `caddyfile` is loaded on every switch; `snippet` is the
    /// file the agent owns, which the Caddyfile must import by an absolute path.
    #[must_use]
    pub fn new(admin: AdminEndpoint, caddyfile: PathBuf, snippet: PathBuf) -> Self {
        Self {
            admin: Admin::new(admin, &caddyfile),
            caddyfile,
            snippet: Snippet::new(snippet),
            switching: Mutex::new(()),
        }
    }

    /// Has Caddy serve by what is on disk, as it should already; for the agent's start. Caddy takes
    /// an unchanged configuration for what it is and does nothing.
    ///
    /// # Errors
    /// Caddy cannot be reached, or refuses the Caddyfile. Live traffic is as it was.
    pub async fn reload(&self) -> Result<(), TrafficError> {
        let _switching = self.switching.lock().await;
        let text = self.read_caddyfile().await?;
        self.admin.load(&text).await
    }

    /// What is not as safe as it could be about how Caddy is reached, for people.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let AdminEndpoint::Loopback(address) = self.admin.endpoint() else {
            return None;
        };
        Some(format!(
            "every user of this machine can change what Caddy serves through {address}; a socket \
             lets in the group caddy alone (`proxy.admin` in deployment.yml)"
        ))
    }

    /// Looks at what makes switches impossible, as far as files tell: Caddy is not asked. A file that
    /// is not there yet is no fault.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub async fn look(&self) -> Result<(), TrafficError> {
        let endpoint = self.admin.endpoint();
        if let Ok(text) = read(&self.caddyfile).await {
            caddyfile::look_at_admin(&self.caddyfile, &text, endpoint)?;
        }
        match endpoint.socket() {
            Some(socket) => socket::look(socket, &self.caddyfile),
            None => Ok(()),
        }
    }

    async fn read_caddyfile(&self) -> Result<String, TrafficError> {
        let text = read(&self.caddyfile).await?;
        caddyfile::refuse_relative_imports(&self.caddyfile, &text)?;
        Ok(text)
    }

    /// Has Caddy translate the Caddyfile, and looks at what would become live.
    async fn check_adapted(&self, text: &str, to: Option<Slot>) -> Result<(), TrafficError> {
        let adapted = self.adapt(text).await?;
        if snippet::is_imported(&adapted, to) {
            return Ok(());
        }
        Err(self.not_imported())
    }

    /// What this Caddyfile means, unless loading it would lock the agent out.
    async fn adapt(&self, text: &str) -> Result<Value, TrafficError> {
        let adapted = self.admin.adapt(text).await?;
        let endpoint = self.admin.endpoint();
        caddyfile::refuse_other_admin(&self.caddyfile, &adapted, endpoint)?;
        if let Some(socket) = endpoint.socket() {
            let (served, is_closed) = (self.admin.served().await?, socket::has_no_mode(socket));
            let then = &adapted["admin"];
            caddyfile::refuse_other_mode(&self.caddyfile, socket, &served, then, is_closed)?;
        }
        Ok(adapted)
    }

    fn not_imported(&self) -> TrafficError {
        TrafficError::NotImported {
            caddyfile: self.caddyfile.clone(),
            snippet: self.snippet.path().to_owned(),
        }
    }

    /// The part of a switch that can be refused: the new snippet is on disk already.
    async fn go_live(&self, text: &str, to: Option<Slot>) -> Result<(), TrafficError> {
        self.check_adapted(text, to).await?;
        self.admin.load(text).await
    }
}

#[async_trait]
impl Traffic for Caddy {
    async fn ready(&self) -> Result<(), TrafficError> {
        let text = self.read_caddyfile().await?;
        self.snippet.check_writable()?;
        if let Some(current) = self.snippet.read().await? {
            return self.check_adapted(&text, snippet::slot(&current)).await;
        }
        // Before the first deployment there is no snippet that Caddy could show us as imported.
        self.adapt(&text).await?;
        if caddyfile::imports(&text, self.snippet.path()) {
            Ok(())
        } else {
            Err(self.not_imported())
        }
    }

    async fn live(&self) -> Result<Option<Slot>, TrafficError> {
        Ok(self
            .snippet
            .read()
            .await?
            .as_deref()
            .and_then(snippet::slot))
    }

    async fn switch(&self, to: Option<Slot>) -> Result<(), TrafficError> {
        let _switching = self.switching.lock().await;
        let text = self.read_caddyfile().await?;
        let old = self.snippet.read().await?;
        self.snippet.replace(Some(&snippet::text(to)))?;
        let Err(refused) = self.go_live(&text, to).await else {
            return Ok(());
        };
        self.snippet.replace(old.as_deref())?;
        if refused.may_have_gone_live() {
            // Caddy may have taken the new configuration before the answer was lost. If this fails
            // as well, Caddy is away, and will read the old snippet when it comes back.
            if let Err(error) = self.admin.load(&text).await {
                tracing::warn!(%error, "the old configuration could not be loaded again");
            }
        }
        Err(refused)
    }

    async fn drained(&self, slot: Slot, within: Duration) -> Result<usize, TrafficError> {
        let deadline = Instant::now() + within;
        loop {
            let left = connections::established(slot.port())?;
            let now = Instant::now();
            if left == 0 || now >= deadline {
                return Ok(left);
            }
            sleep_until(deadline.min(now + DRAIN_POLL)).await;
        }
    }
}

async fn read(path: &Path) -> Result<String, TrafficError> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|source| TrafficError::Read {
            path: path.to_owned(),
            source,
        })
}
