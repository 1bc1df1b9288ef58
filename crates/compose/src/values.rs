//! The small notations inside a Compose file: sizes, spans of time, numbers, restart policies. Each
//! gives `None` for a text that is none; the caller says what was expected and where.

use std::time::Duration;

use crate::service::{PullPolicy, Restart};

pub(crate) const SIZE: &str = "a size such as `64m` or `1g`";

/// Bytes, in Docker's notation: a number and perhaps `b`, `k`, `m`, `g`, `t` or `p` (also `kb`, `kib`),
/// in powers of 1024.
pub(crate) fn size(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..)?;
    let unit = match unit.strip_suffix("ib") {
        Some(unit) if !unit.is_empty() => unit,
        Some(_) | None => unit.strip_suffix('b').unwrap_or(unit),
    };
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let (whole, fraction) = split_number(digits.trim_end())?;
    // YAML takes `1.5` for a number, and Compose then takes it for nothing.
    let octal = digits.len() > 1 && digits.starts_with('0');
    if shift == 0 && (digits.contains('.') || octal) {
        return None;
    }
    let whole = whole.checked_mul(1 << shift)?;
    whole.checked_add(part_of(1 << shift, fraction)?)
}

/// The whole and the digits of the fraction of a decimal number that is not negative.
fn split_number(text: &str) -> Option<(i64, &str)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let only_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 9 || !only_digits(whole) || !only_digits(fraction) {
        return None;
    }
    Some((whole.parse().ok()?, fraction))
}

/// This fraction of a whole, rounded down.
fn part_of(whole: i64, fraction: &str) -> Option<i64> {
    let billionths: i128 = format!("{fraction:0<9}").parse().ok()?;
    i64::try_from(i128::from(whole) * billionths / 1_000_000_000).ok()
}

pub(crate) const DURATION: &str = "a span of time such as `30s` or `1m30s`";

pub(crate) fn duration(text: &str) -> Option<Duration> {
    // Others have blanks between its parts.
    let one_word = !text.contains(char::is_whitespace);
    one_word
        .then(|| togather_model::span::parse(text))
        .flatten()
}

pub(crate) const CPUS: &str = "a number of CPUs such as `2` or `0.5`";

/// Billionths of one CPU.
pub(crate) fn nano_cpus(text: &str) -> Option<i64> {
    const ONE: i64 = 1_000_000_000;
    let (whole, fraction) = split_number(text)?;
    whole.checked_mul(ONE)?.checked_add(part_of(ONE, fraction)?)
}

pub(crate) const SWITCH: &str = "`true` or `false`";

pub(crate) fn switch(text: &str) -> Option<bool> {
    // As Compose reads them: YAML's older words, too.
    match &*text.to_ascii_lowercase() {
        "true" | "yes" | "y" | "on" => Some(true),
        "false" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

pub(crate) const NUMBER: &str = "a whole number";

/// In digits. With a zero in front it would be octal for some readers.
pub(crate) fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let odd = digits.starts_with('+') || digits.len() > 1 && digits.starts_with('0');
    (!odd).then(|| text.parse().ok()).flatten()
}

pub(crate) const RESTART: &str =
    "`no`, `always`, `unless-stopped`, `on-failure` or `on-failure:TIMES`";

pub(crate) fn restart(text: &str) -> Option<Restart> {
    Some(match text {
        // Empty, as `${RESTART:-}` is where nobody sets it.
        "no" | "" => Restart::No,
        "always" => Restart::Always,
        "unless-stopped" => Restart::UnlessStopped,
        "on-failure" => Restart::OnFailure { retries: 0 },
        _ => Restart::OnFailure {
            retries: text.strip_prefix("on-failure:")?.parse().ok()?,
        },
    })
}

pub(crate) const PULL_POLICY: &str =
    "`missing` or `never`; the agent pulls when it makes a container, and builds nothing";

pub(crate) fn pull_policy(text: &str) -> Option<PullPolicy> {
    Some(match text {
        "missing" | "if_not_present" => PullPolicy::Missing,
        "never" => PullPolicy::Never,
        _ => return None,
    })
}

pub(crate) const PROJECT: &str =
    "lower-case letters, digits, `-` and `_`, beginning with a letter or digit";

pub(crate) fn project(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits =
        text.starts_with(allowed) && text.chars().all(|c| allowed(c) || matches!(c, '-' | '_'));
    fits.then(|| text.to_owned())
}

pub(crate) const CONTAINER_NAME: &str =
    "at least two letters, digits, `_`, `-` and `.`, beginning with a letter or digit";

pub(crate) fn container_name(text: &str) -> Option<String> {
    (text.len() > 1 && is_a_name(text)).then(|| text.to_owned())
}

/// Whether Docker takes this for the name of a volume or container.
pub(crate) fn is_a_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

pub(crate) const PLATFORM: &str = "a platform such as `linux/amd64` or `linux/arm64/v8`";

pub(crate) fn platform(text: &str) -> Option<String> {
    let parts: Vec<_> = text.split('/').collect();
    let fits = (1..=3).contains(&parts.len())
        && parts.iter().all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        });
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("10b", 10),
            ("256m", 256 << 20),
            ("1GB", 1 << 30),
            ("1.5g", 3 << 29),
            ("512 MiB", 512 << 20),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "64 apples",
            "9999999999g",
            "1i",
            "1.g.5",
            "1.5",
            "010",
            "1mi",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn spans_of_time_have_units() {
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1d"), Some(Duration::from_hours(24)));
        for text in ["", "30", "-5s", "soon", "5 s", "1m 30s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn cpus_are_decimal_numbers() {
        assert_eq!(nano_cpus("0.50"), Some(500_000_000));
        assert_eq!(nano_cpus("2"), Some(2_000_000_000));
        for text in ["", ".", "-1", "1e3", "0.5.5"] {
            assert_eq!(nano_cpus(text), None, "{text}");
        }
    }

    #[test]
    fn restart_policies_are_dockers() {
        assert_eq!(restart("unless-stopped"), Some(Restart::UnlessStopped));
        assert_eq!(
            restart("on-failure:3"),
            Some(Restart::OnFailure { retries: 3 })
        );
        assert_eq!(restart(""), Some(Restart::No));
        for text in ["sometimes", "false", "always:3", "No"] {
            assert_eq!(restart(text), None, "{text}");
        }
    }

    #[test]
    fn switches_are_yamls_words_of_any_age() {
        for text in ["true", "YES", "on", "y", "True"] {
            assert_eq!(switch(text), Some(true), "{text}");
        }
        for text in ["false", "No", "off", "n"] {
            assert_eq!(switch(text), Some(false), "{text}");
        }
        for text in ["", "1", " true", "maybe"] {
            assert_eq!(switch(text), None, "{text}");
        }
    }

    #[test]
    fn names_and_platforms_are_dockers() {
        assert!(container_name("pg-1").is_some() && container_name("a").is_none());
        assert!(container_name("-a").is_none() && container_name("a/b").is_none());
        assert!(platform("linux/arm64/v8").is_some() && platform("linux//x").is_none());
        assert!(project("togather_2").is_some() && project("A B").is_none());
    }
}
