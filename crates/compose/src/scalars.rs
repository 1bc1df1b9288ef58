//! What YAML takes a text for that stands without quotes: Compose asks a text of some keys, and writes
//! some numbers and booleans differently where it makes a text of them.

/// Whether YAML takes this for a number, a boolean or a date.
pub(crate) fn is_no_text(text: &str) -> bool {
    matches!(text, "true" | "false") || is_canonical(text) || is_rewritten(text)
}

/// Whether Compose makes another text of this one that stands without quotes, because YAML takes it
/// for a number or a boolean: `010` becomes `8`, `1.10` becomes `1.1`, `True` becomes `true`.
pub(crate) fn is_rewritten(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['+', '-']);
    if matches!(text, "True" | "TRUE" | "False" | "FALSE")
        || is_a_date(text)
        || matches!(unsigned.to_ascii_lowercase().as_str(), ".inf" | ".nan")
    {
        return true;
    }
    let based = ["0x", "0X", "0o", "0O", "0b", "0B"]
        .iter()
        .find_map(|prefix| unsigned.strip_prefix(prefix));
    if let Some(digits) = based {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_');
    }
    is_a_number(&unsigned.replace('_', ""))
        && unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && !is_canonical(text)
}

/// Digits, perhaps a point and an exponent.
fn is_a_number(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let only_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let is_there = !whole.is_empty() || !fraction.is_empty();
    is_there && !exponent.is_empty() && [whole, fraction, exponent].into_iter().all(only_digits)
}

/// Whether this number is written as Compose writes it.
fn is_canonical(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "1"));
    let only_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    only_digits(whole)
        && only_digits(fraction)
        && (whole == "0" || !whole.starts_with('0'))
        && !fraction.ends_with('0')
        // Beyond these a number loses digits, or gets an exponent.
        && whole.len() + fraction.len() <= 15
        && !(text.starts_with('-') && unsigned == "0")
        && !unsigned.starts_with("0.0000")
}

/// `2026-11-25`, perhaps with a time of the day after it, which Compose would write with a zone.
fn is_a_date(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |part: &str, longest: usize| {
        (1..=longest).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    let parts: Vec<_> = date.split('-').collect();
    let [year, month, day] = *parts else {
        return false;
    };
    let is_time = |time: &str| {
        let parts: Vec<_> = time.splitn(3, ':').collect();
        matches!(*parts, [hour, minute, second] if digits(hour, 2) && digits(minute, 2)
            && second.starts_with(|c: char| c.is_ascii_digit()))
    };
    year.len() == 4
        && digits(year, 4)
        && digits(month, 2)
        && digits(day, 2)
        && time.is_none_or(is_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compose_would_write_differently_is_known() {
        for text in [
            "010",
            "0644",
            "1_000",
            "+5",
            "0x10",
            "0o17",
            "0b1",
            "1.0",
            "1.10",
            "1e3",
            ".5",
            "5.",
            "True",
            "FALSE",
            ".inf",
            "-0",
            "08",
            "0.00001",
            "12345678901234567890",
            "-.5",
            "2026-11-25",
            "2026-1-2T10:00:00Z",
            "2026-11-25 10:00:00",
        ] {
            assert!(is_rewritten(text), "{text}");
        }
        for text in [
            "0",
            "8080",
            "-5",
            "1.5",
            "0.25",
            "true",
            "false",
            "",
            "a",
            "1.2.3",
            "10m",
            "0x",
            "2026-11",
            "2026-11-25-1",
            "2026-11-25 text",
            "e3",
            "1e",
            "_1",
            "yes",
            "127.0.0.1",
            "v1.0",
            "-",
            ".",
            "+",
        ] {
            assert!(!is_rewritten(text), "{text}");
        }
    }

    #[test]
    fn what_yaml_takes_for_a_text_is_known() {
        for text in ["true", "FALSE", "0", "-5", "1.5", "010", "2026-11-25"] {
            assert!(is_no_text(text), "{text}");
        }
        for text in ["yes", "no", "on", "", "a", "10m", "1.2.3", "truer", "null"] {
            assert!(!is_no_text(text), "{text}");
        }
    }
}
