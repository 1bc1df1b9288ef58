//! Image references by Docker's grammar, so that what Docker would refuse on a node is refused where
//! it was written.
//!
//! ```text
//! reference = [host [":" port] "/"] path [":" tag] ["@" digest]
//! path      = component ("/" component)*   in lower case; separated inside by ., _, __ or any number of -
//! ```
//!
//! As in Docker, what stands before the first slash is a host only if it has a `.` or a `:`, is
//! `localhost`, or has an upper-case letter.

use std::{fmt, str::FromStr};

/// The longest repository, host included, in characters.
const LONGEST_REPOSITORY: usize = 255;
/// The longest tag in characters.
const LONGEST_TAG: usize = 128;

/// An image reference, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// Registry and repository as they were written: `registry.example.org:5000/team/app`, or `app`.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest with its algorithm: `sha256:…`.
    pub digest: Option<String>,
}

/// The text is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {why}; expected [HOST[:PORT]/]NAME[:TAG][@sha256:…]")]
pub struct NotAnImageReference {
    text: String,
    why: String,
}

impl FromStr for ImageReference {
    type Err = NotAnImageReference;

    fn from_str(text: &str) -> Result<Self, NotAnImageReference> {
        read(text).map_err(|why| NotAnImageReference {
            text: text.to_owned(),
            why,
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn read(text: &str) -> Result<ImageReference, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("leave `{scheme}://` out"));
    }
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(checked_digest(digest)?)),
        None => (text, None),
    };
    // A colon after the last slash begins a tag; one before it belongs to the host's port.
    let name_at = named.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match named[name_at..].split_once(':') {
        Some((name, tag)) => (&named[..name_at + name.len()], Some(checked_tag(tag)?)),
        None => (named, None),
    };
    check_repository(repository)?;
    Ok(ImageReference {
        repository: repository.to_owned(),
        tag,
        digest,
    })
}

fn check_repository(repository: &str) -> Result<(), String> {
    if repository.len() > LONGEST_REPOSITORY {
        return Err(format!(
            "the name has more than {LONGEST_REPOSITORY} characters"
        ));
    }
    let path = match repository.split_once('/') {
        Some((host, path)) if is_host(host) => {
            check_host(host)?;
            path
        }
        _ => repository,
    };
    if repository.len() == 64 && repository.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("64 hexadecimal digits are an image's id, not its name".into());
    }
    path.split('/').try_for_each(check_component)
}

fn is_host(text: &str) -> bool {
    text == "localhost"
        || text
            .bytes()
            .any(|b| matches!(b, b'.' | b':') || b.is_ascii_uppercase())
}

fn check_host(host: &str) -> Result<(), String> {
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if let Some(port) = port {
        let is_port = port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0);
        if !is_port {
            return Err(format!("`{port}` is no port"));
        }
    }
    let is_ipv6 = name.strip_prefix('[').is_some_and(|rest| {
        rest.strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
    });
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match is_ipv6 || name.split('.').all(is_label) {
        true => Ok(()),
        false => Err(format!("`{name}` is no host name")),
    }
}

/// Letters and digits in lower case, separated by `.`, `_`, `__` or any number of `-`.
fn check_component(component: &str) -> Result<(), String> {
    if component.is_empty() {
        return Err("there is nothing before, after or between its slashes".into());
    }
    if component.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("`{component}` must be in lower case"));
    }
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if let Some(other) = component
        .chars()
        .find(|c| !u8::try_from(*c).is_ok_and(|b| is_name(b) || b"._-".contains(&b)))
    {
        return Err(format!("`{other}` cannot be part of a name"));
    }
    let mut separators = component.split(|c: char| u8::try_from(c).is_ok_and(is_name));
    let is_separator =
        |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    let edges = component.starts_with(['.', '_', '-']) || component.ends_with(['.', '_', '-']);
    match !edges && separators.all(is_separator) {
        true => Ok(()),
        false => Err(format!(
            "`{component}`: `.`, `_`, `__` or `-` may only stand between letters or digits"
        )),
    }
}

fn checked_tag(tag: &str) -> Result<String, String> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let well_formed = (1..=LONGEST_TAG).contains(&tag.len())
        && tag.as_bytes().first().is_some_and(|b| is_word(*b))
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-');
    match well_formed {
        true => Ok(tag.to_owned()),
        false => Err(format!("`{tag}` is no tag")),
    }
}

fn checked_digest(digest: &str) -> Result<String, String> {
    let well_formed = digest.split_once(':').is_some_and(|(algorithm, hex)| {
        let length = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return false,
        };
        hex.len() == length && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    match well_formed {
        true => Ok(digest.to_owned()),
        false => Err(format!(
            "`{digest}` is no digest: expected `sha256:` and 64 hexadecimal digits"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        text.parse::<ImageReference>().unwrap_err().why
    }

    #[test]
    fn what_docker_takes_is_taken_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = format!("localhost:5000/team/app:1.0@{digest}");
        for (text, repository, tag, has_digest) in [
            ("app", "app", None, false),
            (
                "postgis/postgis:16-3.4",
                "postgis/postgis",
                Some("16-3.4"),
                false,
            ),
            ("registry:5000/app", "registry:5000/app", None, false),
            ("localhost:5000", "localhost", Some("5000"), false),
            (
                "ghcr.io/x/a__b.c-d---e_f",
                "ghcr.io/x/a__b.c-d---e_f",
                None,
                false,
            ),
            (
                "[2001:db8::1]:5000/app",
                "[2001:db8::1]:5000/app",
                None,
                false,
            ),
            ("[2001:db8::1]/app:1", "[2001:db8::1]/app", Some("1"), false),
            ("Host/app", "Host/app", None, false),
            (&pinned, "localhost:5000/team/app", Some("1.0"), true),
        ] {
            let read: ImageReference = text.parse().unwrap();
            assert_eq!(read.repository, repository);
            assert_eq!(read.tag.as_deref(), tag, "{text}");
            assert_eq!(read.digest.is_some(), has_digest, "{text}");
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_docker_refuses_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("https://ghcr.io/x/y", "leave `https://` out"),
            ("//x/y", "between its slashes"),
            ("/x", "between its slashes"),
            ("x/", "between its slashes"),
            ("ghcr.io//x", "between its slashes"),
            ("host:99999/x", "`99999` is no port"),
            ("host:+80/x", "`+80` is no port"),
            ("host:/x", "`` is no port"),
            ("-host.example/x", "no host name"),
            ("[::g]/x", "no host name"),
            ("Postgres", "`Postgres` must be in lower case"),
            ("team/App:1", "`App` must be in lower case"),
            ("a b", "` ` cannot be part of a name"),
            ("tëam", "`ë` cannot be part of a name"),
            ("a..b", "may only stand between"),
            ("a___b", "may only stand between"),
            ("-a", "may only stand between"),
            ("a.", "may only stand between"),
            ("app:", "`` is no tag"),
            ("app:.1", "`.1` is no tag"),
            ("app@sha256:abc", "64 hexadecimal digits"),
            ("app@md5:00000000000000000000000000000000", "is no digest"),
        ] {
            let said = why(text);
            assert!(said.contains(reason), "{text}: {said}");
        }
        assert!(why(&"a".repeat(256)).contains("255"));
        assert!(why(&"0".repeat(64)).contains("image's id"));
        assert!(why(&format!("a:{}", "b".repeat(129))).contains("no tag"));
    }
}
