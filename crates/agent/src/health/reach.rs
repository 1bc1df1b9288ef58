//! Whether the public address leads here: by its name, its certificate, and what answers.
//!
//! Deployments are proven through the address, on this machine. What keeps them from being proven
//! is found out before anything is changed; what only keeps visitors away is a doubt.

use std::{error::Error, time::Duration};

use reqwest::Client;
use togather_model::{Failure, FailureKind, Slot};
use tokio::net::lookup_host;
use url::{Host, Url};

use super::{HealthError, Received};

/// The longest that one question may take: who asks for a plan waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// The proxy says these of an app that it does not reach.
const AWAY: [u16; 3] = [502, 503, 504];

/// Caddy answers so where a site has https and was asked without.
const REDIRECTS: [u16; 4] = [301, 302, 307, 308];

/// What came of looking at the public address.
#[derive(Debug, Default)]
pub struct Reach {
    /// Why nothing can be proven through it.
    pub unproven: Option<Failure>,
    /// Why visitors may not get here, a sentence each.
    pub doubts: Vec<String>,
}

/// What is asked on this machine and by the name.
pub(super) struct Question<'a> {
    pub(super) public: &'a Url,
    /// A path that may be asked as often as one likes; `None`: nobody knows one.
    pub(super) path: Option<Url>,
    pub(super) live: Option<Slot>,
}

impl Question<'_> {
    /// The name that visitors look up; `None`: it is an address, or this machine's own name.
    fn name(&self) -> Option<&str> {
        match self.public.host()? {
            Host::Domain(name) if name != "localhost" => Some(name),
            Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    /// Judges what answered on this machine.
    pub(super) fn judge_here(&self, came: &Result<Received, HealthError>) -> Option<Failure> {
        let public = self.public;
        match came {
            Ok(received) if received.slot.is_some() => None,
            Ok(received) if REDIRECTS.contains(&received.http_status) => Some(
                Failure::new(
                    FailureKind::Other,
                    format!(
                        "{public} is redirected by what answers for it on this machine (HTTP {})",
                        received.http_status
                    ),
                )
                .next("say the address that it is redirected to in `proxy.public_url`: with Caddy's own certificate that begins with `https://`"),
            ),
            Ok(_) if self.live.is_none() => None,
            Ok(received) if AWAY.contains(&received.http_status) => None,
            Ok(received) => Some(
                Failure::new(
                    FailureKind::Other,
                    format!(
                        "what answers for {public} on this machine is not the site that imports the agent's snippet \
                         (HTTP {}, no X-Togather-Slot)",
                        received.http_status
                    ),
                )
                .next("`proxy.public_url` must be the address of the site in the Caddyfile that imports /etc/caddy/togather/*.caddy"),
            ),
            // An app that hangs is no reason to keep the next version away.
            Err(HealthError::NoAnswer { source, .. }) if !source.is_connect() => None,
            Err(error) => Some(match certificate(error) {
                Some(_) => Failure::caused_by(
                    FailureKind::Other,
                    format!("the certificate that this machine shows for {public} is not valid"),
                    error,
                )
                .next(
                    "the site's address in the Caddyfile must be that name, and ports 80 and 443 must be reachable, so \
                     that Caddy obtains a certificate; `journalctl -u caddy` says why it does not",
                ),
                None => Failure::caused_by(
                    FailureKind::Other,
                    format!("nothing answers for {public} on this machine"),
                    error,
                )
                .next("give the site in the Caddyfile the address that `proxy.public_url` has (for https its name, not `:80`)"),
            }),
        }
    }

    /// Asks as a visitor would, by the name.
    pub(super) async fn doubts(&self) -> Vec<String> {
        let Some(name) = self.name() else {
            return vec![];
        };
        let port = self.public.port_or_known_default().unwrap_or(443);
        let found = tokio::time::timeout(PATIENCE, lookup_host((name, port))).await;
        match found {
            Ok(Ok(mut addresses)) => match addresses.next() {
                Some(first) => self.doubt_about(name, &first.ip().to_string()).await,
                None => vec![unresolved(name, "it has no address")],
            },
            Ok(Err(error)) => vec![unresolved(name, &error.to_string())],
            Err(_) => vec![unresolved(name, "the resolver does not answer")],
        }
    }

    async fn doubt_about(&self, name: &str, address: &str) -> Vec<String> {
        // Where nothing is live there is nothing to be recognised.
        let (Some(path), Some(live)) = (&self.path, self.live) else {
            return vec![];
        };
        match ask_by_name(path).await {
            Ok(slot) if slot == Some(live.as_str().to_owned()) => vec![],
            Ok(_) => vec![format!(
                "{name} leads to {address}, where something else answers than this node: visitors do not get here; \
                 point its DNS record to this machine"
            )],
            Err(error) => vec![format!(
                "{name} ({address}) cannot be reached from this machine ({}), so it is not known whether visitors get \
                 here; some networks do not let a machine reach its own public address",
                Failure::caused_by(FailureKind::Other, "no answer", &error.without_url())
            )],
        }
    }
}

fn unresolved(name: &str, why: &str) -> String {
    format!(
        "{name} (`proxy.public_url`) does not resolve ({why}): visitors do not find this node; give the name an A or \
         AAAA record with this machine's address"
    )
}

/// The slot that whoever is at the name's address says.
async fn ask_by_name(url: &Url) -> Result<Option<String>, reqwest::Error> {
    let mut client = Client::builder()
        .no_proxy()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE);
    if url.scheme() == "http" {
        // The system's root certificates are not read for nothing.
        client = client.tls_certs_only([]);
    }
    let client = client.build()?;
    let response = client.get(url.clone()).send().await?;
    let slot = response.headers().get("x-togather-slot");
    Ok(slot.and_then(|slot| slot.to_str().ok()).map(str::to_owned))
}

/// What is wrong with the certificate, if that is why there was no answer.
fn certificate(error: &HealthError) -> Option<&rustls::CertificateError> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(wrong)) = error.downcast_ref() {
            return Some(wrong);
        }
        // An input or output error tells the source of what it holds, and not what it holds.
        let held = error.downcast_ref().and_then(std::io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests;
