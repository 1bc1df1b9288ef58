//! The server's life: listen, serve, and a graceful stop.
//!
//! Before it listens, its job workers must have their tables; without them it ends.
//!
//! After SIGTERM no connection is accepted, streams end, requests under way are finished, and
//! connections that wait for a next request are closed. Until then an idle connection is kept for
//! as long as its client likes, so a proxy that keeps connections for less never loses a request.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::ListenerExt;
use sqlx::PgPool;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    app::{self, App, STAND_IN},
    fault::Fault,
    jobs::{self, JobsError},
    settings::Settings,
};

/// How long requests under way may take after a stop was asked for; less than the 30 seconds after
/// which whoever asked kills this process.
const GRACE: Duration = Duration::from_secs(25);

/// Why serving ended otherwise than by being asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("this release is made to crash at start (FAULT=crash-at-start)")]
    MadeToCrash,
    #[error(transparent)]
    Jobs(#[from] JobsError),
    #[error("cannot listen on {0}; is another server there?")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    #[error("serving failed")]
    Serve(#[source] io::Error),
    #[error("requests were still under way {} s after the stop; they were cut off", GRACE.as_secs())]
    CutOff,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// The tables of the job queue are missing, the address cannot be listened on, or requests outlast
/// the grace of a stop.
pub(crate) async fn serve(settings: Settings) -> Result<(), ServeError> {
    if settings.fault == Some(Fault::CrashAtStart) {
        return Err(ServeError::MadeToCrash);
    }
    // Before the first request, so that no signal is lost.
    let stop = stop_signal(settings.fault).map_err(ServeError::Signals)?;
    let database = settings.pool();
    if settings.job_tables {
        jobs::begin(&database).await?;
    }
    if settings.fault == Some(Fault::NeverListens) {
        tracing::warn!("not listening: this release is made to live without");
        stop.await;
        return Ok(());
    }
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| ServeError::Listen(settings.listen, error))?;
    tracing::info!(
        address = %settings.listen,
        version = settings.build.version,
        slot = settings.slot,
        fault = settings.fault.map(Fault::as_str),
        "listening; {STAND_IN}"
    );
    run(listener, &settings, database, stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Serves on this listener until `stop` is over, then finishes what is under way.
async fn run(
    listener: TcpListener,
    settings: &Settings,
    database: PgPool,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (announce, stopping) = watch::channel(false);
    let app = Arc::new(App::new(settings, database, stopping.clone()));
    let service = app::router(Arc::clone(&app)).into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|connection| {
        // Small answers must not wait to be joined by others; one that fails is only slower.
        let _ = connection.set_nodelay(true);
    });
    let mut told = stopping;
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        let _ = told.wait_for(|stopping| *stopping).await;
    });
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        ended = &mut server => return ended.map_err(ServeError::Serve),
        () = stop => {}
    }
    tracing::info!("asked to stop; finishing requests under way");
    announce.send_replace(true);
    let ended = match tokio::time::timeout(GRACE, server).await {
        Ok(ended) => ended.map_err(ServeError::Serve),
        Err(_) => Err(ServeError::CutOff),
    };
    tracing::info!(asked = %app.ledger(), "requests on limited paths");
    if settings.fault == Some(Fault::SlowStop) {
        tracing::info!("a job is under way: this release is made to stop slowly");
        tokio::time::sleep(settings.slow_stop).await;
    }
    ended
}

/// Over when this process is asked to stop, and means to.
fn stop_signal(fault: Option<Fault>) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => if fault == Some(Fault::IgnoresSigterm) {
                    tracing::warn!("SIGTERM ignored: this release is made to");
                } else {
                    return;
                },
                _ = interrupt.recv() => return,
            }
        }
    })
}

#[cfg(test)]
mod tests;
