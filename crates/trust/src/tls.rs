//! Mutual TLS, version 1.3 and nothing else, under the fleet's own certificate authority.
//!
//! A node's certificate is good for serving, an operator's for calling, and neither for the other:
//! the roles are separate key usages. Names stand in the subject alternative name, as
//! `<node id>.nodes.togather` and `<operator>.operators.togather`. Sessions are never resumed, so
//! that a certificate revoked a moment ago has no ticket to come back with.

mod authority;
mod peer;

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};

pub use self::{
    authority::{Authority, Identity, Revoked, serial_number},
    peer::{node_server_name, operator_name},
};
use crate::{name::NameError, secret_file::SecretFileError};

/// The one protocol spoken over the connection.
const HTTP2: &[u8] = b"h2";

/// Why a certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or not of the expected kind.
    #[error("the {what} cannot be read; expected PEM")]
    Pem {
        /// Which of the files.
        what: &'static str,
        /// What was wrong.
        source: pem::Error,
    },
    /// PEM without any of what was looked for.
    #[error("there is no {what} in the PEM text given for it")]
    Empty {
        /// Which of the files.
        what: &'static str,
    },
    /// A certificate that does not decode.
    #[error("the {what} is not an X.509 certificate that can be read")]
    Certificate {
        /// Which of the files.
        what: &'static str,
    },
    /// rustls does not take it.
    #[error("the {what} cannot be used")]
    Unusable {
        /// Which of the files.
        what: &'static str,
        /// What rustls said.
        source: rustls::Error,
    },
    /// rustls does not take the authority or its revocation list.
    #[error("the certificate authority or its revocation list cannot be used")]
    Verifier(#[from] VerifierBuilderError),
    /// A certificate could not be made.
    #[error("cannot make the {what}")]
    Make {
        /// What was being made.
        what: &'static str,
        /// What rcgen said.
        source: rcgen::Error,
    },
    /// The authority's time has run out.
    #[error(
        "the certificate authority expired on {until}; make a new one with `togather-ctl init` and enrol the nodes again"
    )]
    AuthorityExpired {
        /// Its last moment.
        until: jiff::Timestamp,
    },
    /// The node's id cannot stand in a certificate.
    #[error("the node's id cannot stand in a certificate")]
    NodeId(#[from] NameError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] SecretFileError),
}

/// What a node listens with: TLS 1.3, its own certificate, and only clients with a certificate of
/// the fleet's authority that allows calling and is neither expired nor revoked. All arguments are
/// PEM; `revocation_list` is the authority's, and once given, it is heeded.
///
/// # Errors
/// With the name of the argument that cannot be used.
pub fn server_config(
    certificate: &str,
    key: &str,
    authority: &str,
    revocation_list: Option<&str>,
) -> Result<ServerConfig, TlsError> {
    let mut lists = Vec::new();
    if let Some(text) = revocation_list {
        lists = several::<CertificateRevocationListDer<'static>>("revocation list", text)?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(roots(authority)?, provider())
        .with_crls(lists)
        .build()?;
    let unusable = |what| move |source| TlsError::Unusable { what, source };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable("TLS 1.3"))?
        .with_client_cert_verifier(clients)
        .with_single_cert(several("certificate", certificate)?, private_key(key)?)
        .map_err(unusable("certificate or its key"))?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// What an operator calls with: TLS 1.3, the operator's certificate, and only servers with a
/// certificate of the fleet's authority. All arguments are PEM.
///
/// # Errors
/// With the name of the argument that cannot be used.
pub fn client_config(
    authority: &str,
    certificate: &str,
    key: &str,
) -> Result<ClientConfig, TlsError> {
    let unusable = |what| move |source| TlsError::Unusable { what, source };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable("TLS 1.3"))?
        .with_root_certificates(roots(authority)?)
        .with_client_auth_cert(several("certificate", certificate)?, private_key(key)?)
        .map_err(unusable("certificate or its key"))?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// ring, by name: a process that has two providers has no default, and panics when asked for one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(authority: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let what = "certificate authority";
    let mut roots = RootCertStore::empty();
    for certificate in several::<CertificateDer<'static>>(what, authority)? {
        roots
            .add(certificate)
            .map_err(|source| TlsError::Unusable { what, source })?;
    }
    Ok(Arc::new(roots))
}

fn several<T: PemObject>(what: &'static str, text: &str) -> Result<Vec<T>, TlsError> {
    let found: Vec<T> = T::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if found.is_empty() {
        Err(TlsError::Empty { what })
    } else {
        Ok(found)
    }
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|source| TlsError::Pem {
        what: "certificate's key",
        source,
    })
}
