//! Why a pull failed. Docker tells it in words alone, those of its own and of what it is built on, and
//! they differ from version to version: here the words become kinds.

use super::{Cause, registry};

/// What a pull's progress is called while the image is unpacked: all of it is downloaded.
pub const UNPACKING: &str = "unpacking the image";

/// Who the agent was to a registry that it logged in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Puller {
    /// A user with a password.
    User(String),
    /// Whoever the token was made for.
    Token,
}

/// A pull that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", self.what(), self.tries())]
pub struct PullError {
    /// The image.
    pub image: String,
    /// What kind of failure it is.
    pub kind: PullFailure,
    /// Who the agent was to the registry; `None`: nobody.
    pub puller: Option<Puller>,
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
    /// The kind that Docker's words about this image tell of. The image's own name says nothing of it,
    /// whatever words are in there.
    #[must_use]
    pub fn of(said: &str, image: &str) -> Self {
        let said = without_name(&said.to_lowercase(), &image.to_lowercase());
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

/// What was said without the image's name, in any of the ways in which Docker and registries write it:
/// whole, without tag and digest, without the registry, and the registry alone.
fn without_name(said: &str, image: &str) -> String {
    let untagged = image.split('@').next().unwrap_or(image);
    let repository = match untagged.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        Some(_) | None => untagged,
    };
    let host = registry::host(image);
    let path = repository.strip_prefix(host).unwrap_or(repository);
    let path = path.trim_start_matches('/');
    [image, repository, path, host]
        .into_iter()
        .fold(said.to_owned(), |said, name| without(&said, name))
}

/// The text with each place where this name stands alone left out. A single word is a name only where a
/// name's other parts are beside it: it may be one of Docker's own.
fn without(text: &str, name: &str) -> String {
    let is_of_a_name = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let is_one_word = !name.contains(['/', '.', ':']);
    let (mut rest, mut kept) = (text, String::new());
    while let Some(at) = rest.find(name).filter(|_| !name.is_empty()) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let (last, mut next) = (before.chars().next_back(), after.chars());
        let (first, second) = (next.next(), next.next());
        let is_alone =
            !last.as_ref().is_some_and(is_of_a_name) && !first.as_ref().is_some_and(is_of_a_name);
        let is_joined = last == Some('/')
            || matches!(first, Some('/' | '@'))
            || (first == Some(':') && second.as_ref().is_some_and(is_of_a_name));
        kept.push_str(before);
        if !is_alone || (is_one_word && !is_joined) {
            kept.push_str(name);
        }
        rest = after;
    }
    kept + rest
}

impl PullError {
    fn what(&self) -> String {
        let (image, host) = (&self.image, registry::host(&self.image));
        match (self.kind, &self.puller) {
            (PullFailure::Denied, Some(Puller::User(user))) => {
                format!("the registry `{host}` does not let the user `{user}` pull `{image}`")
            }
            (PullFailure::Denied, Some(Puller::Token)) => {
                format!("the registry `{host}` does not let the owner of the token pull `{image}`")
            }
            (PullFailure::Denied, None) => {
                format!("the registry `{host}` requires a login to pull `{image}`")
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
                format!("the registry `{host}` has rate-limited this node")
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
        match (self.kind, &self.puller) {
            (PullFailure::Denied, Some(Puller::User(user))) => format!(
                "check the password of `{user}` and that it may pull; it comes from `registries` in agent.yml on the node"
            ),
            (PullFailure::Denied, Some(Puller::Token)) => {
                "check that the token is still valid and may pull; it comes from `registries` in agent.yml on the node".into()
            }
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
            assert_eq!(
                PullFailure::of(said, "r.example.org/a@sha256:00"),
                expected,
                "{said}"
            );
        }
    }

    #[test]
    fn words_in_the_images_name_decide_nothing() {
        const SAID: [(&str, PullFailure); 7] = [
            (
                "manifest for {host}/{path}:1.0 not found: manifest unknown: manifest unknown",
                PullFailure::Missing,
            ),
            (
                r#"failed to resolve reference "{host}/{path}@sha256:00": {host}/{path}@sha256:00: not found"#,
                PullFailure::Missing,
            ),
            (
                r#"Get "https://{host}/v2/{path}/manifests/1": dial tcp 10.0.0.1:443: connect: connection refused"#,
                PullFailure::NoAnswer,
            ),
            (
                r#"Get "https://{host}/v2/": dial tcp: lookup {host}: no such host"#,
                PullFailure::NoName,
            ),
            (
                "received unexpected HTTP status from https://{host}/v2/{path}/blobs/sha256:00: 403 Forbidden",
                PullFailure::Denied,
            ),
            (
                r#"Get "https://{host}/v2/": tls: failed to verify certificate"#,
                PullFailure::Untrusted,
            ),
            (
                r#"Head "https://{host}/v2/{path}/manifests/1": denied: not yours"#,
                PullFailure::Denied,
            ),
        ];
        let words = WORDS.iter().flat_map(|(_, words)| words.iter());
        for word in words.map(|word| word.replace([' ', ':'], "-")) {
            let word = word.trim_matches('-');
            let hosts = [
                format!("{word}.example.org"),
                format!("{word}.example.org:5000"),
            ];
            let paths = [
                word.to_owned(),
                format!("{word}/{word}"),
                format!("team/{word}"),
            ];
            for (host, path) in hosts
                .iter()
                .flat_map(|host| paths.iter().map(move |path| (host, path)))
            {
                for image in [
                    format!("{host}/{path}:1.0"),
                    format!("{host}/{path}@sha256:00"),
                ] {
                    for (said, expected) in SAID {
                        let said = said.replace("{host}", host).replace("{path}", path);
                        assert_eq!(PullFailure::of(&said, &image), expected, "{said}");
                    }
                }
            }
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
            puller: None,
            tries: 1,
            source: "401".into(),
        };
        assert_eq!(
            error.to_string(),
            "the registry `r.example.org` requires a login to pull `r.example.org/a@sha256:00`"
        );
        assert!(error.next().contains("`registries.logins`"));
        error.puller = Some(Puller::User("togather".into()));
        assert!(error.to_string().contains("let the user `togather` pull"));
        assert!(error.next().contains("the password of `togather`"));
        error.puller = Some(Puller::Token);
        assert!(
            error
                .to_string()
                .contains("let the owner of the token pull")
        );
        assert!(error.next().contains("the token is still valid"));
        error.kind = PullFailure::NoAnswer;
        error.tries = 5;
        assert_eq!(
            error.to_string(),
            "the registry `r.example.org` cannot be reached (tried 5 times)"
        );
    }
}
