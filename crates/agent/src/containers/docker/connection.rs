//! The way to the Engine: its socket, and an API version that both sides speak.

use std::path::{Path, PathBuf};

use bollard::API_DEFAULT_VERSION;
use http::HeaderValue;
use tokio::sync::Mutex;

use super::super::ContainersError;

/// How long the Engine may take to begin an answer, in seconds; calls that take longer by nature
/// ask for more.
pub(super) const PATIENCE: u64 = 120;

/// The header with the login for a registry.
const LOGIN: &str = "x-registry-auth";

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
        let client = self.negotiate().await?;
        *known = Some(client.clone());
        Ok(client)
    }

    /// A new client, its version found out again: the Engine may have been updated while the agent
    /// ran.
    pub(super) async fn renewed(&self) -> Result<bollard::Docker, ContainersError> {
        let client = self.negotiate().await?;
        *self.client.lock().await = Some(client.clone());
        Ok(client)
    }

    /// Docker 20.10 speaks nothing newer than 1.41, Docker 29 nothing older than 1.44; all that is
    /// asked for here is in both.
    async fn negotiate(&self) -> Result<bollard::Docker, ContainersError> {
        let unreachable = |source: bollard::errors::Error| ContainersError::Unreachable {
            socket: self.socket.clone(),
            source: source.into(),
        };
        let socket = self.socket.to_string_lossy();
        let client = bollard::Docker::connect_with_unix(&socket, PATIENCE, API_DEFAULT_VERSION);
        let client = client.map_err(unreachable)?;
        let client = client.with_request_modifier(url_safe_login);
        let negotiated = client.negotiate_version().await;
        negotiated.map_err(unreachable)
    }
}

/// Docker reads the header with a login as URL-safe base64, and takes one that it cannot read for none;
/// bollard writes the other alphabet, so that some passwords would be lost on the way.
fn url_safe_login<B>(mut request: http::Request<B>) -> http::Request<B> {
    let written = request.headers().get(LOGIN).map(HeaderValue::as_bytes);
    let safe = written.map(|bytes| {
        let safe = bytes.iter().map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        });
        HeaderValue::from_bytes(&safe.collect::<Vec<_>>())
    });
    if let Some(Ok(mut safe)) = safe {
        safe.set_sensitive(true);
        request.headers_mut().insert(LOGIN, safe);
    }
    request
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

    /// An Engine that speaks no newer version than this.
    async fn engine_of(version: &str, socket: &Path) {
        let listener = UnixListener::bind(socket).unwrap();
        let body = format!(r#"{{"Version":"29.0.0","ApiVersion":"{version}"}}"#);
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
    }

    #[tokio::test]
    async fn the_newest_version_that_both_speak_is_used() {
        for (engine, expected) in [("1.41", 41), ("1.44", 44), ("1.99", 53)] {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("docker.sock");
            engine_of(engine, &socket).await;
            let client = Connection::new(&socket).unwrap().client().await.unwrap();
            assert_eq!(client.client_version().minor_version, expected);
        }
    }

    #[tokio::test]
    async fn an_engine_that_starts_later_is_found_and_one_that_was_updated_too() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let connection = Connection::new(&socket).unwrap();
        let error = connection.client().await.unwrap_err();
        assert!(matches!(error, ContainersError::Unreachable { .. }));
        engine_of("1.41", &socket).await;
        connection.client().await.unwrap();

        std::fs::remove_file(&socket).unwrap();
        engine_of("1.44", &socket).await;
        connection.renewed().await.unwrap();
        let client = connection.client().await.unwrap();
        assert_eq!(client.client_version().minor_version, 44);
    }

    #[test]
    fn a_login_is_written_in_the_alphabet_that_docker_reads() {
        // What `{"password":"???>>>~~~"}` becomes.
        let request = http::Request::builder().header(LOGIN, "eyJwYXNzd29yZCI6Ij8/Pz4+Pn5+fiJ9");
        let request = url_safe_login(request.body(()).unwrap());
        let written = &request.headers()[LOGIN];
        assert_eq!(written, "eyJwYXNzd29yZCI6Ij8_Pz4-Pn5-fiJ9");
        assert!(written.is_sensitive());
        let without = url_safe_login(http::Request::new(()));
        assert!(without.headers().is_empty());
    }

    #[test]
    fn a_socket_has_an_absolute_path() {
        assert!(Connection::new(Path::new("docker.sock")).is_err());
    }
}
