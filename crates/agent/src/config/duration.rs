//! Spans of time as people write them, days included: `7d`, `36h`, `90s`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serializer};

const DAY: u64 = 24 * 60 * 60;

pub(super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    let seconds = span.as_secs();
    if seconds.is_multiple_of(DAY) {
        to.collect_str(&format_args!("{}d", seconds / DAY))
    } else {
        to.collect_str(&format_args!("{seconds}s"))
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let span: Span = text.parse().map_err(|_| expected(&text))?;
    // A day here is 24 hours: nobody means the one on which the clocks change.
    let length = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| expected(&text))?;
    Duration::try_from(length).map_err(|_| expected(&text))
}

fn expected<E: serde::de::Error>(found: &str) -> E {
    E::custom(format_args!(
        "expected a span of time such as `7d`, `36h` or `90s`, found `{found}`"
    ))
}
