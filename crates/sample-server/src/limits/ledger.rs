//! What clients asked on paths that are limited, whether a limit is set or not.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU32,
    time::{Duration, Instant},
};

use serde::Serialize;

/// The stretch of time that the limit is about.
const WINDOW: Duration = Duration::from_secs(60);
/// The most clients that are told apart.
const MOST_CLIENTS: usize = 1_000;

/// What was asked since this process started.
#[derive(Debug, Serialize)]
pub(crate) struct Ledger {
    limit: Option<NonZeroU32>,
    /// All clients together.
    all: Tally,
    clients: BTreeMap<String, Tally>,
}

/// What one client asked.
#[derive(Debug, Default, Serialize)]
struct Tally {
    asked: u64,
    /// The most requests within any 60 seconds.
    most_in_a_minute: usize,
    /// Those answered with 429.
    refused: u64,
    paths: BTreeMap<String, u64>,
    #[serde(skip)]
    recent: VecDeque<Instant>,
}

impl Ledger {
    pub(super) fn new(limit: Option<NonZeroU32>) -> Self {
        Self {
            limit,
            all: Tally::default(),
            clients: BTreeMap::new(),
        }
    }

    pub(super) fn note(&mut self, client: &str, path: &str, admitted: bool, now: Instant) {
        self.all.note(path, admitted, now);
        if let Some(known) = self.clients.get_mut(client) {
            known.note(path, admitted, now);
        } else if self.clients.len() < MOST_CLIENTS {
            let tally = self.clients.entry(client.to_owned()).or_default();
            tally.note(path, admitted, now);
        }
    }
}

impl Tally {
    fn note(&mut self, path: &str, admitted: bool, now: Instant) {
        self.asked += 1;
        self.refused += u64::from(!admitted);
        *self.paths.entry(path.to_owned()).or_default() += 1;
        self.recent.push_back(now);
        while self
            .recent
            .front()
            .is_some_and(|first| now.duration_since(*first) >= WINDOW)
        {
            self.recent.pop_front();
        }
        self.most_in_a_minute = self.most_in_a_minute.max(self.recent.len());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_busiest_minute_is_any_minute_not_one_of_the_clock() {
        let start = Instant::now();
        let mut ledger = Ledger::new(NonZeroU32::new(60));
        for second in [0, 50, 59, 61, 109, 300] {
            let at = start + Duration::from_secs(second);
            ledger.note("192.0.2.1", "/health", second != 61, at);
        }
        ledger.note(
            "192.0.2.2",
            "/version",
            true,
            start + Duration::from_secs(301),
        );
        assert_eq!(
            json!(ledger),
            json!({
                "limit": 60,
                "all": {
                    "asked": 7, "most_in_a_minute": 4, "refused": 1,
                    "paths": {"/health": 6, "/version": 1},
                },
                "clients": {
                    "192.0.2.1": {
                        "asked": 6, "most_in_a_minute": 4, "refused": 1, "paths": {"/health": 6},
                    },
                    "192.0.2.2": {
                        "asked": 1, "most_in_a_minute": 1, "refused": 0, "paths": {"/version": 1},
                    },
                },
            })
        );
    }
}
