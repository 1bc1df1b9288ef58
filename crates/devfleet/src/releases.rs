//! Releases of the sample server, whole or broken on purpose: image built, pushed to the fleet's
//! registry, and a release file written by `togather-ctl`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{
    bundles,
    images::copy,
    layout::{LABEL, Layout, REGISTRY, REGISTRY_INSIDE},
    process::docker,
    report::Report,
    setup,
};

const REPOSITORY: &str = "sample-server";

/// What to make.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Wanted {
    /// The version, for example 1.0.0
    pub(crate) version: String,
    /// How it is broken: a fault the sample server knows, or a folder of migrations-broken/
    #[arg(long, value_name = "KIND")]
    pub(crate) fault: Option<String>,
    /// Where the release file goes [default: .devfleet/releases/VERSION.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Makes the release and hands back its file's path.
pub(crate) async fn make(report: &Report, layout: &Layout, wanted: &Wanted) -> Result<PathBuf> {
    let Wanted {
        version,
        fault,
        out,
    } = wanted;
    let source = layout.source("crates/sample-server");
    let commit = commit_of(version, fault.as_deref());
    let context = tempfile::tempdir().context("cannot make a temporary folder")?;
    let migrations = migrations(&source, fault.as_deref(), context.path())?;

    let stage = report.stage(format_args!("release {version}: image"));
    let base = setup::base_image(report, "bookworm").await?;
    let image = push(layout, &base, version, &commit, fault.as_deref()).await?;
    stage.done();

    let file = out
        .clone()
        .unwrap_or_else(|| layout.state(&format!("releases/{version}.json")));
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    bundles::ctl(layout)?
        .args([
            "release",
            "create",
            "--version",
            version,
            "--commit",
            &commit,
        ])
        .args([
            "--image",
            &image,
            "--hook",
            "sample-server sync",
            "--migrations",
        ])
        .arg(&migrations)
        .arg("--out")
        .arg(&file)
        .run()
        .await?;
    report.say(format_args!("release {version}: {}", file.display()));
    Ok(file)
}

/// Forty hexadecimal digits that look like a commit and are the same for the same release.
fn commit_of(version: &str, fault: Option<&str>) -> String {
    let digest = Sha256::digest(format!("{version}\n{}", fault.unwrap_or_default()));
    hex::encode(&digest[..20])
}

/// The sample server's migrations in one folder, those of a broken release on top.
fn migrations(source: &Path, fault: Option<&str>, scratch: &Path) -> Result<PathBuf> {
    let whole = source.join("migrations");
    let broken = fault
        .map(|fault| source.join("migrations-broken").join(fault))
        .filter(|folder| folder.is_dir());
    let Some(broken) = broken else {
        return Ok(whole);
    };
    let together = scratch.join("migrations");
    fs::create_dir(&together).with_context(|| format!("cannot make {}", together.display()))?;
    for folder in [&whole, &broken] {
        let reading = || format!("cannot read {}", folder.display());
        for entry in fs::read_dir(folder).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            copy(&entry.path(), &together.join(entry.file_name()))?;
        }
    }
    Ok(together)
}

/// Builds and pushes the image; hands back its name by digest, as the nodes pull it.
async fn push(
    layout: &Layout,
    base: &str,
    version: &str,
    commit: &str,
    fault: Option<&str>,
) -> Result<String> {
    let context = tempfile::tempdir().context("cannot make a temporary folder")?;
    let dockerfile = layout.source("crates/sample-server/Dockerfile");
    copy(&dockerfile, &context.path().join("Dockerfile"))?;
    copy(
        &layout.program(REPOSITORY)?,
        &context.path().join(REPOSITORY),
    )?;
    let tag = format!("{REGISTRY}/{REPOSITORY}:{}", version.replace('+', "-"));
    // The same release twice is the same image: no time of day goes in.
    docker(["build", "--tag", &tag, "--label", LABEL])
        .args(["--build-arg", &format!("BASE={base}")])
        .args(["--build-arg", &format!("VERSION={version}")])
        .args(["--build-arg", &format!("COMMIT={commit}")])
        .args(["--build-arg", "BUILD_DATE=2026-01-01T00:00:00Z"])
        .args([
            "--build-arg",
            &format!("FAULT={}", fault.unwrap_or_default()),
        ])
        .arg(context.path())
        .within(Duration::from_secs(600))
        .run()
        .await?;
    docker(["push", "--quiet", &tag]).run().await?;
    let digests = docker(["image", "inspect", "--format"])
        .args(["{{range .RepoDigests}}{{println .}}{{end}}", &tag])
        .run()
        .await?;
    let here = format!("{REGISTRY}/{REPOSITORY}@");
    let Some(digest) = digests.lines().find_map(|name| name.strip_prefix(&here)) else {
        bail!("{tag} was pushed, but Docker does not tell its digest there: {digests}");
    };
    Ok(format!("{REGISTRY_INSIDE}/{REPOSITORY}@{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_looks_like_one_and_depends_on_the_fault() {
        let good = commit_of("1.0.0", None);
        assert_eq!(good.len(), 40);
        assert_eq!(good, commit_of("1.0.0", None));
        assert_ne!(good, commit_of("1.0.0", Some("slow-start")));
        assert_ne!(good, commit_of("1.0.1", None));
    }

    #[test]
    fn a_broken_migration_comes_on_top_of_the_good_ones() {
        let [source, scratch] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let at = |path: &str| source.path().join(path);
        fs::create_dir_all(at("migrations")).unwrap();
        fs::create_dir_all(at("migrations-broken/bad")).unwrap();
        fs::write(at("migrations/000001_a.up.sql"), "select 1").unwrap();
        fs::write(at("migrations-broken/bad/000002_b.up.sql"), "selec").unwrap();
        let made = migrations(source.path(), Some("bad"), scratch.path()).unwrap();
        assert_eq!(fs::read_dir(made).unwrap().count(), 2);
        let made = migrations(source.path(), Some("slow-start"), scratch.path()).unwrap();
        assert_eq!(made, at("migrations"));
    }
}
