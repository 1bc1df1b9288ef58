//! Images from their registries: logged in, tried again where that may help, and told how far.

mod layers;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use bollard::{
    auth::DockerCredentials, errors::Error, query_parameters::CreateImageOptionsBuilder,
};
use futures::StreamExt;
use secrecy::ExposeSecret;
use togather_model::Image;
use tokio::time::timeout;

use super::{
    super::{
        ContainersError, PullError, PullFailure, Puller,
        registry::{self, Credential},
    },
    Docker, refused,
};
use crate::progress::{Progress, Say};
use layers::Layers;

/// How long a pull may go without any sign of progress.
const PULL_SILENCE: Duration = Duration::from_secs(300);

/// How often a pull is tried again that may succeed in a moment, and the first pause; each is twice as
/// long as the one before, and somewhat longer by chance.
const TRIED_AGAIN: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

impl Docker {
    pub(super) async fn pull_release(
        &self,
        image: &Image,
        say: Say<'_>,
    ) -> Result<u64, ContainersError> {
        let reference = image.reference();
        match image {
            Image::Archive { .. } if self.has(&reference).await? => {}
            Image::Archive { .. } => return Err(ContainersError::NotLoaded(reference)),
            Image::Registry { .. } => {
                self.is_made_for_here(&reference).await?;
                self.pull(&reference, say).await?;
            }
        }
        let client = self.client().await?;
        let came = client.inspect_image(&reference).await;
        let came = came.map_err(|e| refused(format!("find the image {reference}"), e))?;
        let bytes = came.size.and_then(|bytes| u64::try_from(bytes).ok());
        let bytes = bytes.unwrap_or_default();
        let digest = format!("@{}", image.digest());
        let digests = came.repo_digests.unwrap_or_default();
        let is_archive = matches!(image, Image::Archive { .. });
        if is_archive || digests.iter().any(|name| name.ends_with(&digest)) {
            return Ok(bytes);
        }
        Err(ContainersError::OtherDigest {
            wanted: reference,
            came: digests.join(", "),
        })
    }

    /// Gets the image of a base service, unless the node has it.
    pub(super) async fn pull_if_missing(
        &self,
        service: &str,
        image: &str,
    ) -> Result<(), ContainersError> {
        if self.has(image).await? {
            return Ok(());
        }
        self.pull(image, &|_| {})
            .await
            .map_err(|source| ContainersError::NoImage {
                service: service.to_owned(),
                image: image.to_owned(),
                source: Box::new(source),
            })
    }

    /// Gets the image of PostgreSQL's programs, unless the node has it.
    pub(super) async fn pull_client_if_missing(&self, image: &str) -> Result<(), ContainersError> {
        if self.has(image).await? {
            return Ok(());
        }
        self.pull(image, &|_| {})
            .await
            .map_err(|source| ContainersError::NoClientImage {
                image: image.to_owned(),
                source: Box::new(source),
            })
    }

    async fn pull(&self, reference: &str, say: Say<'_>) -> Result<(), ContainersError> {
        let tries = AtomicUsize::new(0);
        let pull = || {
            tries.fetch_add(1, Ordering::Relaxed);
            self.pull_once(reference, say)
        };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_times(TRIED_AGAIN)
            .with_jitter();
        let pulled = pull.retry(pauses).when(may_pass).notify(|error, pause| {
            say(Progress::stage(format!(
                "{error}; trying again in {:.0} s",
                pause.as_secs_f64()
            )));
        });
        pulled.await.map_err(|mut error| {
            if let ContainersError::Pull(pull) = &mut error {
                pull.tries = tries.load(Ordering::Relaxed);
            }
            error
        })
    }

    async fn pull_once(&self, reference: &str, say: Say<'_>) -> Result<(), ContainersError> {
        let credential = self.registries.credential(reference).await;
        let credential = credential.map_err(|source| ContainersError::Login {
            image: reference.to_owned(),
            source: Box::new(source),
        })?;
        let client = self.client().await?;
        let failed = |error| failed(reference, credential.as_ref(), error);
        let login = credential.as_ref().map(|known| login(reference, known));
        let options = CreateImageOptionsBuilder::new().from_image(&one_image(reference));
        let mut progress = client.create_image(Some(options.build()), None, login);
        let mut layers = Layers::new(say);
        loop {
            match timeout(PULL_SILENCE, progress.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(told))) => layers.hear(&told),
                Ok(Some(Err(error))) => return Err(failed(error)),
                Err(_) => {
                    return Err(ContainersError::PullStalled {
                        image: reference.to_owned(),
                        silent: PULL_SILENCE,
                    });
                }
            }
        }
    }
}

fn may_pass(error: &ContainersError) -> bool {
    matches!(error, ContainersError::Pull(pull) if pull.kind.may_pass())
}

/// The pull's failure, its kind found in Docker's words.
fn failed(reference: &str, credential: Option<&Credential>, error: Error) -> ContainersError {
    let said = if let Error::DockerResponseServerError { message, .. } = &error {
        message.clone()
    } else if let Error::DockerStreamError { error } = &error {
        error.clone()
    } else {
        error.to_string()
    };
    let puller = credential.map(|known| match known {
        Credential::Password { user, .. } => Puller::User(user.clone()),
        Credential::IdentityToken(_) => Puller::Token,
    });
    ContainersError::Pull(Box::new(PullError {
        image: reference.to_owned(),
        kind: PullFailure::of(&said, reference),
        puller,
        tries: 1,
        source: said.into(),
    }))
}

/// A credential as Docker takes it.
pub(super) fn login(reference: &str, known: &Credential) -> DockerCredentials {
    let address = Some(registry::host(reference).to_owned());
    match known {
        Credential::Password { user, password } => DockerCredentials {
            username: Some(user.clone()),
            password: Some(password.expose_secret().to_owned()),
            serveraddress: address,
            ..DockerCredentials::default()
        },
        Credential::IdentityToken(token) => DockerCredentials {
            identitytoken: Some(token.expose_secret().to_owned()),
            serveraddress: address,
            ..DockerCredentials::default()
        },
    }
}

/// The reference with a tag: without one Docker would pull every tag there is.
fn one_image(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains(':') || last.contains('@') {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_is_the_latest_and_not_all() {
        assert_eq!(one_image("localhost:5000/db"), "localhost:5000/db:latest");
        assert_eq!(one_image("db:17"), "db:17");
        assert_eq!(one_image("db@sha256:00"), "db@sha256:00");
    }
}
