//! Signing with the operator's own Ed25519 SSH key, from its file or through ssh-agent.
//!
//! What comes out is what `ssh-keygen -Y sign` makes: an armoured SSHSIG with SHA-512.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use ssh_agent_client_rs::{Client, Error as AgentError, Identity};
use ssh_key::{
    Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig,
    private::{Ed25519Keypair, KeypairData},
};

use crate::secret_file::{self, SecretFileError};

/// Why nothing could be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The key's file cannot be used.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The file holds something else.
    #[error("{} is not an OpenSSH key; make one with: ssh-keygen -t ed25519", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: ssh_key::Error,
    },
    /// A key of another kind.
    #[error("{} is a key of type {found}, and commands are signed with ssh-ed25519; make one with: ssh-keygen -t ed25519", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The key's type.
        found: Algorithm,
    },
    /// A passphrase protects the key and ssh-agent does not hold it.
    #[error("{} is protected by a passphrase; unlock it once with: ssh-add '{}'", path.display(), path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// No passphrase was given.
    #[error("no passphrase for {}", path.display())]
    NoPassphrase {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The passphrase is not the key's.
    #[error("the passphrase does not open {}", path.display())]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
        /// What the library said.
        source: ssh_key::Error,
    },
    /// Only the public half is here, and no ssh-agent.
    #[error("{} is a public key, so ssh-agent has to sign, and none is running (SSH_AUTH_SOCK is not set); start one and ssh-add the key, or name the private key's file", path.display())]
    NoAgent {
        /// The public key's file.
        path: PathBuf,
    },
    /// ssh-agent runs, but without this key.
    #[error("ssh-agent does not hold {} ({fingerprint}); add it with: ssh-add", path.display())]
    NotInAgent {
        /// The key's file.
        path: PathBuf,
        /// The key, as `ssh-add -l` shows it.
        fingerprint: String,
    },
    /// ssh-agent did not answer as it should.
    #[error("ssh-agent at {} failed; if it asks for a confirmation, give it and try again", socket.display())]
    Agent {
        /// The agent's socket.
        socket: PathBuf,
        /// What it said.
        source: AgentError,
    },
    /// ssh-agent answered with a signature that does not verify.
    #[error("ssh-agent at {} gave a wrong signature; restart it, or name the private key's file", socket.display())]
    WrongSignature {
        /// The agent's socket.
        socket: PathBuf,
        /// What the library said.
        source: ssh_key::Error,
    },
    /// The library could not sign.
    #[error("cannot sign")]
    Sign(#[source] ssh_key::Error),
}

/// Asks a human for the passphrase of the key in the given file.
pub type AskPassphrase<'a> = dyn Fn(&Path) -> io::Result<SecretString> + 'a;

/// One operator's key, ready to sign.
pub struct Signer {
    public: PublicKey,
    keeper: Keeper,
}

/// Who holds the private half.
enum Keeper {
    File(Box<PrivateKey>),
    Agent { socket: PathBuf },
}

impl Signer {
    /// Opens the operator's key.
    ///
    /// `identity` is a private key's file, or a `.pub` file whose private half ssh-agent holds.
    /// If the private key is not there, not readable or protected by a passphrase, ssh-agent is
    /// asked too, and then `ask_passphrase`, if there is one. `agent_socket` is what
    /// `SSH_AUTH_SOCK` names.
    ///
    /// # Errors
    /// If group or others can read the private key, if it is no Ed25519 key, or if nobody here can
    /// sign with it.
    pub fn open(
        identity: &Path,
        agent_socket: Option<&Path>,
        ask_passphrase: Option<&AskPassphrase<'_>>,
    ) -> Result<Self, SigningError> {
        if identity
            .extension()
            .is_some_and(|extension| extension == "pub")
        {
            let public = read_public(identity)?;
            let socket = agent_socket.ok_or_else(|| SigningError::NoAgent {
                path: identity.to_owned(),
            })?;
            return Self::in_agent(&public, socket, identity);
        }
        let text = match secret_file::read(identity) {
            Ok(text) => text,
            Err(unread) if unread.is_out_of_reach() => {
                // The private half may live in the agent alone (a laptop's key, forwarded).
                let public = read_public(&beside(identity)).map_err(|_| unread)?;
                let socket = agent_socket.ok_or_else(|| SigningError::NoAgent {
                    path: beside(identity),
                })?;
                return Self::in_agent(&public, socket, identity);
            }
            Err(refused) => return Err(refused.into()),
        };
        let key = PrivateKey::from_openssh(text.expose_secret()).map_err(|source| {
            SigningError::NotAKey {
                path: identity.to_owned(),
                source,
            }
        })?;
        require_ed25519(key.public_key(), identity)?;
        if !key.is_encrypted() {
            return Ok(Self {
                public: key.public_key().clone(),
                keeper: Keeper::File(Box::new(key)),
            });
        }
        let from_agent =
            agent_socket.map(|socket| Self::in_agent(key.public_key(), socket, identity));
        match (from_agent, ask_passphrase) {
            (Some(Ok(signer)), _) => Ok(signer),
            (_, Some(ask)) => Self::unlock(&key, identity, ask),
            (Some(Err(failed @ SigningError::Agent { .. })), None) => Err(failed),
            (Some(Err(_)) | None, None) => Err(SigningError::Locked {
                path: identity.to_owned(),
            }),
        }
    }

    fn unlock(
        key: &PrivateKey,
        path: &Path,
        ask: &AskPassphrase<'_>,
    ) -> Result<Self, SigningError> {
        let path = path.to_owned();
        let passphrase = match ask(&path) {
            Ok(passphrase) => passphrase,
            Err(source) => return Err(SigningError::NoPassphrase { path, source }),
        };
        let key = key
            .decrypt(passphrase.expose_secret())
            .map_err(|source| SigningError::WrongPassphrase { path, source })?;
        Ok(Self {
            public: key.public_key().clone(),
            keeper: Keeper::File(Box::new(key)),
        })
    }

    fn in_agent(public: &PublicKey, socket: &Path, path: &Path) -> Result<Self, SigningError> {
        let failed = |source| SigningError::Agent {
            socket: socket.to_owned(),
            source,
        };
        let held = Client::connect(socket)
            .and_then(|mut agent| agent.list_all_identities())
            .map_err(failed)?
            .iter()
            .any(|held| matches!(held, Identity::PublicKey(key) if key.key_data() == public.key_data()));
        if !held {
            let fingerprint = public.fingerprint(HashAlg::Sha256).to_string();
            return Err(SigningError::NotInAgent {
                path: path.to_owned(),
                fingerprint,
            });
        }
        let keeper = Keeper::Agent {
            socket: socket.to_owned(),
        };
        Ok(Self {
            public: public.clone(),
            keeper,
        })
    }

    /// Signs the payload for one namespace; the armoured SSHSIG ends with a line feed.
    ///
    /// # Errors
    /// If ssh-agent is gone, was told no, or signed something else.
    pub fn sign(&self, namespace: &str, payload: &[u8]) -> Result<String, SigningError> {
        let signature = match &self.keeper {
            Keeper::File(key) => key
                .sign(namespace, HashAlg::Sha512, payload)
                .map_err(SigningError::Sign)?,
            Keeper::Agent { socket } => self.sign_by_agent(socket, namespace, payload)?,
        };
        signature.to_pem(LineEnding::LF).map_err(SigningError::Sign)
    }

    fn sign_by_agent(
        &self,
        socket: &Path,
        namespace: &str,
        payload: &[u8],
    ) -> Result<SshSig, SigningError> {
        let data =
            SshSig::signed_data(namespace, HashAlg::Sha512, payload).map_err(SigningError::Sign)?;
        let raw = Client::connect(socket)
            .and_then(|mut agent| agent.sign(&self.public, &data))
            .map_err(|source| SigningError::Agent {
                socket: socket.to_owned(),
                source,
            })?;
        let key = self.public.key_data().clone();
        let signature =
            SshSig::new(key, namespace, HashAlg::Sha512, raw).map_err(SigningError::Sign)?;
        match self.public.verify(namespace, payload, &signature) {
            Ok(()) => Ok(signature),
            Err(source) => Err(SigningError::WrongSignature {
                socket: socket.to_owned(),
                source,
            }),
        }
    }

    /// The public half, as it stands in signers files.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer")
            .field(&self.public.fingerprint(HashAlg::Sha256).to_string())
            .finish()
    }
}

/// Makes a new Ed25519 key pair in OpenSSH's format: `path` (mode 0600, no passphrase) and
/// `path.pub`. Returns the public half.
///
/// # Errors
/// If either file exists: both stay as they are.
pub fn generate_identity(path: &Path, comment: &str) -> Result<PublicKey, SigningError> {
    let pair = Ed25519Keypair::from_seed(&rand::random());
    let key = PrivateKey::new(KeypairData::Ed25519(pair), comment).map_err(SigningError::Sign)?;
    let private = key.to_openssh(LineEnding::LF).map_err(SigningError::Sign)?;
    let mut public = key.public_key().to_openssh().map_err(SigningError::Sign)?;
    public.push('\n');
    secret_file::write_new(path, &private)?;
    if let Err(refused) = secret_file::write_new_public(&beside(path), &public) {
        // The private file is ours, made a moment ago: without its public half it helps nobody.
        let _ = std::fs::remove_file(path);
        return Err(refused.into());
    }
    Ok(key.public_key().clone())
}

/// Reads an Ed25519 public key in OpenSSH's format (`ssh-ed25519 AAAA… comment`).
///
/// # Errors
/// If the file cannot be read or holds something else.
pub fn read_public(path: &Path) -> Result<PublicKey, SigningError> {
    let text = std::fs::read_to_string(path).map_err(|source| SecretFileError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    let key = PublicKey::from_openssh(text.trim_end()).map_err(|source| SigningError::NotAKey {
        path: path.to_owned(),
        source,
    })?;
    require_ed25519(&key, path)?;
    Ok(key)
}

fn require_ed25519(key: &PublicKey, path: &Path) -> Result<(), SigningError> {
    let found = key.algorithm();
    if found == Algorithm::Ed25519 {
        return Ok(());
    }
    let path = path.to_owned();
    Err(SigningError::WrongType { path, found })
}

/// The public key's file beside a private key's.
fn beside(private: &Path) -> PathBuf {
    let mut path = private.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}
