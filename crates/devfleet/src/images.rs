//! The images of a fleet, each built only when it is missing or its inputs have changed: a label
//! carries the SHA-256 of everything an image was made from.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{
    layout::{DATABASE_IMAGE, LABEL, Layout},
    process::docker,
    report::Report,
    setup,
};

pub(crate) const NODE: &str = "togather-devfleet-node";
pub(crate) const REGISTRY: &str = "togather-devfleet-registry";
pub(crate) const S3: &str = "togather-devfleet-s3";

const INPUTS: &str = "togather.devfleet.inputs";
const BUILDING: Duration = Duration::from_secs(1800);

/// Sees to all four images. They are built one after another: each is limited by one core or by the
/// line to Debian's mirror.
pub(crate) async fn ensure(report: &Report, layout: &Layout) -> Result<()> {
    let bookworm = setup::base_image(report, "bookworm").await?;
    let trixie = setup::base_image(report, "trixie").await?;
    let deploy = layout.source("deploy");

    Image {
        name: NODE,
        base: &bookworm,
        context: deploy.clone(),
        inputs: ["systemd", "caddy", "sysctl", "packaging", "docker/node"]
            .map(PathBuf::from)
            .to_vec(),
        dockerfile: "docker/node/Dockerfile",
    }
    .ensure(report)
    .await?;
    Image {
        name: DATABASE_IMAGE,
        base: &trixie,
        context: deploy.join("docker/database"),
        inputs: vec![PathBuf::new()],
        dockerfile: "Dockerfile",
    }
    .ensure(report)
    .await?;
    Image {
        name: REGISTRY,
        base: &bookworm,
        context: deploy.join("docker/registry"),
        inputs: vec![PathBuf::new()],
        dockerfile: "Dockerfile",
    }
    .ensure(report)
    .await?;

    let context = tempfile::tempdir().context("cannot make a temporary folder")?;
    copy(
        &deploy.join("docker/s3/Dockerfile"),
        &context.path().join("Dockerfile"),
    )?;
    copy(
        &layout.program("devfleet")?,
        &context.path().join("devfleet"),
    )?;
    Image {
        name: S3,
        base: &bookworm,
        context: context.path().to_owned(),
        inputs: vec![PathBuf::new()],
        dockerfile: "Dockerfile",
    }
    .ensure(report)
    .await
}

/// The id of an image on this machine, if it is there.
pub(crate) async fn id(name: &str) -> Result<Option<String>> {
    let ended = docker(["image", "inspect", "--format", "{{.Id}}", name])
        .ended()
        .await?;
    Ok(ended.status.success().then_some(ended.stdout))
}

struct Image<'a> {
    name: &'a str,
    base: &'a str,
    context: PathBuf,
    /// What of the context ends up in the image.
    inputs: Vec<PathBuf>,
    dockerfile: &'a str,
}

impl Image<'_> {
    async fn ensure(self, report: &Report) -> Result<()> {
        let mut hash = Sha256::new();
        hash.update(self.base);
        for input in &self.inputs {
            add(&mut hash, &self.context, &self.context.join(input))?;
        }
        let wanted = hex::encode(hash.finalize());
        let format = format!("{{{{index .Config.Labels \"{INPUTS}\"}}}}");
        let have = docker(["image", "inspect", "--format", &format, self.name])
            .ended()
            .await?;
        if have.status.success() && have.stdout == wanted {
            return Ok(());
        }
        let stage = report.stage(format_args!("image {}: building", self.name));
        docker(["build", "--tag", self.name])
            .args(["--label", LABEL, "--label", &format!("{INPUTS}={wanted}")])
            .args(["--build-arg", &format!("BASE={}", self.base)])
            .arg("--file")
            .arg(self.context.join(self.dockerfile))
            .arg(&self.context)
            .within(BUILDING)
            .run()
            .await
            .with_context(|| format!("the image {} could not be built", self.name))?;
        stage.done();
        Ok(())
    }
}

/// Adds a file, or a folder's files in a fixed order, with their names, to the hash.
pub(crate) fn add(hash: &mut Sha256, root: &Path, path: &Path) -> Result<()> {
    let reading = || format!("cannot read {}", path.display());
    if path.is_dir() {
        let mut entries = fs::read_dir(path)
            .with_context(reading)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()
            .with_context(reading)?;
        entries.sort();
        return entries.iter().try_for_each(|entry| add(hash, root, entry));
    }
    let bytes = fs::read(path).with_context(reading)?;
    let name = path.strip_prefix(root).unwrap_or(path);
    hash.update(name.as_os_str().as_encoded_bytes());
    hash.update([0]);
    hash.update(Sha256::digest(&bytes));
    Ok(())
}

/// Copies a file, naming both ends if it cannot.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(root: &Path) -> Vec<u8> {
        let mut hash = Sha256::new();
        add(&mut hash, root, root).unwrap();
        hash.finalize().to_vec()
    }

    #[test]
    fn contents_and_names_count_and_the_place_does_not() {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for folder in [&one, &two] {
            fs::create_dir(folder.path().join("sub")).unwrap();
            fs::write(folder.path().join("sub/a"), "same").unwrap();
        }
        assert_eq!(hash_of(one.path()), hash_of(two.path()));
        fs::write(two.path().join("sub/a"), "other").unwrap();
        assert_ne!(hash_of(one.path()), hash_of(two.path()));
        fs::write(two.path().join("sub/a"), "same").unwrap();
        fs::rename(two.path().join("sub/a"), two.path().join("sub/b")).unwrap();
        assert_ne!(hash_of(one.path()), hash_of(two.path()));
    }
}
