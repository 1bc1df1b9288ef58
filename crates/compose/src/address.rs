//! Addresses of the form `scheme://user:password@host`, whose password comes from the environment.
//!
//! This is the one place where a value is not filled in as Compose does it: in the user part, what a
//! reference comes to is percent-encoded. So any password can be written plainly in the environment file
//! and means the same in the address as in the variables beside it, and none can change the host, the
//! port or anything else.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::interpolate::{Content, InterpolateError, Lookup, Piece, pieces};

/// What may stand in a user part as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text whose references are filled in. It may hold secrets, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Filled {
    /// The text; encoded where it is the user part of an address.
    pub text: String,
    /// The names whose values were encoded although they look encoded already (`%2F`).
    pub encoded_twice: Vec<String>,
}

/// Fills in the references of a text that may be an address. Any other text is filled in plainly.
///
/// # Errors
/// The first reference that cannot be filled in.
pub fn fill_in(text: &str, lookup: Lookup<'_>) -> Result<Filled, InterpolateError> {
    let pieces: Vec<_> = pieces(text, lookup).collect();
    let user = user_part(&pieces);
    let mut filled = Filled {
        text: String::with_capacity(text.len()),
        encoded_twice: Vec::new(),
    };
    for piece in pieces {
        match piece.content {
            Content::Plain(plain) => filled.text.push_str(plain),
            Content::Reference { name, value } => {
                let value = value?;
                if !user.is_some_and(|(start, end)| (start..end).contains(&piece.at)) {
                    filled.text.push_str(&value);
                    continue;
                }
                if looks_encoded(&value) {
                    filled.encoded_twice.push(name.to_owned());
                }
                filled.text.extend(utf8_percent_encode(&value, ENCODED));
            }
        }
    }
    Ok(filled)
}

/// Where the user part of an address begins and ends, in bytes of the text as it is written: behind
/// `scheme://`, and before the last `@` in front of the path. `None`: it is no address, or has no user.
fn user_part(pieces: &[Piece<'_>]) -> Option<(usize, usize)> {
    let mut start = None;
    let mut end = None;
    for piece in pieces {
        let Content::Plain(plain) = piece.content else {
            continue;
        };
        let mut from = 0;
        if start.is_none() {
            let scheme = plain
                .find(|c: char| !is_of_a_scheme(c))
                .unwrap_or(plain.len());
            if scheme == plain.len() {
                continue;
            }
            plain[scheme..].strip_prefix("://")?;
            from = scheme + "://".len();
            start = Some(piece.at + from);
        }
        let authority = &plain[from..];
        let path = authority.find(['/', '?', '#']);
        let authority = &authority[..path.unwrap_or(authority.len())];
        if let Some(at) = authority.rfind('@') {
            end = Some(piece.at + from + at);
        }
        if path.is_some() {
            break;
        }
    }
    start.zip(end)
}

fn is_of_a_scheme(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// Whether there is a `%` with two hexadecimal digits after it.
fn looks_encoded(value: &str) -> bool {
    let digits = |at: usize| value.as_bytes().get(at + 1..at + 3);
    value
        .match_indices('%')
        .any(|(at, _)| digits(at).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str, password: &str) -> Filled {
        let lookup = |name: &str| match name {
            "P" => Some(password.to_owned()),
            "HOST" => Some("db:5432".to_owned()),
            _ => None,
        };
        fill_in(text, &lookup).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn only_what_fills_the_user_part_is_encoded() {
        for (text, expected) in [
            ("postgres://u:${P}@h:1/d", "postgres://u:a%2Fb%40c@h:1/d"),
            ("postgres://u:$P@h/d", "postgres://u:a%2Fb%40c@h/d"),
            ("postgres://${P}@h", "postgres://a%2Fb%40c@h"),
            ("redis://:${P}@${HOST}/0", "redis://:a%2Fb%40c@db:5432/0"),
            ("a+b.c-d://x${P}y@h", "a+b.c-d://xa%2Fb%40cy@h"),
            ("postgres://u:${N:-x/y}@h", "postgres://u:x%2Fy@h"),
            ("postgres://u:a%2Fb${P}@h", "postgres://u:a%2Fba%2Fb%40c@h"),
            ("${S:-http}://${P}@h", "http://a%2Fb%40c@h"),
            // The last `@` before the path ends the user part; a later one is of the path.
            ("x://a@${P}@h", "x://a@a%2Fb%40c@h"),
            ("x://h/${P}@", "x://h/a/b@c@"),
            ("x://u@h/${P}", "x://u@h/a/b@c"),
            ("x://u@h?p=${P}@", "x://u@h?p=a/b@c@"),
            // No address, or one without a user: as Compose fills it in.
            ("${P}", "a/b@c"),
            ("x://${P}", "x://a/b@c"),
            ("at x://${P}@h", "at x://a/b@c@h"),
            ("u:${P}@h", "u:a/b@c@h"),
        ] {
            assert_eq!(filled(text, "a/b@c").text, expected, "{text}");
        }
    }

    #[test]
    fn what_looks_encoded_already_is_named() {
        let text = "x://u:${P}@h/${P}";
        assert_eq!(filled(text, "p%41ss").encoded_twice, ["P"]);
        for plain in ["100%", "%4", "%zz", "a"] {
            assert!(filled(text, plain).encoded_twice.is_empty(), "{plain}");
        }
        assert!(filled("${P}", "p%41ss").encoded_twice.is_empty());
    }

    proptest! {
        /// No password changes where the address leads, and it comes out as it went in.
        #[test]
        fn a_password_changes_nothing_but_itself(password in any::<String>()) {
            let filled = filled("postgres://u:${P}@127.0.0.1:5432/d", &password).text;
            let rest = filled.strip_prefix("postgres://u:").unwrap();
            let (encoded, place) = rest.split_once('@').unwrap();
            prop_assert_eq!(place, "127.0.0.1:5432/d");
            prop_assert!(!encoded.contains(['/', '?', '#', ':', '@']));
            prop_assert_eq!(percent_decode_str(encoded).decode_utf8().unwrap(), password);
        }
    }
}
