//! An S3-compatible server on a folder: `devfleet s3`. It checks the signature of every request
//! (SigV4) and is for development and tests only.

use std::{env, fs, net::SocketAddr, path::Path};

use anyhow::{Context, Result, anyhow};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::services::BUCKET;

/// Serves until told to stop, then lets requests under way finish.
pub(crate) async fn serve(root: &Path, listen: SocketAddr) -> Result<()> {
    let key = |name| env::var(name).with_context(|| format!("{name} is not set"));
    let keys = SimpleAuth::from_single(key("AWS_ACCESS_KEY_ID")?, key("AWS_SECRET_ACCESS_KEY")?);

    // A bucket is a folder.
    let bucket = root.join(BUCKET);
    fs::create_dir_all(&bucket).with_context(|| format!("cannot make {}", bucket.display()))?;
    let store = FileSystem::new(root).map_err(|error| anyhow!("{}: {error:?}", root.display()))?;
    let mut service = S3ServiceBuilder::new(store);
    service.set_auth(keys);
    let service = service.build();

    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    tracing::info!(%listen, root = %root.display(), "serving");
    let server = Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was lost before it began");
                continue;
            }
        };
        // A long answer's last piece would wait for the one before it to be acknowledged.
        stream.set_nodelay(true)?;
        let connection = server.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "a connection ended early");
            }
        });
    }
    graceful.shutdown().await;
    Ok(())
}
