//! Snapshots in a bucket of a real S3 server that checks signatures.

use std::{fs, path::Path, sync::Arc};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use object_store::{RetryConfig, aws::AmazonS3Builder};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use togather_agent::{
    database::Database,
    snapshots::{Answer, Dumps, SnapshotError, SnapshotSettings, Snapshots},
};

use crate::{
    NOISE, Shelf, new_id,
    postgres_server::{DockerExec, shared, told},
    settings, wanted,
};

/// Snapshots of this shelf's database in a bucket of a real S3 server that checks signatures.
pub(crate) fn in_bucket(shelf: &Shelf, port: u16, secret: &str) -> Dumps {
    // The agent's main does the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let objects = AmazonS3Builder::new()
        .with_endpoint(format!("http://127.0.0.1:{port}"))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("bucket")
        .with_access_key_id("key")
        .with_secret_access_key(secret)
        .with_retry(RetryConfig {
            max_retries: 1,
            ..RetryConfig::default()
        })
        .build()
        .unwrap();
    let settings = SnapshotSettings {
        store: "s3://bucket/node-1".parse().unwrap(),
        ..settings(&shelf.folder)
    };
    let exec = shared(DockerExec(shelf.database.server.container.clone()));
    Dumps::over(
        settings,
        Arc::new(objects),
        exec,
        Arc::clone(&shelf.postgres),
    )
    .unwrap()
}

pub(crate) async fn s3(root: &Path) -> u16 {
    fs::create_dir_all(root.join("bucket")).unwrap();
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
    service.set_auth(SimpleAuth::from_single("key", "hush"));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                server.serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    port
}

#[tokio::test]
async fn a_bucket_is_a_store_like_any_other() {
    let mut shelf = Shelf::new().await;
    shelf.database.run(NOISE).await;
    let port = s3(shelf._keep.path()).await;
    let dumps = in_bucket(&shelf, port, "hush");
    let taken = dumps.create(&wanted(), &|_| ()).await.unwrap();
    assert!(taken.bytes > 10 << 20, "several parts: {}", taken.bytes);
    let operation = new_id();
    let proven = dumps.prove(taken.id, operation, &|_| ()).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    assert_eq!(dumps.list().await.unwrap(), [proven]);
    dumps.forget(taken.id).await.unwrap();
    assert_eq!(dumps.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_bucket_that_refuses_or_is_down_is_an_error() {
    let shelf = Shelf::new().await;
    let port = s3(shelf._keep.path()).await;
    let error = in_bucket(&shelf, port, "wrong")
        .create(&wanted(), &|_| ())
        .await
        .unwrap_err();
    let text = told(&error);
    assert!(
        text.contains("SignatureDoesNotMatch") && !text.contains("wrong"),
        "{text}"
    );
    let down = in_bucket(&shelf, 1, "hush");
    let error = down.create(&wanted(), &|_| ()).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Store { .. }), "{error:?}");
    assert!(down.list().await.is_err(), "not an empty list");
}

#[tokio::test]
async fn a_bucket_is_found_to_keep_what_may_only_be_created() {
    let shelf = Shelf::new().await;
    let port = s3(shelf._keep.path()).await;
    let dumps = in_bucket(&shelf, port, "hush");
    let taken = dumps.create(&wanted(), &|_| ()).await.unwrap();
    let kept = || fs::read_dir(shelf._keep.path().join("bucket/node-1")).unwrap();
    let before = kept().count();
    let found = dumps.conditional_writes().await;
    assert_eq!((found.answer, found.reason.as_str()), (Answer::Yes, ""));
    assert_eq!(kept().count(), before, "what it was tried out with is gone");
    assert_eq!(dumps.list().await.unwrap(), [taken]);

    let refused = in_bucket(&shelf, port, "wrong").conditional_writes().await;
    assert_eq!(refused.answer, Answer::Unknown);
    assert!(
        refused.reason.contains("SignatureDoesNotMatch"),
        "{refused:?}"
    );
}
