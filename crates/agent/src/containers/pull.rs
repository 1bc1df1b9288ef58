//! Why a pull failed. Docker tells it in words alone, those of its own and of what it is built on, and
//! they differ from version to version: here the words become kinds.

use super::{Cause, registry};

/// A pull that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", self.what(), self.tries())]
pub struct PullError {
    /// The image.
    pub image: String,
    /// What kind of failure it is.
    pub kind: PullFailure,
    /// The user that the agent was to the registry; `None`: nobody.
    pub user: Option<String>,
    /// How often it was tried.
    pub tries: usize,
    /// Docker's own words.
    pub source: Cause,
}

/// The kinds of failure that a pull ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullFailure {
    /// 401 or 403: not to this user, or not without one.
    Denied,
    /// 404: the registry has no such image.
    Missing,
    /// There is none for this machine's processor.
    OtherPlatform,
    /// The registry's name leads nowhere.
    NoName,
    /// Nobody answers there.
    NoAnswer,
    /// Somebody answers, and it cannot be told who.
    Untrusted,
    /// 429: too many pulls.
    Limited,
    /// Docker's disk is full.
    DiskFull,
    /// Something else, told by Docker's own words.
    Other,
}

/// Docker's words for each kind, in lower case; the first that are found decide.
const WORDS: [(PullFailure, &[&str]); 8] = [
    (
        PullFailure::DiskFull,
        &["no space left on device", "disk quota exceeded"],
    ),
    (
        PullFailure::Limited,
        &["toomanyrequests", "too many requests", "rate limit"],
    ),
    (
        PullFailure::Denied,
        &[
            "no basic auth credentials",
            "unauthorized",
            "pull access denied",
            "requested access to the resource is denied",
            "authorization failed",
            "authentication required",
            "failed to authorize",
            "incorrect username or password",
            "forbidden",
            "denied: ",
        ],
    ),
    (
        PullFailure::OtherPlatform,
        &[
            "no matching manifest for",
            "no match for platform",
            "cannot be used on this platform",
        ],
    ),
    (
        PullFailure::NoName,
        &["no such host", "name resolution", "server misbehaving"],
    ),
    (
        PullFailure::Untrusted,
        &[
            "x509:",
            "tls: ",
            "http response to https client",
            "certificate",
        ],
    ),
    (
        PullFailure::NoAnswer,
        &[
            "connection refused",
            "no route to host",
            "network is unreachable",
            "i/o timeout",
            "connection reset",
            "broken pipe",
            "handshake timeout",
            "deadline exceeded",
            "client.timeout",
            "request canceled while waiting",
            "unexpected eof",
            ": eof",
            "bad gateway",
            "service unavailable",
            "gateway timeout",
        ],
    ),
    (
        PullFailure::Missing,
        &[
            "manifest unknown",
            "name unknown",
            "not found",
            "repository name not known",
        ],
    ),
];

impl PullFailure {
    /// The kind that Docker's words tell of.
    #[must_use]
    pub fn of(said: &str) -> Self {
        let said = said.to_lowercase();
        let told = |words: &&(Self, &[&str])| words.1.iter().any(|word| said.contains(word));
        WORDS.iter().find(told).map_or(Self::Other, |words| words.0)
    }

    /// Whether the same pull may succeed in a moment, with nothing done about it.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        match self {
            Self::NoName | Self::NoAnswer | Self::Limited | Self::Other => true,
            Self::Denied
            | Self::Missing
            | Self::OtherPlatform
            | Self::Untrusted
            | Self::DiskFull => false,
        }
    }
}

impl PullError {
    fn what(&self) -> String {
        let (image, host) = (&self.image, registry::host(&self.image));
        match (self.kind, &self.user) {
            (PullFailure::Denied, Some(user)) => {
                format!("the registry `{host}` does not give `{image}` to the user `{user}`")
            }
            (PullFailure::Denied, None) => {
                format!("the registry `{host}` does not give `{image}` to anybody without a login")
            }
            (PullFailure::Missing, _) => format!("the registry `{host}` has no `{image}`"),
            (PullFailure::OtherPlatform, _) => {
                format!("`{image}` is not made for this machine's processor")
            }
            (PullFailure::NoName, _) => {
                format!("the name of the registry `{host}` cannot be resolved")
            }
            (PullFailure::NoAnswer, _) => format!("the registry `{host}` cannot be reached"),
            (PullFailure::Untrusted, _) => {
                format!("the registry `{host}` cannot be trusted: no valid TLS connection")
            }
            (PullFailure::Limited, _) => {
                format!("the registry `{host}` lets this node pull no more for now")
            }
            (PullFailure::DiskFull, _) => {
                format!("Docker's disk is too full for `{image}`")
            }
            (PullFailure::Other, _) => format!("Docker could not pull `{image}`"),
        }
    }

    fn tries(&self) -> String {
        match self.tries {
            0 | 1 => String::new(),
            tries => format!(" (tried {tries} times)"),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> String {
        let host = registry::host(&self.image);
        match (self.kind, &self.user) {
            (PullFailure::Denied, Some(user)) => format!(
                "check the password of `{user}` and that it may pull; it comes from `registries` in agent.yml on the node"
            ),
            (PullFailure::Denied, None) => format!(
                "name a user for `{host}` under `registries.logins` in agent.yml on the node, or docker's config.json as `registries.docker_config`; if the image is public, check its name"
            ),
            (PullFailure::Missing, _) => {
                "push the image again, or create the release from the digest that `docker push` printed".into()
            }
            (PullFailure::OtherPlatform, _) => {
                "build the image for the node's processor too: `docker buildx build --platform linux/amd64,linux/arm64`".into()
            }
            (PullFailure::NoName, _) => {
                format!("check the spelling of `{host}`, and the node's DNS: `resolvectl query {host}`")
            }
            (PullFailure::NoAnswer, _) => format!(
                "check that the node reaches it: `curl -v https://{host}/v2/`, its firewall, and Docker's proxy settings"
            ),
            (PullFailure::Untrusted, _) => format!(
                "put the registry's certificate authority into /etc/docker/certs.d/{host}/ca.crt on the node, or look at the node's clock; a registry without TLS must be named in Docker's `insecure-registries`"
            ),
            (PullFailure::Limited, _) => {
                "wait, or log in: registries let known users pull more".into()
            }
            (PullFailure::DiskFull, _) => {
                "free some room on the node: `docker system df`, old logs, old snapshots".into()
            }
            (PullFailure::Other, _) => format!(
                "look at `journalctl -u docker` on the node, and try `docker pull {}` there",
                self.image
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Docker 20.10 to 29 answer, with both of their image stores.
    const SAID: [(&str, PullFailure); 22] = [
        (
            r#"Head "https://r.example.org/v2/a/manifests/sha256:00": no basic auth credentials"#,
            PullFailure::Denied,
        ),
        (
            r#"Get "http://127.0.0.1:5000/v2/a/manifests/1": unauthorized: authentication required"#,
            PullFailure::Denied,
        ),
        (
            "pull access denied for a/b, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            PullFailure::Denied,
        ),
        (
            "failed to resolve reference \"r.example.org/a@sha256:00\": pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials",
            PullFailure::Denied,
        ),
        (
            "error pulling image configuration: unexpected status from GET request to https://r.example.org/v2/a/blobs/sha256:00: 403 Forbidden",
            PullFailure::Denied,
        ),
        (
            "manifest for r.example.org/a@sha256:00 not found: manifest unknown: manifest unknown",
            PullFailure::Missing,
        ),
        (
            "failed to resolve reference \"r.example.org/a@sha256:00\": r.example.org/a@sha256:00: not found",
            PullFailure::Missing,
        ),
        (
            "name unknown: repository name not known to registry",
            PullFailure::Missing,
        ),
        (
            "no matching manifest for linux/arm64/v8 in the manifest list entries",
            PullFailure::OtherPlatform,
        ),
        (
            r#"image operating system "windows" cannot be used on this platform"#,
            PullFailure::OtherPlatform,
        ),
        (
            r#"Get "https://nowhere.example/v2/": dial tcp: lookup nowhere.example on 127.0.0.53:53: no such host"#,
            PullFailure::NoName,
        ),
        (
            r#"Get "https://r.example.org/v2/": dial tcp: lookup r.example.org: Temporary failure in name resolution"#,
            PullFailure::NoName,
        ),
        (
            r#"Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused"#,
            PullFailure::NoAnswer,
        ),
        (
            r#"Get "https://10.9.9.9/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)"#,
            PullFailure::NoAnswer,
        ),
        (
            r#"Get "https://r.example.org/v2/": net/http: TLS handshake timeout"#,
            PullFailure::NoAnswer,
        ),
        ("unexpected EOF", PullFailure::NoAnswer),
        (
            "received unexpected HTTP status: 503 Service Unavailable",
            PullFailure::NoAnswer,
        ),
        (
            r#"Get "https://r.example.org/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority"#,
            PullFailure::Untrusted,
        ),
        (
            r#"Get "https://127.0.0.2:5000/v2/": http: server gave HTTP response to HTTPS client"#,
            PullFailure::Untrusted,
        ),
        (
            "toomanyrequests: You have reached your pull rate limit.",
            PullFailure::Limited,
        ),
        (
            "failed to register layer: write /app/server: no space left on device",
            PullFailure::DiskFull,
        ),
        (
            "layers from manifest don't match image configuration",
            PullFailure::Other,
        ),
    ];

    #[test]
    fn dockers_words_are_told_apart() {
        for (said, expected) in SAID {
            assert_eq!(PullFailure::of(said), expected, "{said}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (kind, _) in WORDS {
            let transient = [
                PullFailure::NoName,
                PullFailure::NoAnswer,
                PullFailure::Limited,
            ];
            assert_eq!(kind.may_pass(), transient.contains(&kind), "{kind:?}");
        }
    }

    #[test]
    fn it_says_who_was_refused_and_what_to_do() {
        let mut error = PullError {
            image: "r.example.org/a@sha256:00".into(),
            kind: PullFailure::Denied,
            user: None,
            tries: 1,
            source: "401".into(),
        };
        assert_eq!(
            error.to_string(),
            "the registry `r.example.org` does not give `r.example.org/a@sha256:00` to anybody without a login"
        );
        assert!(error.next().contains("`registries.logins`"));
        error.user = Some("togather".into());
        assert!(error.to_string().ends_with("to the user `togather`"));
        assert!(error.next().contains("the password of `togather`"));
        error.kind = PullFailure::NoAnswer;
        error.tries = 5;
        assert_eq!(
            error.to_string(),
            "the registry `r.example.org` cannot be reached (tried 5 times)"
        );
    }
}
