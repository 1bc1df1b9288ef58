//! Spans of time as people write them, days and weeks included: `7d`, `36h`, `1m30s`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serializer};

const DAY: u64 = 24 * 60 * 60;

/// Reads a span of time; `None`: it is none, or a negative one. A day has 24 hours: nobody means the
/// one on which the clocks change.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(length).ok()
}

/// For serde: whole days as days, all else as `1h 30m` is written in short.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    let seconds = span.as_secs();
    if seconds > 0 && seconds.is_multiple_of(DAY) && span.subsec_nanos() == 0 {
        return to.collect_str(&format_args!("{}d", seconds / DAY));
    }
    jiff::fmt::serde::unsigned_duration::friendly::compact::required::serialize(span, to)
}

/// For serde: what [`parse`] takes.
///
/// # Errors
/// The text is no span of time.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).ok_or_else(|| {
        serde::de::Error::custom(format_args!(
            "expected a span of time such as `30s`, `36h` or `7d`, found `{text}`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("30s", 30),
            ("1m30s", 90),
            ("36h", 129_600),
            ("1d", 86_400),
            ("1w", 604_800),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        for text in ["", "30", "-5s", "soon", "1y", "s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
