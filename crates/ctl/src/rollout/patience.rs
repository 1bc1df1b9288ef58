//! Patience with a node that breaks off or cannot be reached: it is asked again until it was out of reach
//! for too long.

use std::{mem, time::Duration};

use tokio::time::{Instant, sleep};

use super::news::{News, Reporter};
use crate::error::{Error, Result};

/// The pause before a node that broke off, or could not be reached, is asked again.
pub(super) const PAUSE: Duration = Duration::from_millis(300);

/// The patience with one node.
pub(super) struct Patience<'a> {
    node: &'a str,
    limit: Duration,
    news: &'a dyn Reporter,
    alive: Instant,
    lost: bool,
}

impl<'a> Patience<'a> {
    /// With this node, for this long since it was last heard of.
    pub(super) fn new(node: &'a str, limit: Duration, news: &'a dyn Reporter) -> Self {
        Self {
            node,
            limit,
            news,
            alive: Instant::now(),
            lost: false,
        }
    }

    /// The node was heard of while we listened; if it was lost, it speaks for itself now.
    pub(super) fn renew(&mut self) {
        (self.alive, self.lost) = (Instant::now(), false);
    }

    /// The node was heard of; if it was lost, this is told.
    pub(super) fn heard(&mut self) {
        if self.lost {
            let node = self.node;
            self.news.tell(&News::NodeFound { node });
        }
        self.renew();
    }

    /// Tells that the node is lost, once, and waits until it may be asked again.
    ///
    /// # Errors
    /// Our patience is over, or the error is of another kind.
    pub(super) async fn bear(&mut self, error: Error) -> Result<()> {
        if !error.is_unreachable() || self.alive.elapsed() >= self.limit {
            return Err(error);
        }
        if !mem::replace(&mut self.lost, true) {
            let (node, why) = (self.node, error.to_string());
            self.news.tell(&News::NodeLost { node, why });
        }
        sleep(PAUSE).await;
        Ok(())
    }
}
