//! Versions that were not made on this fleet before, so that demonstration, bench and recording can
//! be run again and again.

use anyhow::{Context, Result};

use crate::layout::Layout;

/// The smallest number that, put behind each of these (`1.0` gives `1.0.7`), names a release that
/// does not exist.
pub(crate) fn first_unused(layout: &Layout, lines: &[&str]) -> Result<u32> {
    (0..u32::MAX)
        .find(|number| {
            !lines.iter().any(|line| {
                layout
                    .state(&format!("releases/{line}.{number}.json"))
                    .exists()
            })
        })
        .context("every version is used up")
}
