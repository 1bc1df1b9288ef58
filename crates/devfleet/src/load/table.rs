//! A load's outcome as a table.

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::sample::Summary;

/// One row a name, with what was counted under it.
pub(crate) fn table<'a>(rows: impl IntoIterator<Item = (String, &'a Summary)>) -> Table {
    let mut table = plain([
        "load", "sent", "failed", "resent", "p50 ms", "p99 ms", "max ms", "slots",
    ]);
    for (name, summary) in rows {
        let slots: Vec<_> = summary
            .slots
            .iter()
            .map(|(slot, count)| format!("{slot} {count}"))
            .collect();
        table.add_row([
            name,
            summary.sent.to_string(),
            summary.failed.to_string(),
            summary.resent.to_string(),
            milliseconds(summary.p50_ms),
            milliseconds(summary.p99_ms),
            milliseconds(summary.max_ms),
            slots.join(", "),
        ]);
    }
    table
}

/// A table with this head, words in the first column and numbers in the others.
pub(crate) fn plain<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(head);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One digit is what a run's chance leaves meaningful.
pub(crate) fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}
