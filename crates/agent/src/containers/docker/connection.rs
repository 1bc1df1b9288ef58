//! The way to the Engine: its socket, and an API version that both sides speak.

use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, ClientVersion, models::SystemVersion};
use tokio::sync::Mutex;

use super::super::ContainersError;

/// How long the Engine may take to begin an answer, in seconds; calls that take longer by nature
/// ask for more.
pub(super) const PATIENCE: u64 = 120;

/// The versions that are tried, oldest first: all that is asked for here is in 1.41 (Docker 20.10),
/// so one version serves as many Engines as possible. Docker 29 wants at least 1.44.
const VERSIONS: [&ClientVersion; 3] = [
    &ClientVersion {
        major_version: 1,
        minor_version: 41,
    },
    &ClientVersion {
        major_version: 1,
        minor_version: 44,
    },
    API_DEFAULT_VERSION,
];

/// A socket, and the client for it once one was needed.
#[derive(Debug)]
pub(super) struct Connection {
    socket: PathBuf,
    client: Mutex<Option<bollard::Docker>>,
}

impl Connection {
    pub(super) fn new(socket: &Path) -> Result<Self, ContainersError> {
        if socket.to_str().is_none() || !socket.is_absolute() {
            return Err(ContainersError::Socket(socket.to_owned()));
        }
        Ok(Self {
            socket: socket.to_owned(),
            client: Mutex::new(None),
        })
    }

    /// The client; the first call finds out which version the Engine speaks.
    pub(super) async fn client(&self) -> Result<bollard::Docker, ContainersError> {
        let mut known = self.client.lock().await;
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let (client, _) = self.negotiate().await?;
        *known = Some(client.clone());
        Ok(client)
    }

    /// A new client, and what the Engine says of itself: it may have been updated while the agent
    /// ran.
    pub(super) async fn renewed(
        &self,
    ) -> Result<(bollard::Docker, SystemVersion), ContainersError> {
        let (client, version) = self.negotiate().await?;
        *self.client.lock().await = Some(client.clone());
        Ok((client, version))
    }

    async fn negotiate(&self) -> Result<(bollard::Docker, SystemVersion), ContainersError> {
        let unreachable = |source: bollard::errors::Error| ContainersError::Unreachable {
            socket: self.socket.clone(),
            source: source.into(),
        };
        let socket = self.socket.to_string_lossy();
        let mut refused = None;
        for version in VERSIONS {
            let client = bollard::Docker::connect_with_unix(&socket, PATIENCE, version);
            let client = client.map_err(unreachable)?;
            match client.version().await {
                Ok(said) => return Ok((client, said)),
                Err(error) if has_status(&error, 400) => refused = Some(error),
                Err(error) => return Err(unreachable(error)),
            }
        }
        Err(match refused {
            Some(error) => unreachable(error),
            None => ContainersError::Socket(self.socket.clone()),
        })
    }
}

/// Whether the Engine answered with this HTTP status.
pub(super) fn has_status(error: &bollard::errors::Error, status: u16) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code, .. } if *status_code == status)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixListener,
    };

    use super::*;

    /// An Engine that refuses versions below this minor one in Docker's words.
    async fn engine_from(minor: usize, socket: &Path) {
        let listener = UnixListener::bind(socket).unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = vec![0; 4096];
                let length = stream.read(&mut asked).await.unwrap();
                let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
                let spoken = asked.split(['.', '/']).nth(2).unwrap().parse::<usize>();
                let (status, body) = if spoken.unwrap() < minor {
                    (
                        "400 Bad Request",
                        r#"{"message":"client version is too old"}"#,
                    )
                } else {
                    ("200 OK", r#"{"Version":"29.0.0","ApiVersion":"1.52"}"#)
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
    }

    #[tokio::test]
    async fn the_oldest_version_that_the_engine_speaks_is_used() {
        for (from, expected) in [(12, 41), (44, 44), (50, 53)] {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("docker.sock");
            engine_from(from, &socket).await;
            let connection = Connection::new(&socket).unwrap();
            let client = connection.client().await.unwrap();
            assert_eq!(client.client_version().minor_version, expected);
        }
    }

    #[tokio::test]
    async fn an_engine_that_speaks_none_or_is_not_there_is_said_to_be_unreachable() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let connection = Connection::new(&socket).unwrap();
        let error = connection.client().await.unwrap_err();
        assert!(matches!(error, ContainersError::Unreachable { .. }));
        engine_from(99, &socket).await;
        let error = connection.client().await.unwrap_err();
        assert!(matches!(error, ContainersError::Unreachable { .. }));
    }

    #[test]
    fn a_socket_has_an_absolute_path() {
        assert!(Connection::new(Path::new("docker.sock")).is_err());
    }
}
