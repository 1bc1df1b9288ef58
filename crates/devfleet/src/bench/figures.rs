//! The figures: what was measured, the floor beside it, and whether the target was met.

use std::fs;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::machine::Machine;
use crate::{layout::Layout, load::plain, report::print, up};

/// One measurement.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    name: String,
    unit: &'static str,
    measured: f64,
    floor: Option<Floor>,
    /// What `measured` should be at most.
    target: Option<f64>,
    /// What `measured` divided by the floor should be at most.
    target_ratio: Option<f64>,
}

/// The least that is possible here, measured in the same run, in the figure's unit.
#[derive(Debug, Serialize)]
struct Floor {
    name: String,
    measured: f64,
}

impl Figure {
    pub(super) fn new(name: impl Into<String>, unit: &'static str, measured: f64) -> Self {
        Self {
            name: name.into(),
            unit,
            measured,
            floor: None,
            target: None,
            target_ratio: None,
        }
    }

    pub(super) fn over(mut self, name: impl Into<String>, measured: f64) -> Self {
        self.floor = Some(Floor {
            name: name.into(),
            measured,
        });
        self
    }

    pub(super) const fn at_most(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    pub(super) const fn ratio_at_most(mut self, target: f64) -> Self {
        self.target_ratio = Some(target);
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.floor
            .as_ref()
            .map(|floor| self.measured / floor.measured)
    }

    /// `None` where nothing was aimed at. What could not be measured met nothing.
    fn met(&self) -> Option<bool> {
        match (self.target, self.target_ratio) {
            (Some(target), _) => Some(self.measured <= target),
            (None, Some(target)) => Some(self.ratio().is_some_and(|ratio| ratio <= target)),
            (None, None) => None,
        }
    }

    fn row(&self) -> [String; 6] {
        let number = |value: f64| format!("{value:.2}");
        let floor = self.floor.as_ref();
        [
            self.name.clone(),
            format!("{} {}", number(self.measured), self.unit),
            floor.map_or_else(String::new, |floor| {
                format!("{}: {} {}", floor.name, number(floor.measured), self.unit)
            }),
            self.ratio().map_or_else(String::new, number),
            match (self.target, self.target_ratio) {
                (Some(target), _) => format!("<= {target} {}", self.unit),
                (None, Some(target)) => format!("ratio <= {target}"),
                (None, None) => String::new(),
            },
            match self.met() {
                Some(true) => "met".to_owned(),
                Some(false) => "MISSED".to_owned(),
                None => String::new(),
            },
        ]
    }
}

/// Prints the table, and writes the same as JSON to this file in `.devfleet/`.
pub(super) fn tell(
    layout: &Layout,
    file: &str,
    machine: &Machine,
    figures: &[Figure],
) -> Result<()> {
    let mut table = plain(["figure", "measured", "floor", "ratio", "target", ""]);
    for figure in figures {
        table.add_row(figure.row());
    }
    print(machine);
    print(table);
    let figures: Vec<_> = figures
        .iter()
        .map(|figure| json!({"figure": figure, "ratio": figure.ratio(), "met": figure.met()}))
        .collect();
    let document = json!({
        "schema": "togather.devfleet/bench/v1",
        "at": Timestamp::now(),
        "machine": machine,
        "figures": figures,
    });
    let path = layout.state(file);
    fs::write(&path, format!("{document:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    print(format_args!("The same as JSON: {}", up::short(&path)));
    Ok(())
}

/// The middle value; of an even number, the higher of the two in the middle. NaN of none.
pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 1, 2)
}

/// The value that 99 of 100 do not exceed; of fewer than 100, the largest. NaN of none.
pub(super) fn p99(values: &[f64]) -> f64 {
    quantile(values, 99, 100)
}

fn quantile(values: &[f64], part: usize, of: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = sorted.len() * part / of;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_target() {
        let figure = Figure::new("x", "ms", 30.0).over("y", 10.0);
        assert_eq!(figure.ratio(), Some(3.0));
        assert_eq!(figure.met(), None);
        assert_eq!(figure.ratio_at_most(1.5).met(), Some(false));
        assert_eq!(Figure::new("x", "ms", 25.0).at_most(25.0).met(), Some(true));
        let unknown = Figure::new("x", "ms", f64::NAN).at_most(25.0);
        assert_eq!(unknown.met(), Some(false));
    }

    #[test]
    fn quantiles_of_few_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(p99(&[1.0, 9.0, 2.0]), 9.0);
        assert!(median(&[]).is_nan());
    }
}
