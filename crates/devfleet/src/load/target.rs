//! Where load may go: loopback addresses of this machine, and nowhere else.

use std::{net::SocketAddr, str::FromStr};

use crate::layout::Node;

/// A server that takes load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// What tables call it.
    pub(crate) name: String,
    address: SocketAddr,
}

impl Target {
    /// # Errors
    /// The address is not a loopback address.
    pub(crate) fn new(name: impl Into<String>, address: SocketAddr) -> Result<Self, String> {
        if !address.ip().is_loopback() {
            return Err(format!(
                "{address} is not a loopback address; load goes to this machine only"
            ));
        }
        Ok(Self {
            name: name.into(),
            address,
        })
    }

    /// A node's public address.
    pub(crate) fn node(node: Node) -> Self {
        Self {
            name: node.to_string(),
            address: SocketAddr::from((node.loopback(), 8080)),
        }
    }

    /// Always a loopback address.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// `http://ADDRESS:PORT` or a node's name. Host names are refused: what they stand for may change.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(node) = text.parse::<Node>() {
            return Ok(Self::node(node));
        }
        let address = text
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'))
            .and_then(|rest| rest.parse().ok())
            .ok_or_else(|| {
                "expected a node, such as node-1, or http://ADDRESS:PORT with a loopback address"
                    .to_owned()
            })?;
        Self::new(text, address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_takes_load() {
        for good in [
            "http://127.0.0.1:8080",
            "http://127.0.10.3:80/",
            "http://[::1]:8080",
        ] {
            assert!(good.parse::<Target>().is_ok(), "{good}");
        }
        for bad in [
            "http://192.0.2.1:80",
            "http://0.0.0.0:80",
            "http://10.77.7.101:80",
            "http://example.org",
            "http://localhost:8080",
            "https://127.0.0.1:443",
            "http://127.0.0.1@192.0.2.1:80",
            "127.0.0.1:80",
            "node-0",
            "",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_is_its_public_address() {
        let target: Target = "node-2".parse().unwrap();
        assert_eq!(target.address(), "127.0.10.2:8080".parse().unwrap());
    }
}
