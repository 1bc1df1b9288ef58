//! From a TCP connection to one whose client is known: the TLS handshake, with a time limit and a
//! limit on how many may be under way, so that slow or many clients do not keep others out.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use secrecy::ExposeSecret;
use togather_trust::{
    Refusal, secret_file,
    tls::{self, TlsError},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
    time::{interval, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::{config::TlsFiles, gate::Peer, reload::Reloaded};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes that may be under way. Whoever comes then pushes the oldest out: it had its time.
const MAX_HANDSHAKES: usize = 64;

/// Connections that may be open; their clients have shown a certificate of the fleet.
const MAX_CONNECTIONS: usize = 64;

/// How often the TLS files are looked at while nobody connects, so that connections of a
/// certificate withdrawn meanwhile are closed.
const LOOK_AT_FILES: Duration = Duration::from_secs(5);

/// What the node shows and whom it lets connect.
pub struct Tls {
    acceptor: TlsAcceptor,
    /// Cancelled once this is no longer in force; connections made under it are closed then.
    superseded: CancellationToken,
    _when_dropped: DropGuard,
}

/// Why the TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What they hold cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Tls {
    /// Reads these files, now and whenever one of them changes.
    ///
    /// # Errors
    /// A file cannot be read, others can read the key, or certificate and key do not fit.
    pub fn of(files: TlsFiles) -> Result<Reloaded<Self>, TlsFilesError> {
        let watched = [
            files.authority.clone(),
            files.certificate.clone(),
            files.key(),
        ]
        .into_iter();
        let watched = watched.chain(files.revocation_list.clone()).collect();
        Reloaded::new(watched, move || Self::read(&files))
    }

    fn read(files: &TlsFiles) -> Result<Self, TlsFilesError> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| TlsFilesError::Read {
                path: path.clone(),
                source,
            })
        };
        let key = secret_file::read(&files.key()).map_err(TlsError::from)?;
        let revoked = files.revocation_list.as_ref().map(read).transpose()?;
        let config = tls::server_config(
            &read(&files.certificate)?,
            key.expose_secret(),
            &read(&files.authority)?,
            revoked.as_deref(),
        )?;
        let superseded = CancellationToken::new();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            _when_dropped: superseded.clone().drop_guard(),
            superseded,
        })
    }
}

/// A connection whose client is known.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    superseded: Pin<Box<WaitForCancellationFutureOwned>>,
    _one_of_many: OwnedSemaphorePermit,
}

/// The connections that come in, until the agent stops.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Arc<Reloaded<Tls>>,
    stopping: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (to_server, connections) = mpsc::channel(MAX_CONNECTIONS);
    tokio::spawn(async move {
        tokio::select! {
            () = accept(listener, tls, to_server) => {}
            () = stopping.cancelled() => {}
        }
    });
    ReceiverStream::new(connections)
}

async fn accept(
    listener: TcpListener,
    tls: Arc<Reloaded<Tls>>,
    to_server: mpsc::Sender<io::Result<Connection>>,
) {
    let open = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut handshakes = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    let mut look_at_files = interval(LOOK_AT_FILES);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    oldest_first.retain(|handshake| !handshake.is_finished());
                    if oldest_first.len() >= MAX_HANDSHAKES && let Some(oldest) = oldest_first.pop_front() {
                        oldest.abort();
                    }
                    let shaking = shake(stream, address, tls.current(), Arc::clone(&open), to_server.clone());
                    oldest_first.push_back(handshakes.spawn(shaking));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: give those that end a moment.
                    tracing::error!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = handshakes.join_next() => {}
            _ = look_at_files.tick() => drop(tls.current()),
        }
    }
}

async fn shake(
    stream: TcpStream,
    address: SocketAddr,
    tls: Arc<Tls>,
    open: Arc<Semaphore>,
    to_server: mpsc::Sender<io::Result<Connection>>,
) {
    // Commands are small and people wait for the answers. If it cannot be set, they are slower.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE, tls.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%address, %error, "a client was not let in");
            return;
        }
        Err(_) => {
            tracing::info!(%address, "a client was not let in: its handshake took too long");
            return;
        }
    };
    let Ok(permit) = open.try_acquire_owned() else {
        tracing::warn!(%address, "a client was turned away: {MAX_CONNECTIONS} connections are open");
        return;
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let peer = certificates.and_then(<[_]>::first).map_or(
        Err(Refusal::WrongCertificate {
            why: "there is none",
        }),
        tls::operator_name,
    );
    let connection = Connection {
        stream,
        peer: Peer(peer),
        superseded: Box::pin(tls.superseded.clone().cancelled_owned()),
        _one_of_many: permit,
    };
    // The server is gone only when the agent stops.
    let _ = to_server.send(Ok(connection)).await;
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.superseded.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
