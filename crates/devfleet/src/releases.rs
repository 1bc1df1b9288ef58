//! Releases of the sample server, whole or broken on purpose: image built, pushed to the fleet's
//! registry, and a release file written by `togather-ctl`.
//!
//! A release is broken by its program (a fault the sample server knows) or by its migrations (a
//! folder of `migrations-broken/`). A kind that is neither is refused: a release that is broken in
//! another way than asked for proves nothing.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{
    bundles,
    images::copy,
    layout::{LABEL, Layout, REGISTRY},
    process::{Call, docker},
    report::Report,
    setup,
};

const REPOSITORY: &str = "sample-server";
/// What fills the sources, before the new version starts; the server reads them once, at its start.
const PREPARE: &str = "/app/server scrape sync --json";
/// What the running slot must say of itself before the switch.
const HOOK: &str = "/app/server healthcheck --ready";
/// The same for every release, so that the same release made twice is the same file.
const BUILT_AT: &str = "2026-01-01T00:00:00Z";

/// What to make.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Wanted {
    /// The version, for example 1.0.0
    pub(crate) version: String,
    /// How it is broken: a fault the sample server knows, or a folder of migrations-broken/
    #[arg(long, value_name = "KIND")]
    pub(crate) fault: Option<String>,
    /// When a fault that begins after the switch begins, in seconds
    #[arg(long, value_name = "SECONDS", requires = "fault")]
    pub(crate) fault_after: Option<u32>,
    /// Leave out the migrations after number N, for a later release to bring
    #[arg(long, value_name = "N")]
    pub(crate) migrations_up_to: Option<u64>,
    /// Where the release file goes [default: .devfleet/releases/VERSION.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Makes the release and hands back its file's path.
pub(crate) async fn make(report: &Report, layout: &Layout, wanted: &Wanted) -> Result<PathBuf> {
    let Wanted {
        version,
        fault: kind,
        fault_after,
        migrations_up_to,
        out,
    } = wanted;
    let source = layout.source("crates/sample-server");
    let broken = broken(&source, &layout.program(REPOSITORY)?, kind.as_deref()).await?;
    let commit = commit_of(version, kind.as_deref());
    let context = tempfile::tempdir().context("cannot make a temporary folder")?;
    let migrations = migrations(&source, &broken, *migrations_up_to, context.path())?;

    let stage = report.stage(format_args!("release {version}: image"));
    let base = setup::base_image(report, "bookworm").await?;
    let built = Built {
        version,
        commit: &commit,
        fault: broken.fault(),
        fault_after: *fault_after,
    };
    let image = push(layout, &base, &built).await?;
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
            "--built-at",
            BUILT_AT,
        ])
        .args(["--image", &image, "--hook", HOOK])
        .args(["--prepare", PREPARE, "--prepare-expect", "errors=0"])
        .arg("--migrations")
        .arg(&migrations)
        .arg("--migrations")
        .arg(job_queue(&source))
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

/// In which way a release is broken.
#[derive(Debug, PartialEq, Eq)]
enum Broken {
    No,
    /// The program is, by this fault.
    Program(String),
    /// The migrations are, by those in this folder.
    Migrations(PathBuf),
}

impl Broken {
    /// What the program is told.
    fn fault(&self) -> &str {
        match self {
            Self::Program(fault) => fault,
            Self::No | Self::Migrations(_) => "",
        }
    }
}

/// What this kind of broken means; the program itself says which faults it knows.
async fn broken(source: &Path, program: &Path, kind: Option<&str>) -> Result<Broken> {
    let Some(kind) = kind else {
        return Ok(Broken::No);
    };
    let folders = source.join("migrations-broken");
    let mut known: Vec<String> = Vec::new();
    for name in names(&folders)? {
        if name == kind {
            return Ok(Broken::Migrations(folders.join(kind)));
        }
        known.push(name);
    }
    let faults = Call::new(program).arg("faults").run().await?;
    if faults.lines().any(|fault| fault == kind) {
        return Ok(Broken::Program(kind.to_owned()));
    }
    known.extend(faults.lines().map(str::to_owned));
    known.sort_unstable();
    bail!(
        "a release cannot be broken by `{kind}`: expected one of {}",
        known.join(", ")
    )
}

/// The sample server's migrations in one folder, as far as wanted, those of a broken release on top.
fn migrations(
    source: &Path,
    broken: &Broken,
    up_to: Option<u64>,
    scratch: &Path,
) -> Result<PathBuf> {
    let whole = source.join("migrations");
    let last = up_to.unwrap_or(u64::MAX);
    let together = scratch.join("migrations");
    fs::create_dir(&together).with_context(|| format!("cannot make {}", together.display()))?;
    for name in names(&whole)? {
        if number(&name)? <= last {
            copy(&whole.join(&name), &together.join(&name))?;
        }
    }
    if let Broken::Migrations(folder) = broken {
        for name in names(folder)? {
            copy(&folder.join(&name), &together.join(&name))?;
        }
    }
    Ok(together)
}

/// The job queue's own line of migrations, as `release create` takes it.
fn job_queue(source: &Path) -> OsString {
    let mut line = OsString::from("river=");
    line.push(source.join("migrations-river"));
    line
}

/// The number that a migration's file name begins with.
fn number(name: &str) -> Result<u64> {
    let digits = name.split('_').next().unwrap_or_default();
    digits
        .parse()
        .with_context(|| format!("{name} is no migration: its name begins with no number"))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let reading = || format!("cannot read {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}

/// What an image is made of, besides the program.
struct Built<'a> {
    version: &'a str,
    commit: &'a str,
    fault: &'a str,
    fault_after: Option<u32>,
}

/// Builds and pushes the image; hands back its name by digest.
async fn push(layout: &Layout, base: &str, built: &Built<'_>) -> Result<String> {
    let Built {
        version,
        commit,
        fault,
        fault_after,
    } = built;
    let after = fault_after.map(|seconds| seconds.to_string());
    let after = after.unwrap_or_default();
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
        .args(["--build-arg", &format!("BUILD_DATE={BUILT_AT}")])
        .args(["--build-arg", &format!("FAULT={fault}")])
        .args(["--build-arg", &format!("FAULT_AFTER={after}")])
        .arg(context.path())
        .within(Duration::from_secs(600))
        .run()
        .await?;
    docker(["push", "--quiet", &tag]).run().await?;
    let digests = docker(["image", "inspect", "--format"])
        .args(["{{range .RepoDigests}}{{println .}}{{end}}", &tag])
        .run()
        .await?;
    let there = format!("{REGISTRY}/{REPOSITORY}@");
    let Some(name) = digests.lines().find(|name| name.starts_with(&there)) else {
        bail!("{tag} was pushed, but Docker does not tell its digest there: {digests}");
    };
    Ok(name.to_owned())
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

    /// A folder as `crates/sample-server` is.
    fn sample_server() -> tempfile::TempDir {
        let source = tempfile::tempdir().unwrap();
        let at = |path: &str| source.path().join(path);
        fs::create_dir_all(at("migrations")).unwrap();
        fs::create_dir_all(at("migrations-broken/bad")).unwrap();
        for name in ["000001_a.up.sql", "000001_a.down.sql", "000002_b.up.sql"] {
            fs::write(at("migrations").join(name), "select 1").unwrap();
        }
        fs::write(at("migrations-broken/bad/000900_c.up.sql"), "selec").unwrap();
        source
    }

    #[tokio::test]
    async fn a_release_is_broken_by_program_or_by_migrations() {
        let source = sample_server();
        // Asked for its `faults`, this program names one: the word it was asked with.
        let program = Path::new("echo");
        let broken = async |kind| broken(source.path(), program, kind).await;
        assert_eq!(broken(None).await.unwrap(), Broken::No);
        let by_program = broken(Some("faults")).await.unwrap();
        assert_eq!(by_program.fault(), "faults");
        let by_migrations = broken(Some("bad")).await.unwrap();
        assert!(matches!(by_migrations, Broken::Migrations(_)));
        assert_eq!(by_migrations.fault(), "");
        let error = broken(Some("slow-stop")).await.unwrap_err().to_string();
        assert!(error.ends_with("expected one of bad, faults"), "{error}");
    }

    #[test]
    fn later_migrations_are_left_out_and_broken_ones_come_on_top() {
        let source = sample_server();
        let bad = Broken::Migrations(source.path().join("migrations-broken/bad"));
        for (broken, up_to, expected) in [
            (&Broken::No, None, 3),
            (&Broken::No, Some(1), 2),
            (&bad, None, 4),
            (&bad, Some(1), 3),
        ] {
            let scratch = tempfile::tempdir().unwrap();
            let made = migrations(source.path(), broken, up_to, scratch.path()).unwrap();
            assert_eq!(names(&made).unwrap().len(), expected);
        }
    }
}
