//! From a node's address to a channel: TCP, then TLS in which both sides prove who they are.

use std::{io, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use togather_trust::tls;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};

use super::CONNECT_TIMEOUT;
use crate::{
    error::{Error, Result},
    fleet::Node,
};

/// How often a silent connection is asked whether it still lives, and how long it may take to say
/// so: a node that was cut off in mid-stream is noticed within twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers at the address.
    #[error("no connection")]
    Tcp(#[source] io::Error),
    /// Whoever answers is not the node that was meant.
    #[error("the node's certificate was not accepted")]
    Impostor(#[source] rustls::Error),
    /// The node does not want us.
    #[error("the node refused the connection")]
    Refused(#[source] rustls::Error),
}

/// A channel that connects when it is first used, and again when the connection broke.
pub(super) fn channel(node: &Node, connector: TlsConnector) -> Result<Channel> {
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        Error::configuration(format!(
            "the fleet file's entry of {} cannot be used",
            node.name
        ))
        .because(error)
    };
    let server_name =
        tls::node_server_name(&node.id.to_string()).map_err(|error| unusable(&error))?;
    // The scheme is `http` because tonic is to leave TLS to the connector below.
    let endpoint = Endpoint::from_shared(format!("http://{}", server_name.to_str()))
        .map_err(|error| unusable(&error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let address = node.address.clone();
    Ok(
        endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let (connector, server_name) = (connector.clone(), server_name.clone());
            let address = address.clone();
            async move {
                connect(&address, server_name, &connector)
                    .await
                    .map(TokioIo::new)
            }
        })),
    )
}

async fn connect(
    address: &str,
    server_name: ServerName<'static>,
    connector: &TlsConnector,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(ConnectError::Tcp)?;
    stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
    connector
        .connect(server_name, stream)
        .await
        .map_err(|error| {
            let tls = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls {
                Some(alert @ rustls::Error::AlertReceived(_)) => {
                    ConnectError::Refused(alert.clone())
                }
                Some(other) => ConnectError::Impostor(other.clone()),
                None => ConnectError::Tcp(error),
            }
        })
}
