//! The floor of asking a node anything: one mutual TLS 1.3 handshake with its agent, and no more.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::TLS13,
};
use serde::Deserialize;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::TlsConnector;

use crate::layout::Layout;

/// What is needed of a fleet file; its paths are relative to it.
#[derive(Debug, Deserialize)]
struct Fleet {
    authority: PathBuf,
    operator: Operator,
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Operator {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    address: String,
}

/// From connecting to the first node's agent to the end of the handshake, in milliseconds.
pub(super) async fn handshakes(layout: &Layout, times: usize) -> Result<Vec<f64>> {
    let path = layout.fleet_file();
    let reading = || format!("cannot read {}", path.display());
    let text = std::fs::read_to_string(&path).with_context(reading)?;
    let fleet: Fleet = serde_saphyr::from_str(&text).with_context(reading)?;
    let node = fleet.nodes.first().context("the fleet has no nodes")?;
    let name = format!("{}.nodes.togather", node.id.to_lowercase());
    let name = ServerName::try_from(name).context("the node's id is no name for TLS")?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let connector = TlsConnector::from(Arc::new(config(folder, &fleet)?));

    let mut took = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        let stream = TcpStream::connect(&node.address).await?;
        stream.set_nodelay(true)?;
        let mut stream = connector.connect(name.clone(), stream).await?;
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
        stream.shutdown().await?;
    }
    Ok(took)
}

fn config(folder: &Path, fleet: &Fleet) -> Result<ClientConfig> {
    let reading = |path: &Path| format!("cannot read {}", path.display());
    let certificate = |path: &Path| {
        CertificateDer::from_pem_file(folder.join(path)).with_context(|| reading(path))
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&fleet.authority)?)?;
    let own = vec![certificate(&fleet.operator.certificate)?];
    let key = PrivateKeyDer::from_pem_file(folder.join(&fleet.operator.key))
        .with_context(|| reading(&fleet.operator.key))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(own, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
