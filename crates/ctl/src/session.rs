//! What the operator acts with: the fleet file, the certificate for connections and the SSH key
//! that signs commands.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use secrecy::ExposeSecret as _;
use togather_model::Timestamp;
use togather_proto::v1;
use togather_trust::{
    NAMESPACE, OperatorName, Signer, command::Header, secret_file, signing::AskPassphrase, tls,
};
use tokio_rustls::TlsConnector;
use ulid::Ulid;

use crate::{
    client::Client,
    error::{Error, Result},
    fleet::{FleetFile, Node},
};

/// An operator ready to act for a fleet.
#[derive(Clone)]
pub struct Session {
    /// The inventory.
    pub file: FleetFile,
    tls: TlsConnector,
    keys: Arc<Keys>,
}

impl Session {
    /// Reads the fleet file and the operator's certificate. The SSH key is opened when first used,
    /// so that looking needs no passphrase.
    ///
    /// # Errors
    /// A file is missing, can be read by others, or is not what it should be.
    pub fn open(fleet: &Path, identity: Option<&Path>) -> Result<Self> {
        let file = FleetFile::load(fleet)?;
        let operator = &file.fleet.operator;
        let authority = read(&file.resolve(&file.fleet.authority))?;
        let certificate = read(&file.resolve(&operator.certificate))?;
        let key =
            secret_file::read(&file.resolve(&operator.key)).map_err(|error| unusable(&error))?;
        let config = tls::client_config(&authority, &certificate, key.expose_secret())
            .map_err(|error| unusable(&error))?;
        let keys = Keys {
            fleet_id: file.fleet.id.to_string(),
            operator: operator.name.clone(),
            identity: identity.map_or_else(|| file.resolve(&operator.identity), Path::to_owned),
            signer: OnceLock::new(),
        };
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            keys: Arc::new(keys),
            file,
        })
    }

    /// Opens the SSH key now, so that a passphrase is asked for before anything begins.
    ///
    /// # Errors
    /// The key cannot be used here.
    pub fn unlock(&self, ask: Option<&AskPassphrase<'_>>) -> Result<()> {
        self.keys.signer(ask).map(drop)
    }

    /// A connection to this node; nothing is sent yet.
    ///
    /// # Errors
    /// The node's id cannot stand in a certificate.
    pub fn client(&self, node: &Node) -> Result<Client> {
        Client::new(node.clone(), self.tls.clone(), Arc::clone(&self.keys))
    }

    /// A connection to each of these nodes.
    ///
    /// # Errors
    /// As [`Session::client`].
    pub fn clients(&self, nodes: &[Node]) -> Result<Vec<Client>> {
        nodes.iter().map(|node| self.client(node)).collect()
    }

    /// Who acts.
    #[must_use]
    pub fn operator(&self) -> &OperatorName {
        &self.keys.operator
    }
}

/// Who signs, for which fleet, and what with.
pub(crate) struct Keys {
    fleet_id: String,
    pub(crate) operator: OperatorName,
    identity: PathBuf,
    signer: OnceLock<Arc<Signer>>,
}

impl Keys {
    fn signer(&self, ask: Option<&AskPassphrase<'_>>) -> Result<Arc<Signer>> {
        if let Some(signer) = self.signer.get() {
            return Ok(Arc::clone(signer));
        }
        let agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
        let signer = Signer::open(&self.identity, agent.as_deref(), ask)
            .map_err(|error| unusable(&error))?;
        Ok(Arc::clone(self.signer.get_or_init(|| Arc::new(signer))))
    }

    /// A command for one node, signed and valid for two minutes from now.
    pub(crate) async fn sign(
        self: &Arc<Self>,
        node_id: Ulid,
        operation_id: Ulid,
        body: v1::command::Body,
    ) -> Result<v1::SignedCommand> {
        let now = Timestamp::now();
        let header = Header::new(
            &self.fleet_id,
            node_id,
            body.method(),
            &self.operator,
            operation_id,
            now,
        );
        let payload = prost::Message::encode_to_vec(&command(header, body));
        let signer = self.signer(None)?;
        // ssh-agent may ask its human for a confirmation, which takes as long as it takes.
        let signed = tokio::task::spawn_blocking(move || {
            signer
                .sign(NAMESPACE, &payload)
                .map(|signature| (payload, signature))
        });
        let (payload, signature) = match signed.await {
            Ok(signed) => signed.map_err(|error| unusable(&error))?,
            Err(broken) => return Err(Error::other("signing was broken off").because(&broken)),
        };
        Ok(v1::SignedCommand {
            payload: payload.into(),
            signature,
        })
    }
}

fn command(header: Header, body: v1::command::Body) -> v1::Command {
    v1::Command {
        version: header.version,
        fleet_id: header.fleet_id,
        node_id: header.node_id,
        method: header.method,
        operator: header.operator,
        nonce: header.nonce.to_vec().into(),
        issued_at: Some(togather_proto::time::timestamp(header.issued_at)),
        expires_at: Some(togather_proto::time::timestamp(header.expires_at)),
        operation_id: header.operation_id.to_string(),
        body: Some(body),
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::configuration(format!("cannot read {}", path.display()))
            .because(&error)
            .next("the fleet file names it; paths there are relative to the fleet file")
    })
}

/// A certificate or key that cannot be used: the error's own text says why and what helps.
fn unusable(error: &(dyn std::error::Error + 'static)) -> Error {
    let what = Error::configuration(error.to_string());
    error
        .source()
        .map_or(what.clone(), |source| what.because(source))
}
