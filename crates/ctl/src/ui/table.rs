//! Tables without a frame, and times as people say them.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use togather_model::Timestamp;

/// The narrowest terminal that a table is fitted into. Some have no width at all (a recording, a
/// build server), and a column of single letters helps nobody.
const NARROWEST: u16 = 60;

/// A table with these headings; as wide as the terminal where there is one.
pub(super) fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(headings);
    if table.width().is_some_and(|width| width >= NARROWEST) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// The table's text, without blanks at the ends of lines.
pub(super) fn text(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A span of time: `0.4 s`, `12.0 s`, `3 min 05 s`.
pub(super) fn span(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else if seconds < 3600 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60)
    }
}

/// How long ago a moment was: `12 s ago`, `3 min ago`, `5 d ago`.
pub(super) fn ago(moment: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(moment).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// The first twelve digits of a commit, as forges show it.
pub(super) fn commit(full: &str) -> &str {
    full.get(..12).unwrap_or(full)
}

/// A size: `2.4 MB`.
pub(super) fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_short_as_they_can_be_said() {
        assert_eq!(span(Duration::from_millis(420)), "0.4 s");
        assert_eq!(span(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(span(Duration::from_secs(7_260)), "2 h 01 min");
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(ago(at(0), at(59)), "59 s ago");
        assert_eq!(ago(at(0), at(7_200)), "2 h ago");
        assert_eq!(ago(at(60), at(0)), "0 s ago");
    }
}
