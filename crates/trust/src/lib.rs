//! Who may say what: signed commands, the operators who sign them, their roles, and the
//! certificates both ends of a connection show.
//!
//! Nothing here fails open: what is missing, empty or not understood admits nobody, and every
//! refusal is a [`Refusal`] with a stable code. Nothing here reads a clock (`now` is an argument),
//! speaks on the network or knows the wire format; files are read only where a path is given.
//! (Two things lie outside that promise by their nature: rustls asks the system clock about
//! certificates, and [`signing`] talks to ssh-agent over its local socket.)

pub mod command;
pub mod name;
pub mod refusal;
pub mod roles;
pub mod secret_file;
pub mod signers;
pub mod signing;
pub mod tls;

pub use command::{Expected, Header};
pub use name::{Name, NodeName, OperatorName};
pub use refusal::Refusal;
pub use roles::{Permission, Role, Roles};
pub use secret_file::refuse_if_others_can_read;
pub use signers::{Principal, Signers};
pub use signing::Signer;

/// The SSHSIG namespace of commands: a signature made for anything else is not a command.
pub const NAMESPACE: &str = "command@fleet.togather";

/// The SSHSIG namespace of attestations, in which CI says that a release passed its tests.
pub const ATTESTATION_NAMESPACE: &str = "attestation@fleet.togather";
