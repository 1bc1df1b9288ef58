//! Which machines an image is made for, found out before it is pulled.

use std::time::Duration;

use tokio::time::timeout;

use super::{super::ContainersError, Docker, connection::has_status, pull::login, refused};

/// How long a registry may take to say what an image is made for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Docker {
    /// Refuses an image that is known to be made for other machines. What its registry does not tell
    /// is no reason: the pull will say what is wrong.
    pub(super) async fn is_made_for_here(&self, image: &str) -> Result<(), ContainersError> {
        let client = self.client().await?;
        let version = client.version().await;
        let version = version.map_err(|e| refused("say its version", e))?;
        let here = platform(version.os.as_deref(), version.arch.as_deref());
        let made_for = match client.inspect_image(image).await {
            Ok(found) => vec![platform(found.os.as_deref(), found.architecture.as_deref())],
            Err(error) if has_status(&error, 404) => {
                timeout(PATIENCE, self.offered(&client, image))
                    .await
                    .unwrap_or_default()
            }
            Err(error) => return Err(refused(format!("look for the image {image}"), error)),
        };
        if fits(&made_for, &here) {
            return Ok(());
        }
        Err(ContainersError::OtherPlatform {
            image: image.to_owned(),
            made_for: made_for.join(", "),
            here,
        })
    }

    /// What the registry says; nothing, if it does not say.
    async fn offered(&self, client: &bollard::Docker, image: &str) -> Vec<String> {
        let Ok(credential) = self.registries.credential(image).await else {
            return Vec::new();
        };
        let login = credential.as_ref().map(|known| login(image, known));
        match client.inspect_registry_image(image, login).await {
            Ok(told) => {
                let platforms = told.platforms.iter();
                let platform =
                    platforms.map(|p| platform(p.os.as_deref(), p.architecture.as_deref()));
                platform.collect()
            }
            Err(error) => {
                tracing::debug!(image, %error, "the registry does not say what it is made for");
                Vec::new()
            }
        }
    }
}

fn platform(os: Option<&str>, architecture: Option<&str>) -> String {
    let or_unknown = |text: Option<&str>| match text {
        None | Some("") => "unknown".to_owned(),
        Some(text) => text.to_owned(),
    };
    format!("{}/{}", or_unknown(os), or_unknown(architecture))
}

/// Only an image that is made for something else, and for nothing that is not known, does not fit.
/// Lists of images also name what belongs to them and runs nowhere, as `unknown/unknown`.
fn fits(made_for: &[String], here: &str) -> bool {
    let mut known = made_for
        .iter()
        .filter(|p| !p.contains("unknown"))
        .peekable();
    known.peek().is_none() || known.any(|platform| platform == here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_fits_unless_all_that_is_known_of_it_speaks_against_it() {
        let fits = |made_for: &[&str]| {
            let made_for: Vec<_> = made_for.iter().map(|p| (*p).to_owned()).collect();
            fits(&made_for, "linux/amd64")
        };
        assert!(fits(&["linux/amd64"]));
        assert!(fits(&["linux/arm64", "linux/amd64", "unknown/unknown"]));
        assert!(fits(&[]));
        assert!(fits(&[&platform(None, Some(""))]));
        assert!(!fits(&["linux/arm64", "unknown/unknown"]));
        assert!(!fits(&["windows/amd64"]));
    }
}
