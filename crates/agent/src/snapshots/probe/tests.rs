//! Stores of every kind: each in memory, but for what it makes of a write that may only create.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    memory::InMemory,
    multipart::{MultipartStore, PartId},
    path::Path,
};

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As S3, which answers 412.
    Keeps,
    /// Takes the write as if nothing were asked.
    Ignores,
    /// Answers 501, as stores do that do not know the header.
    Refuses,
    /// Nothing may be written.
    Denies,
}

#[derive(Debug)]
struct Fake(Kind, InMemory);

impl std::fmt::Display for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[async_trait]
impl ObjectStore for Fake {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let answer = |status: &str| Error::Generic {
            store: "S3",
            source: status.to_owned().into(),
        };
        match (self.0, &options.mode) {
            (Kind::Denies, _) => return Err(answer("403 Forbidden: AccessDenied")),
            (Kind::Refuses, PutMode::Create) => {
                let said = "501 Not Implemented: <Error><Code>NotImplemented</Code></Error>";
                return Err(answer(said));
            }
            (Kind::Ignores, PutMode::Create) => options.mode = PutMode::Overwrite,
            (Kind::Keeps | Kind::Ignores | Kind::Refuses, _) => {}
        }
        self.1.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.1.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.1.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.1.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.1.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.1.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.1.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Fake {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.1.create_multipart(path).await
    }

    async fn create_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<MultipartId> {
        self.1.create_multipart_opts(path, options).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part: usize,
        payload: PutPayload,
    ) -> Result<PartId> {
        self.1.put_part(path, id, part, payload).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.1.complete_multipart(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.1.abort_multipart(path, id).await
    }
}

fn store(kind: Kind) -> Store {
    let url = "s3://bucket/node-1".parse().unwrap();
    Store::over(Arc::new(Fake(kind, InMemory::new())), &url, None)
}

#[tokio::test]
async fn each_kind_of_store_is_found_out_and_left_as_it_was() {
    for (kind, answer, reason) in [
        (Kind::Keeps, Answer::Yes, ""),
        (Kind::Ignores, Answer::No, "without a word"),
        (Kind::Refuses, Answer::No, "it refuses"),
        (Kind::Denies, Answer::Unknown, "AccessDenied"),
    ] {
        let store = store(kind);
        let found = store.conditional_writes().await;
        assert_eq!(found.answer, answer, "{kind:?}: {found:?}");
        assert!(found.reason.contains(reason), "{kind:?}: {found:?}");
        assert_eq!(store.names().await.unwrap(), [], "{kind:?}");
        let is_known = answer != Answer::Unknown;
        assert_eq!(store.known().is_some(), is_known, "{kind:?}: asked once");
    }
}

#[tokio::test]
async fn a_folder_is_tried_out_once_it_is_there() {
    let keep = tempfile::tempdir().unwrap();
    let folder = keep.path().join("snapshots");
    let url = url::Url::from_directory_path(&folder).unwrap();
    let store = Store::at(&url, None).unwrap();
    let found = store.conditional_writes().await;
    assert_eq!(found.answer, Answer::Yes);
    assert!(found.reason.contains("not there yet"), "{found:?}");
    assert!(!folder.exists(), "looking makes none");

    std::fs::create_dir(&folder).unwrap();
    assert_eq!(store.conditional_writes().await, ConditionalWrites::yes());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);

    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "a file").unwrap();
    let store = Store::at(&url, None).unwrap();
    let found = store.conditional_writes().await;
    assert_eq!(found.answer, Answer::Unknown, "{found:?}");
}

/// Whether or not the store was tried out before.
#[tokio::test]
async fn with_every_kind_what_is_stored_is_never_replaced() {
    for kind in [Kind::Keeps, Kind::Ignores, Kind::Refuses] {
        for known in [false, true] {
            let store = store(kind);
            if known {
                store.conditional_writes().await;
            }
            let context = format!("{kind:?}, known: {known}");
            let first = store.create("a.manifest.json", b"first".into()).await;
            first.expect(&context);
            let again = store.create("a.manifest.json", b"first".into()).await;
            again.expect(&context);
            let rival = store.create("a.manifest.json", b"rival".into()).await;
            // Of a store that says nothing, nothing is known before it was tried out.
            if known || kind != Kind::Ignores {
                assert!(matches!(rival, Err(SnapshotError::Taken(_))), "{context}");
                let kept = store.bytes("a.manifest.json", 5).await.unwrap();
                assert_eq!(kept, b"first", "{context}");
            }
        }
    }
}
