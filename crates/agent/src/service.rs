//! The agent as a service: how systemd is told that it is ready and alive, and how it is told to
//! stop or to read its files again.

use std::{io, sync::Arc};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::interval,
};

use crate::{gate::Keys, reload::Reloaded, server::Tls};

/// Tells systemd that the agent answers, and from then on that it is alive. The signs of life come
/// from a task like any other: if tasks do not run any more, they stop, and systemd starts the
/// agent again.
pub fn announce() {
    tell(NotifyState::Ready);
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    tokio::spawn(async move {
        let mut beat = interval(limit / 3);
        loop {
            beat.tick().await;
            tell(NotifyState::Watchdog);
        }
    });
}

/// Tells systemd that the agent stops because it was asked to.
pub fn announce_stop() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told how the agent is");
    }
}

/// Waits until the agent is asked to stop.
///
/// # Errors
/// Signals cannot be received.
pub async fn asked_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Has keys, roles and certificates read again on SIGHUP. Changed files are noticed without it.
///
/// # Errors
/// Signals cannot be received.
pub fn reload_on_hangup(keys: Arc<Keys>, tls: Arc<Reloaded<Tls>>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            keys.forget();
            tls.forget();
        }
    });
    Ok(())
}
