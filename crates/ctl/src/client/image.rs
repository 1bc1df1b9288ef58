//! An image archive on its way to a node that has no registry to pull from.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use togather_model::Digest;
use togather_proto::v1::{self, command::Body, load_image_request::Part};
use tokio::{fs::File, io::AsyncReadExt as _, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use ulid::Ulid;

use super::Client;
use crate::{
    error::{Error, Result},
    files,
};

/// Bytes in a chunk: small beside the limit on messages, large beside its overhead.
const CHUNK: usize = 256 * 1024;

/// An image archive whose content is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The file.
    pub path: PathBuf,
    /// The SHA-256 of all of it.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

impl Archive {
    /// Reads the whole file to learn its digest and size.
    ///
    /// # Errors
    /// It cannot be read, or it is empty.
    pub async fn read(path: &Path) -> Result<Self> {
        let mut file = open(path).await?;
        let (mut hash, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK]);
        loop {
            let read = file
                .read(&mut chunk)
                .await
                .map_err(|error| files::cannot("read", path, &error))?;
            if read == 0 {
                break;
            }
            hash.update(&chunk[..read]);
            bytes += read as u64;
        }
        if bytes == 0 {
            return Err(Error::usage(format!(
                "{} is empty: not an image archive",
                path.display()
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            digest: Digest::from_bytes(hash.finalize().into()),
            bytes,
        })
    }
}

impl Client {
    /// Streams an image archive to the node, which keeps it only if its digest is right.
    ///
    /// # Errors
    /// The file cannot be read any more, the node refuses, or the connection broke.
    pub async fn load_image(&self, archive: &Archive, lease: v1::LeaseProof) -> Result<()> {
        let command = self
            .sign(
                Ulid::generate(),
                Body::LoadImage(v1::LoadImage {
                    digest: archive.digest.to_string(),
                    bytes: archive.bytes,
                    lease: Some(lease),
                }),
            )
            .await?;
        let mut file = open(&archive.path).await?;
        let (to_node, parts) = mpsc::channel(4);
        let path = archive.path.clone();
        let reading = tokio::spawn(async move {
            let mut part = Part::Command(command);
            loop {
                let message = v1::LoadImageRequest { part: Some(part) };
                if to_node.send(message).await.is_err() {
                    // The call is over: its own answer says why.
                    return Ok(());
                }
                let mut chunk = vec![0; CHUNK];
                let read = file.read(&mut chunk).await;
                match read.map_err(|error| files::cannot("read", &path, &error))? {
                    0 => return Ok(()),
                    read => chunk.truncate(read),
                }
                part = Part::Chunk(Bytes::from(chunk));
            }
        });
        let answer = self
            .deployments()
            .load_image(ReceiverStream::new(parts))
            .await;
        // If our own file failed us, the node's complaint about a short archive explains nothing.
        match reading.await {
            Ok(read) => read?,
            Err(broken) => {
                return Err(
                    Error::other("reading the image archive was broken off").because(&broken)
                );
            }
        }
        self.answered(answer).map(drop)
    }
}

async fn open(path: &Path) -> Result<File> {
    File::open(path).await.map_err(|error| {
        Error::usage(format!("cannot read the image archive {}", path.display())).because(&error)
    })
}
