//! `devfleet record`: a real rollout on a real terminal, kept as an animated picture for the README.

mod picture;
mod terminal;

use std::{ffi::OsString, fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{
    layout::Layout,
    nodes,
    releases::{self, Wanted},
    report::Report,
    versions,
};

/// Rolls a release that the fleet has not seen across all nodes and writes the picture of it.
pub(crate) async fn record(report: &Report, layout: &Layout, out: &Path) -> Result<()> {
    ensure!(
        !nodes::existing().await?.is_empty() && layout.fleet_file().exists(),
        "there is no fleet to record; bring one up with `devfleet up`"
    );
    let version = format!("3.0.{}", versions::first_unused(layout, &["3.0"])?);
    let wanted = Wanted {
        version: version.clone(),
        fault: None,
        fault_after: None,
        migrations_up_to: None,
        out: None,
    };
    let release = releases::make(report, layout, &wanted).await?;
    // In the fleet's folder, as an operator would type it.
    let folder = layout.state("");
    let release = release.strip_prefix(&folder).unwrap_or(&release);
    let arguments: Vec<OsString> = vec![
        "rollout".into(),
        "--nodes".into(),
        "all".into(),
        "--release".into(),
        release.into(),
        "--soak".into(),
        "2s".into(),
        "--yes".into(),
    ];
    let stage = report.stage(format_args!("recording the rollout of {version}"));
    let frames = terminal::run(&layout.program("togather-ctl")?, &arguments, &folder).await?;
    stage.done();

    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let prompt = format!("$ togather-ctl {}", words.join(" "));
    let picture = picture::animated(&prompt, &frames);
    let out = layout.source("").join(out);
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(&out, &picture).with_context(|| format!("cannot write {}", out.display()))?;
    report.say(format_args!(
        "{}: {} frames, {} kB",
        out.display(),
        frames.len(),
        picture.len() / 1000
    ));
    Ok(())
}
