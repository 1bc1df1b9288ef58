//! Release files: what goes in, checked before anything is written.

pub mod lines;
pub mod migrations;

use std::path::Path;

use togather_model::{Digest, Image, ImageReference, Release};

use crate::error::{Error, Result};

/// Reads a release file; its bytes are what nodes get, so they come along.
///
/// # Errors
/// It is not there, or is not a release file.
pub fn read(path: &Path) -> Result<(Release, Vec<u8>)> {
    let bytes = std::fs::read(path).map_err(|error| {
        Error::usage(format!("cannot read the release file {}", path.display()))
            .because(&error)
            .next("make one with `togather-ctl release create`")
    })?;
    let release = Release::from_bytes(&bytes).map_err(|error| {
        Error::configuration(format!("{} cannot be used", path.display()))
            .because(&error)
            .next("make it anew with `togather-ctl release create`")
    })?;
    Ok((release, bytes))
}

/// Reads an image reference, which must name its content by digest.
///
/// # Errors
/// It names a tag, which may be another image tomorrow, or is no reference at all.
pub fn image(reference: &str) -> std::result::Result<Image, String> {
    let named: ImageReference = reference.parse().map_err(|error| format!("{error}"))?;
    let Some(digest) = named.digest else {
        return Err(format!(
            "`{reference}` has no digest, and what a tag names may change: expected REPOSITORY@sha256:…\n  \
             find the digest with: docker image inspect --format '{{{{index .RepoDigests 0}}}}' {reference}"
        ));
    };
    if let Some(tag) = named.tag {
        return Err(format!(
            "`{reference}` has both a tag and a digest: leave `:{tag}` out"
        ));
    }
    let digest: Digest = digest.parse().map_err(|error| format!("{error}"))?;
    Ok(Image::Registry {
        repository: named.repository,
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_digest_names_an_image() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let named = image(&format!("localhost:5000/team/app@{digest}")).unwrap();
        assert_eq!(
            named.reference(),
            format!("localhost:5000/team/app@{digest}")
        );
        for (wrong, words) in [
            (
                "registry.example.org/team/app:1.0".to_owned(),
                "docker image inspect",
            ),
            (
                format!("registry.example.org/team/app:1.0@{digest}"),
                "leave `:1.0` out",
            ),
            ("app@sha256:abc".to_owned(), "64 hexadecimal digits"),
            (
                format!("https://ghcr.io/x/y@{digest}"),
                "leave `https://` out",
            ),
            (format!("//x/y@{digest}"), "between its slashes"),
            (format!("host:99999/x@{digest}"), "`99999` is no port"),
        ] {
            let error = image(&wrong).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
