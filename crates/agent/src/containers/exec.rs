//! Programs run inside a service's container, their input and output streamed: how `pg_dump` and
//! `pg_restore` of the server's own version are reached, without a client installed on the node.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use tokio::io::AsyncWrite;

use super::ContainersError;

/// What can run a program beside a service.
#[async_trait]
pub trait Exec: Send + Sync {
    /// Starts a program inside the running container of this Compose service, at a low priority: no
    /// shell, arguments only. `environment` is added to the container's own.
    async fn exec(
        &self,
        service: &str,
        command: &[String],
        environment: &[(String, String)],
    ) -> Result<Process, ContainersError>;
}

/// A program under way in a container. Dropping one that [`Exec`] started does not end the program:
/// Docker has no call for that, so whoever starts one must know how to end it (a database session
/// can be terminated).
pub struct Process {
    /// What it reads; shut down to say that there is no more.
    pub stdin: Pin<Box<dyn AsyncWrite + Send>>,
    /// What it prints, until it closes both streams. Their end says nothing about success.
    pub output: BoxStream<'static, Result<Output, ContainersError>>,
    /// Its exit code, once it ended; to be awaited after `output` is at its end.
    pub exit_code: BoxFuture<'static, Result<i64, ContainersError>>,
}

/// A piece of what a program prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Of its standard output.
    Stdout(Bytes),
    /// Of its standard error.
    Stderr(Bytes),
}
