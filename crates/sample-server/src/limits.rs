//! How often one client may ask, and what each of them asked.
//!
//! As in the Togather server: a client may ask so many times a minute, all at once if it likes, and
//! gets back one request in each such part of a minute. It is known by its address, or, behind a
//! proxy that is trusted, by what that proxy says its address is.
//!
//! What was asked is also kept in a [`ledger`], so that a test can read how much of a client's
//! allowance somebody used up.

mod ledger;

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use axum::http::HeaderMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;

pub(crate) use self::ledger::Ledger;
use crate::settings::Limits;

/// Paths that may be asked as often as anybody likes.
const UNLIMITED: [&str; 2] = ["/healthz", "/readyz"];
/// The most clients that are told apart; what is over is forgotten when it is idle.
const MANY_CLIENTS: usize = 10_000;

/// Who is let through.
#[derive(Debug)]
pub(crate) struct Gate {
    limiter: Option<DefaultKeyedRateLimiter<String>>,
    trusted_proxies: Vec<IpNet>,
    ledger: Mutex<Ledger>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        let quota = limits.public_per_minute.map(Quota::per_minute);
        Self {
            limiter: quota.map(RateLimiter::keyed),
            trusted_proxies: limits.trusted_proxies.clone(),
            ledger: Mutex::new(Ledger::new(limits.public_per_minute)),
        }
    }

    /// Whether a request for this path is let through, and takes note of it.
    pub(crate) fn admits(
        &self,
        path: &str,
        peer: IpAddr,
        headers: &HeaderMap,
        now: Instant,
    ) -> bool {
        if UNLIMITED.contains(&path) {
            return true;
        }
        let client = self.client(peer, headers);
        let admitted = self.limiter.as_ref().is_none_or(|limiter| {
            if limiter.len() > MANY_CLIENTS {
                limiter.retain_recent();
            }
            limiter.check_key(&client).is_ok()
        });
        self.lock().note(&client, path, admitted, now);
        admitted
    }

    /// What was asked so far.
    pub(crate) fn ledger(&self) -> serde_json::Value {
        serde_json::json!(&*self.lock())
    }

    /// The client's name: its address, or what a trusted proxy says.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> String {
        // An IPv4 client of a socket for both is written as one of IPv6.
        let peer = peer.to_canonical();
        let forwarded = headers
            .get("x-forwarded-for")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(',').next())
            .map(str::trim)
            .filter(|first| !first.is_empty());
        match forwarded {
            Some(first) if self.trusted_proxies.iter().any(|net| net.contains(&peer)) => {
                first.to_owned()
            }
            _ => peer.to_string(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ledger> {
        // Whoever panicked half-way left at most one request uncounted.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 18, 0, 1));

    fn gate(per_minute: u32, trusted: &str) -> Gate {
        Gate::new(&Limits {
            public_per_minute: NonZeroU32::new(per_minute),
            trusted_proxies: trusted.parse().into_iter().collect(),
        })
    }

    fn forwarded(client: &str) -> HeaderMap {
        HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), client.parse().unwrap())])
    }

    /// How many of so many requests at once are let through.
    fn admitted(gate: &Gate, path: &str, headers: &HeaderMap, requests: usize) -> usize {
        (0..requests)
            .filter(|_| gate.admits(path, PROXY, headers, Instant::now()))
            .count()
    }

    #[test]
    fn a_client_may_ask_so_often_and_no_more() {
        let gate = gate(60, "");
        assert_eq!(admitted(&gate, "/health", &HeaderMap::new(), 60), 60);
        for path in ["/health", "/version", "/metrics", "/", "/nothing"] {
            assert_eq!(admitted(&gate, path, &HeaderMap::new(), 1), 0, "{path}");
        }
        for path in UNLIMITED {
            assert_eq!(admitted(&gate, path, &HeaderMap::new(), 500), 500, "{path}");
        }
    }

    #[test]
    fn a_nought_is_no_limit() {
        assert_eq!(admitted(&gate(0, ""), "/", &HeaderMap::new(), 500), 500);
    }

    #[test]
    fn visitors_behind_a_proxy_share_one_limit_unless_it_is_trusted() {
        let (alice, bob) = (forwarded("192.0.2.1, 10.0.0.1"), forwarded("192.0.2.2"));
        for (trusted, bobs) in [("", 0), ("172.18.0.2/32", 0), ("172.18.0.1/32", 60)] {
            let gate = gate(60, trusted);
            assert_eq!(admitted(&gate, "/", &alice, 100), 60, "{trusted}");
            assert_eq!(admitted(&gate, "/", &bob, 100), bobs, "{trusted}");
        }
    }

    #[test]
    fn a_proxy_that_names_nobody_is_a_client_itself() {
        let gate = gate(1, "172.18.0.0/16");
        assert_eq!(gate.client(PROXY, &HeaderMap::new()), "172.18.0.1");
        assert_eq!(gate.client(PROXY, &forwarded(" ")), "172.18.0.1");
        let mapped = "::ffff:172.18.0.1".parse().unwrap();
        assert_eq!(gate.client(mapped, &forwarded("192.0.2.1")), "192.0.2.1");
    }
}
