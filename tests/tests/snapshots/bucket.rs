//! Snapshots in a bucket of a real S3 server that checks signatures.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use object_store::{
    BackoffConfig, ClientOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use togather_agent::{
    database::Database,
    snapshots::{Answer, Dumps, SnapshotError, SnapshotSettings, Snapshots},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{
    NOISE, Shelf, new_id,
    postgres_server::{DockerExec, shared, told},
    settings, wanted,
};

/// Snapshots of this shelf's database in a bucket of a real S3 server that checks signatures.
pub(crate) fn in_bucket(shelf: &Shelf, port: u16, secret: &str) -> Dumps {
    let objects = objects(port, secret, 1, Duration::from_secs(30));
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

/// The bucket as the agent reaches it, but for its patience: each request is repeated so often, and
/// may take so long.
pub(crate) fn objects(port: u16, secret: &str, retries: usize, timeout: Duration) -> AmazonS3 {
    // The agent's main does the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    AmazonS3Builder::new()
        .with_endpoint(format!("http://127.0.0.1:{port}"))
        .with_client_options(ClientOptions::new().with_timeout(timeout))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("bucket")
        .with_access_key_id("key")
        .with_secret_access_key(secret)
        .with_retry(RetryConfig {
            max_retries: retries,
            retry_timeout: Duration::from_secs(60),
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(10),
                max_backoff: Duration::from_millis(100),
                ..BackoffConfig::default()
            },
        })
        .build()
        .unwrap()
}

/// A real S3 server that checks signatures, over a folder.
pub(crate) struct S3 {
    root: PathBuf,
    pub(crate) port: u16,
    serving: JoinHandle<()>,
}

impl S3 {
    pub(crate) async fn start(root: &Path) -> Self {
        fs::create_dir_all(root.join("bucket")).unwrap();
        let (port, serving) = serve(root, 0).await;
        Self {
            root: root.to_owned(),
            port,
            serving,
        }
    }

    /// Ends it in the middle of whatever it does; its port answers no more.
    pub(crate) async fn kill(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    /// Starts it again over what it had stored.
    pub(crate) async fn restart(&mut self) {
        (_, self.serving) = serve(&self.root, self.port).await;
    }

    /// How many files it keeps of uploads that were not finished.
    pub(crate) fn unfinished(&self) -> usize {
        unfinished(&self.root)
    }
}

/// What the S3 server over this folder keeps of uploads that were not finished.
pub(crate) fn unfinished(root: &Path) -> usize {
    let names = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with(".upload"))
        .count()
}

async fn serve(root: &Path, port: u16) -> (u16, JoinHandle<()>) {
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
    service.set_auth(SimpleAuth::from_single("key", "hush"));
    let service = service.build();
    listen(port, move |stream| {
        let service = service.clone();
        async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

/// Serves this loopback port (0: any that is free). Aborted, it takes its connections with it.
pub(crate) async fn listen<S, C>(port: u16, serve: S) -> (u16, JoinHandle<()>)
where
    S: Fn(TcpStream) -> C + Send + 'static,
    C: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let listening = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(serve(stream));
        }
    });
    (port, listening)
}

/// One that runs for as long as the test.
pub(crate) async fn s3(root: &Path) -> u16 {
    S3::start(root).await.port
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
