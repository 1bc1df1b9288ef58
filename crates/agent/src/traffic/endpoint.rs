//! Where Caddy's admin endpoint is, in the words of its Caddyfile.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Caddy's admin endpoint: `unix//run/caddy/admin.sock`, or a loopback address with its port, such as
/// `localhost:2019`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AdminEndpoint {
    /// A unix socket, by its absolute path.
    Socket(PathBuf),
    /// A port of this machine's loopback address, `HOST:PORT`: open to every user of the machine.
    Loopback(String),
}

/// A text that names no admin endpoint the agent could use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected Caddy's admin endpoint as its Caddyfile has it: `unix//run/caddy/admin.sock`, or a \
     loopback address with its port such as `localhost:2019`; found `{0}`"
)]
pub struct NoAdminEndpoint(String);

impl AdminEndpoint {
    /// The socket's path, where it is one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Socket(path) => Some(path),
            Self::Loopback(_) => None,
        }
    }

    /// What Caddy expects in the header `Host`: a socket has no name.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Socket(_) => "",
            Self::Loopback(address) => address,
        }
    }
}

impl FromStr for AdminEndpoint {
    type Err = NoAdminEndpoint;

    /// The socket's mode (`|0660`), which Caddy takes from 2.7 on, is no part of where it is. A bare
    /// path is a socket's, too.
    fn from_str(text: &str) -> Result<Self, NoAdminEndpoint> {
        let wrong = || NoAdminEndpoint(text.to_owned());
        let path = text.strip_prefix("unix/").unwrap_or(text);
        if path.starts_with('/') {
            let path = path.split('|').next().unwrap_or(path);
            return Ok(Self::Socket(path.into()));
        }
        let address = text.strip_prefix("tcp/").unwrap_or(text);
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = |ip: IpAddr| ip.is_loopback();
        let is_here = bare == "localhost" || bare.parse().is_ok_and(is_loopback);
        let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
        if is_here && is_port {
            return Ok(Self::Loopback(address.to_owned()));
        }
        Err(wrong())
    }
}

impl fmt::Display for AdminEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix/{}", path.display()),
            Self::Loopback(address) => f.write_str(address),
        }
    }
}

impl PartialEq for AdminEndpoint {
    /// `localhost` is 127.0.0.1: that is what Caddy takes it for.
    fn eq(&self, other: &Self) -> bool {
        let plain = |address: &str| address.replace("127.0.0.1:", "localhost:");
        match (self, other) {
            (Self::Socket(one), Self::Socket(other)) => one == other,
            (Self::Loopback(one), Self::Loopback(other)) => plain(one) == plain(other),
            (Self::Socket(_), Self::Loopback(_)) | (Self::Loopback(_), Self::Socket(_)) => false,
        }
    }
}

impl Eq for AdminEndpoint {}

impl TryFrom<String> for AdminEndpoint {
    type Error = NoAdminEndpoint;

    fn try_from(text: String) -> Result<Self, NoAdminEndpoint> {
        text.parse()
    }
}

impl From<AdminEndpoint> for String {
    fn from(endpoint: AdminEndpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> AdminEndpoint {
        text.parse().unwrap()
    }

    #[test]
    fn what_a_caddyfile_says_is_read() {
        for text in [
            "unix//run/caddy/admin.sock",
            "unix//run/caddy/admin.sock|0660",
            "/run/caddy/admin.sock",
        ] {
            let socket = read(text);
            assert_eq!(socket.socket(), Some(Path::new("/run/caddy/admin.sock")));
            assert_eq!(socket.to_string(), "unix//run/caddy/admin.sock");
            assert_eq!(socket.host(), "");
        }
        for text in ["localhost:2019", "127.0.0.1:2019", "[::1]:2019"] {
            assert_eq!(read(text).to_string(), text);
            assert_eq!(read(text).host(), text);
        }
        assert_eq!(read("tcp/localhost:2019"), read("127.0.0.1:2019"));
        assert_ne!(read("localhost:2019"), read("localhost:2020"));
        assert_ne!(read("localhost:2019"), read("[::1]:2019"));
        assert_ne!(read("localhost:2019"), read("/localhost:2019"));
    }

    #[test]
    fn what_is_none_or_open_to_the_network_is_refused() {
        for text in [
            "",
            "off",
            ":2019",
            "localhost",
            "localhost:0",
            "localhost:x",
            "0.0.0.0:2019",
            "192.0.2.1:2019",
            "caddy.example.org:2019",
            "http://localhost:2019",
            "unix/run/caddy/admin.sock",
        ] {
            let refused = text.parse::<AdminEndpoint>().unwrap_err().to_string();
            assert!(refused.contains(&format!("found `{text}`")), "{refused}");
        }
    }
}
