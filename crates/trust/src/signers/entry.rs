//! One line of a signers file.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use ssh_key::PublicKey;

use super::parse_key;
use crate::{name::OperatorName, refusal::quotable};

/// One operator's key, what it may sign and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose key it is.
    pub operator: OperatorName,
    /// What it may sign; empty means everything.
    pub namespaces: Vec<String>,
    /// The first moment at which it is valid.
    pub valid_after: Option<Timestamp>,
    /// The last moment at which it is valid.
    pub valid_before: Option<Timestamp>,
    /// The public key; its comment is the line's.
    pub key: PublicKey,
}

impl Entry {
    /// A key that is valid at any time, for the given namespaces.
    #[must_use]
    pub fn new(operator: OperatorName, namespaces: &[&str], key: PublicKey) -> Self {
        let namespaces = namespaces
            .iter()
            .map(|&namespace| namespace.to_owned())
            .collect();
        Self {
            operator,
            namespaces,
            valid_after: None,
            valid_before: None,
            key,
        }
    }

    pub(super) fn allows(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|allowed| allowed == namespace)
    }

    fn take_option(&mut self, option: &str) -> Result<(), String> {
        let (key, quoted) = option.split_once('=').unwrap_or((option, ""));
        if key.eq_ignore_ascii_case("cert-authority") {
            return Err("cert-authority is not supported; expected each operator's own key".into());
        }
        let value = quoted
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        match (key, value) {
            ("namespaces", Some(list)) if self.namespaces.is_empty() => {
                self.namespaces = list.split(',').map(plain_word).collect::<Result<_, _>>()?;
            }
            ("valid-after", Some(time)) if self.valid_after.is_none() => {
                self.valid_after = Some(parse_time(time)?);
            }
            ("valid-before", Some(time)) if self.valid_before.is_none() => {
                self.valid_before = Some(parse_time(time)?);
            }
            ("namespaces" | "valid-after" | "valid-before", Some(_)) => {
                return Err(format!("{key} is given twice; expected it once"));
            }
            ("namespaces" | "valid-after" | "valid-before", None) => {
                return Err(format!(
                    "{key} has no value in quotes; expected {key}=\"…\""
                ));
            }
            (other, _) => {
                return Err(format!(
                    "{:?} is not an option here; expected namespaces, valid-after or valid-before",
                    quotable(other)
                ));
            }
        }
        Ok(())
    }
}

impl FromStr for Entry {
    /// What was found and what was expected.
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected: operator [options] ssh-ed25519 AAAA… [comment]";
        let (principal, rest) = split_word(line).ok_or(EXPECTED)?;
        let operator = parse_principal(principal)?;
        let (options, rest) = split_options(rest)?;
        let (kind, rest) = split_word(rest).ok_or(EXPECTED)?;
        let (base64, comment) = split_word(rest).unwrap_or((rest, ""));
        if base64.is_empty() {
            return Err(format!(
                "there is no key after {:?}; {EXPECTED}",
                quotable(kind)
            ));
        }
        let mut key = parse_key(kind, base64)?;
        key.set_comment(comment);
        let mut entry = Self::new(operator, &[], key);
        options
            .into_iter()
            .try_for_each(|option| entry.take_option(option))?;
        match (entry.valid_after, entry.valid_before) {
            (Some(after), Some(before)) if before <= after => Err(format!(
                "valid-before ({before}) is not after valid-after ({after})"
            )),
            _ => Ok(entry),
        }
    }
}

fn parse_principal(word: &str) -> Result<OperatorName, String> {
    if word.contains(',') {
        return Err("several operators share a key; expected one operator a line, each with a key of their own".into());
    }
    if word.contains(['*', '?', '!']) {
        return Err(format!(
            "{:?} is a pattern; expected one operator's name",
            quotable(word)
        ));
    }
    word.parse()
        .map_err(|error: crate::name::NameError| error.to_string())
}

fn plain_word(namespace: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_graphic() && !"*?!\"\\,".contains(c);
    if !namespace.is_empty() && namespace.chars().all(plain) {
        return Ok(namespace.to_owned());
    }
    Err(format!(
        "{:?} is not a namespace; expected a plain word, no pattern",
        quotable(namespace)
    ))
}

/// The first word of a line, and what follows it.
fn split_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    Some((word, rest.trim()))
}

/// The options between operator and key, if there are any, and what follows them.
fn split_options(text: &str) -> Result<(Vec<&str>, &str), String> {
    if ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|kind| text.starts_with(kind))
    {
        return Ok((Vec::new(), text));
    }
    let (mut options, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                options.push(&text[start..at]);
                start = at + 1;
            }
            ' ' | '\t' if !quoted => {
                options.push(&text[start..at]);
                return Ok((options, text[at..].trim_start()));
            }
            _ => {}
        }
    }
    if quoted {
        return Err("a quote is not closed; expected option=\"value\"".into());
    }
    Err("there is no key on the line; expected ssh-ed25519 AAAA… after the options".into())
}

/// `YYYYMMDDZ`, `YYYYMMDDHHMMZ` or `YYYYMMDDHHMMSSZ`. Without the `Z`, OpenSSH would take the time
/// zone of the machine, and two nodes would disagree.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    let problem = || {
        format!(
            "{:?} is not a time in UTC; expected YYYYMMDDZ or YYYYMMDDHHMM[SS]Z",
            quotable(text)
        )
    };
    let digits = text.strip_suffix('Z').ok_or_else(problem)?;
    if ![8, 12, 14].contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(problem());
    }
    let time =
        DateTime::strptime("%Y%m%d%H%M%S", format!("{digits:0<14}")).map_err(|_| problem())?;
    TimeZone::UTC.to_timestamp(time).map_err(|_| problem())
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = Vec::new();
        if !self.namespaces.is_empty() {
            options.push(format!("namespaces=\"{}\"", self.namespaces.join(",")));
        }
        for (name, time) in [
            ("valid-after", self.valid_after),
            ("valid-before", self.valid_before),
        ] {
            options
                .extend(time.map(|time| format!("{name}=\"{}\"", time.strftime("%Y%m%d%H%M%SZ"))));
        }
        let key = self.key.to_openssh().map_err(|_| fmt::Error)?;
        match options.as_slice() {
            [] => write!(f, "{} {key}", self.operator),
            some => write!(f, "{} {} {key}", self.operator, some.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn every_documented_form_is_read_and_written_back() {
        for line in [
            format!("alice {KEY}"),
            format!("alice {KEY} alice@laptop at home"),
            format!("ci namespaces=\"attestation@fleet.togather,git\" {KEY}"),
            format!("bob valid-after=\"20260101000000Z\",valid-before=\"20270102030405Z\" {KEY} b"),
        ] {
            assert_eq!(line.parse::<Entry>().unwrap().to_string(), line);
        }
        let entry: Entry = format!("a\t valid-after=\"202601020304Z\"  {KEY}")
            .parse()
            .unwrap();
        assert_eq!(
            entry.valid_after.unwrap().to_string(),
            "2026-01-02T03:04:00Z"
        );
    }

    #[test]
    fn what_is_not_understood_says_what_was_expected() {
        for (line, words) in [
            ("alice".into(), "there is no key on the line"),
            (format!("alice,bob {KEY}"), "several operators share a key"),
            (format!("* {KEY}"), "is a pattern"),
            (format!("!alice {KEY}"), "is a pattern"),
            (format!("alice@example {KEY}"), "is not a name"),
            (
                format!("alice cert-authority {KEY}"),
                "cert-authority is not supported",
            ),
            (
                format!("alice CERT-AUTHORITY,namespaces=\"a\" {KEY}"),
                "cert-authority is not supported",
            ),
            (
                format!("alice namespaces=\"git*\" {KEY}"),
                "is not a namespace",
            ),
            (format!("alice namespaces=\"\" {KEY}"), "is not a namespace"),
            (format!("alice namespaces=git {KEY}"), "no value in quotes"),
            (format!("alice namespaces {KEY}"), "no value in quotes"),
            (
                format!("alice namespaces=\"a\",namespaces=\"b\" {KEY}"),
                "is given twice",
            ),
            (
                format!("alice namespaces=\"a {KEY}"),
                "a quote is not closed",
            ),
            (
                format!("alice valid-after=\"20260101\" {KEY}"),
                "is not a time in UTC",
            ),
            (
                format!("alice valid-after=\"20261301Z\" {KEY}"),
                "is not a time in UTC",
            ),
            (
                format!("alice valid-after=\"2026 101Z\" {KEY}"),
                "is not a time in UTC",
            ),
            (
                format!("alice valid-after=\"20270101Z\",valid-before=\"20260101Z\" {KEY}"),
                "is not after",
            ),
            (
                format!("alice no-such-option=\"1\" {KEY}"),
                "is not an option here",
            ),
            (format!("alice , {KEY}"), "is not an option here"),
            (
                "alice ssh-rsa AAAAB3NzaC1yc2E=".into(),
                "of type ssh-ed25519",
            ),
            (
                "alice sk-ssh-ed25519@openssh.com AAAA".into(),
                "of type ssh-ed25519",
            ),
            ("alice ssh-ed25519".into(), "there is no key after"),
            (
                "alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA".into(),
                "cannot be read",
            ),
        ] {
            let problem = line.parse::<Entry>().unwrap_err();
            assert!(problem.contains(words), "{line:?}: {problem}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC*", middle in "[a-z=\",*! Z0-9-]*") {
            let _ = line.parse::<Entry>();
            let _ = format!("alice {middle} {KEY}").parse::<Entry>();
        }
    }
}
