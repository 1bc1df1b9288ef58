//! What the demonstration measured, as tables.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::Phase;
use crate::load::{self, Summary, Trace, Window};

/// The steps of a release that has nothing to prepare, in order.
const STEPS: [&str; 14] = [
    "verify_release",
    "preflight",
    "fetch_image",
    "base_services",
    "snapshot",
    "rehearse",
    "migrate",
    "start_slot",
    "await_healthy",
    "run_hooks",
    "switch_traffic",
    "prove_traffic",
    "retire_old_slot",
    "soak",
];

/// A column for each deployment: how long each step took, in milliseconds.
pub(super) fn steps(good: &Phase, bad: &Phase) -> Table {
    let columns: Vec<_> = [good, bad]
        .into_iter()
        .flat_map(|phase| {
            phase
                .course
                .nodes()
                .into_iter()
                .map(move |node| (phase, node))
        })
        .collect();
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let mut head = vec!["milliseconds".to_owned()];
    head.extend(
        columns
            .iter()
            .map(|(phase, node)| format!("{node}\n{}", phase.version)),
    );
    table.set_header(head);
    for step in STEPS {
        let mut row = vec![step.to_owned()];
        row.extend(columns.iter().map(|(phase, node)| {
            let took = phase.course.steps(node).get(step).copied();
            took.map_or_else(|| "-".to_owned(), |took| took.to_string())
        }));
        table.add_row(row);
    }
    let mut row = vec!["whole".to_owned()];
    row.extend(columns.iter().map(|(phase, node)| {
        let ending = phase.course.ending(node);
        ending.map_or_else(
            || "-".to_owned(),
            |(ending, took)| format!("{took}\n{ending}"),
        )
    }));
    table.add_row(row);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// For each node: the requests before the rollouts, during each of them, and during the moments in
/// which that node's traffic moved.
pub(super) fn requests(traces: &[Trace], before: Window, phases: &[&Phase]) -> Result<Table> {
    let mut rows: Vec<(String, Summary)> = Vec::new();
    for trace in traces {
        let node = &trace.target;
        rows.push((format!("{node}: before"), trace.during(&[before])?));
        for phase in phases {
            let version = &phase.version;
            rows.push((
                format!("{node}: rollout of {version}"),
                trace.during(&[phase.whole])?,
            ));
            let switches = phase.course.switches(node);
            if !switches.is_empty() {
                rows.push((
                    format!("{node}: its switches to {version}"),
                    trace.during(&switches)?,
                ));
            }
        }
    }
    Ok(load::table(
        rows.iter().map(|(name, summary)| (name.clone(), summary)),
    ))
}
