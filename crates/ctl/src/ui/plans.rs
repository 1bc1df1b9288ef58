//! What a rollout or rollback would do, before anything is changed.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;
use togather_model::Plan;

use super::table;
use crate::rollout::survey::{NodePlan, Survey};

/// The `schema` field of the plans.
pub const SCHEMA: &str = "togather.fleet/plan/v1";

/// The plans of all nodes, as JSON.
#[derive(Serialize)]
pub struct Plans<'a> {
    schema: &'static str,
    nodes: Vec<&'a Plan>,
    behind: Vec<Behind<'a>>,
}

#[derive(Serialize)]
struct Behind<'a> {
    node: &'a str,
    error: String,
}

impl<'a> Plans<'a> {
    /// The JSON form of what the nodes answered.
    #[must_use]
    pub fn of(survey: &'a Survey) -> Self {
        Self {
            schema: SCHEMA,
            nodes: survey.plans.iter().map(|answer| &answer.plan).collect(),
            behind: survey
                .behind
                .iter()
                .map(|(node, error)| Behind {
                    node,
                    error: error.to_string(),
                })
                .collect(),
        }
    }
}

/// The plans for people: a line a node, then what will be done, then what should be known first.
#[must_use]
pub fn text(survey: &Survey) -> String {
    let mut table = table::table(["NODE", "NOW", "THEN", "SLOT", "MIGRATIONS", "SOAK", ""]);
    for answer in &survey.plans {
        table.add_row(row(answer));
    }
    for (node, _) in &survey.behind {
        table.add_row([
            node.as_str(),
            "?",
            "",
            "",
            "",
            "",
            "cannot be reached: skipped",
        ]);
    }
    let mut text = table::text(table);
    for (steps, nodes) in by_steps(survey) {
        let _ = write!(text, "\nsteps on {}:\n{steps}", nodes.join(", "));
    }
    let warnings = warnings(survey);
    if !warnings.is_empty() {
        text.push_str("\nwarnings:\n");
        for (warning, nodes) in warnings {
            let _ = writeln!(text, "  {}: {warning}", nodes.join(", "));
        }
    }
    text
}

fn row(answer: &NodePlan) -> [String; 7] {
    let plan = &answer.plan;
    let now = plan
        .from
        .as_ref()
        .map_or_else(|| "nothing".to_owned(), |live| live.version.clone());
    let note = match (plan.is_already_done(), answer.canary) {
        (true, _) => "already there",
        (false, true) => "canary",
        (false, false) if answer.image_missing => "image will be sent",
        (false, false) => "",
    };
    [
        plan.node.clone(),
        now,
        plan.version.clone(),
        plan.to.to_string(),
        migrations(plan),
        table::span(plan.soak),
        note.to_owned(),
    ]
}

/// The migrations that will run, those of other lines with the line's name.
fn migrations(plan: &Plan) -> String {
    let counted = |numbers: &[u64]| match numbers {
        [] => None,
        [only] => Some(only.to_string()),
        [first, .., last] => Some(format!("{} ({first} to {last})", numbers.len())),
    };
    let others = plan.other_lines.iter().filter_map(|of| {
        let counted = counted(&of.migrations)?;
        Some(format!("{}: {counted}", of.line))
    });
    let all: Vec<String> = counted(&plan.migrations)
        .into_iter()
        .chain(others)
        .collect();
    match all.is_empty() {
        true => "none".to_owned(),
        false => all.join(", "),
    }
}

/// The steps, with the nodes that take the same ones; in the order of the nodes.
fn by_steps(survey: &Survey) -> Vec<(String, Vec<&str>)> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for answer in survey.to_change() {
        let steps = steps(&answer.plan);
        let node = answer.plan.node.as_str();
        match groups.iter_mut().find(|(same, _)| *same == steps) {
            Some((_, nodes)) => nodes.push(node),
            None => groups.push((steps, vec![node])),
        }
    }
    groups
}

fn steps(plan: &Plan) -> String {
    let mut text = String::new();
    for (index, planned) in plan.steps.iter().enumerate() {
        let _ = match (&planned.skip, &planned.note) {
            (None, None) => writeln!(text, "  {:>2} {}", index + 1, planned.step),
            (None, Some(note)) => writeln!(text, "  {:>2} {:<16} {note}", index + 1, planned.step),
            (Some(why), _) => writeln!(text, "   - {:<16} skipped: {why}", planned.step),
        };
    }
    text
}

fn warnings(survey: &Survey) -> BTreeMap<&str, Vec<&str>> {
    let mut warnings: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for NodePlan { plan, .. } in &survey.plans {
        for warning in &plan.warnings {
            warnings.entry(warning).or_default().push(&plan.node);
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
