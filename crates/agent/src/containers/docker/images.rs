//! Images: found, loaded from an archive, and removed when no release needs them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use bollard::{
    models::ImageSummary,
    query_parameters::{
        ImportImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
        RemoveImageOptions, TagImageOptionsBuilder,
    },
};
use futures::StreamExt;
use togather_model::Image;
use tokio_util::io::ReaderStream;

use super::{super::ContainersError, Docker, connection::has_status, refused};

/// How long a whole archive may take: Docker unpacks all of it before it says the first word.
const LOAD: Duration = Duration::from_secs(3600);

/// The repository of images that came as archives, see [`Image::reference`].
const LOADED: &str = "togather.local/release";

impl Docker {
    pub(super) async fn has(&self, reference: &str) -> Result<bool, ContainersError> {
        let client = self.client().await?;
        match client.inspect_image(reference).await {
            Ok(_) => Ok(true),
            Err(error) if has_status(&error, 404) => Ok(false),
            Err(error) => Err(refused(format!("look for the image {reference}"), error)),
        }
    }

    /// Loads an archive of exactly one image, and leaves it with no other name than the agent's, so
    /// that removing that name later frees the disk.
    pub(super) async fn load_archive(
        &self,
        image: &Image,
        archive: &Path,
    ) -> Result<(), ContainersError> {
        let reference = image.reference();
        let before = self.names_of_images().await?;
        let said = self.send_archive(archive).await?;
        let names: Vec<_> = said
            .lines()
            .filter_map(|line| line.strip_prefix("Loaded image"))
            .filter_map(|rest| rest.split_once(": "))
            .map(|(_, name)| name.trim().to_owned())
            .collect();
        let client = self.client().await?;
        let mut ids = BTreeSet::new();
        for name in &names {
            let found = client.inspect_image(name).await;
            let found = found.map_err(|e| refused(format!("find the loaded image {name}"), e))?;
            ids.extend(found.id);
        }
        let mut ids = ids.into_iter();
        let (Some(id), None) = (ids.next(), ids.next()) else {
            return Err(ContainersError::NotOneImage {
                archive: archive.to_owned(),
                names: names.join(", "),
            });
        };
        let (repository, tag) = reference.rsplit_once(':').unwrap_or((&reference, "latest"));
        let options = TagImageOptionsBuilder::new().repo(repository).tag(tag);
        let tagged = client.tag_image(&id, Some(options.build())).await;
        tagged.map_err(|e| refused(format!("name the loaded image {reference}"), e))?;
        for name in names {
            if name != reference && !name.starts_with("sha256:") && !before.contains(&name) {
                self.remove_image_name(&name).await?;
            }
        }
        Ok(())
    }

    /// Streams the archive to Docker; gives back what Docker printed.
    async fn send_archive(&self, archive: &Path) -> Result<String, ContainersError> {
        let file = tokio::fs::File::open(archive).await;
        let file = file.map_err(|source| ContainersError::Archive {
            archive: archive.to_owned(),
            source,
        })?;
        let client = self.client().await?.with_timeout(LOAD);
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let mut progress = client.import_image_stream(options, ReaderStream::new(file), None);
        let mut said = String::new();
        while let Some(message) = progress.next().await {
            let what = || format!("load the image archive {}", archive.display());
            let message = message.map_err(|e| refused(what(), e))?;
            said.push_str(message.stream.as_deref().unwrap_or_default());
        }
        Ok(said)
    }

    async fn names_of_images(&self) -> Result<BTreeSet<String>, ContainersError> {
        let images = self.list_images().await?;
        Ok(images
            .into_iter()
            .flat_map(|image| image.repo_tags)
            .collect())
    }

    async fn list_images(&self) -> Result<Vec<ImageSummary>, ContainersError> {
        let client = self.client().await?;
        let options = ListImagesOptionsBuilder::new().digests(true).build();
        let images = client.list_images(Some(options)).await;
        images.map_err(|e| refused("list images", e))
    }

    pub(super) async fn prune(&self, keep: &[Image]) -> Result<Vec<String>, ContainersError> {
        let used = self.images_in_use().await?;
        let keep: BTreeMap<String, ()> = keep.iter().map(|i| (short(&i.reference()), ())).collect();
        let mut releases: BTreeSet<&str> = keep.keys().map(|name| repository(name)).collect();
        releases.insert(LOADED);
        let mut removed = Vec::new();
        for image in self.list_images().await? {
            let names: Vec<_> = image.repo_tags.iter().chain(&image.repo_digests).collect();
            let kept = names.iter().any(|name| keep.contains_key(&short(name)));
            if kept || used.contains(&image.id) {
                continue;
            }
            for name in names {
                let of_a_release = releases.contains(repository(&short(name)));
                if of_a_release && self.remove_image_name(name).await? {
                    removed.push(name.clone());
                }
            }
        }
        Ok(removed)
    }

    async fn images_in_use(&self) -> Result<BTreeSet<String>, ContainersError> {
        let client = self.client().await?;
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let containers = client.list_containers(Some(options)).await;
        let containers = containers.map_err(|e| refused("list containers", e))?;
        Ok(containers.into_iter().filter_map(|c| c.image_id).collect())
    }

    /// Takes one name off an image, and the image away if it was the last. One that is gone or in
    /// use after all is left, and `false` said.
    async fn remove_image_name(&self, name: &str) -> Result<bool, ContainersError> {
        let client = self.client().await?;
        match client
            .remove_image(name, None::<RemoveImageOptions>, None)
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if has_status(&error, 404) || has_status(&error, 409) => Ok(false),
            Err(error) => Err(refused(format!("remove the image {name}"), error)),
        }
    }
}

/// The reference as Docker lists it: without Docker Hub's own name.
fn short(reference: &str) -> String {
    let reference = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let reference = reference.strip_prefix("library/").unwrap_or(reference);
    reference.to_owned()
}

/// The reference without tag and digest.
fn repository(reference: &str) -> &str {
    let reference = reference.split('@').next().unwrap_or(reference);
    let last = reference.rfind('/').map_or(0, |at| at + 1);
    match reference[last..].find(':') {
        Some(colon) => &reference[..last + colon],
        None => reference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_found_in_any_reference() {
        for (reference, expected) in [
            ("postgres", "postgres"),
            ("postgres:17", "postgres"),
            ("localhost:5000/server", "localhost:5000/server"),
            (
                "localhost:5000/a/server:v1@sha256:00",
                "localhost:5000/a/server",
            ),
            ("togather.local/release:00ff", LOADED),
        ] {
            assert_eq!(repository(reference), expected, "{reference}");
        }
    }

    #[test]
    fn docker_hubs_own_name_is_left_out() {
        assert_eq!(short("docker.io/library/postgres:17"), "postgres:17");
        assert_eq!(
            short("registry.example.org/togather/server"),
            "registry.example.org/togather/server"
        );
    }
}
