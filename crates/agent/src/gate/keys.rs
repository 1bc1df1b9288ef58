//! Whose signatures count and who may do what, as the node's files say at the moment of the call.

use std::{convert::Infallible, error::Error, path::PathBuf, sync::Arc};

use togather_model::{Failure, FailureKind};
use togather_trust::{ATTESTATION_NAMESPACE, Roles, Signers};

use crate::{host::Host, node::Attesters, reload::Reloaded};

/// What the files say.
#[derive(Debug, Default)]
pub struct Known {
    /// Whose signatures count.
    pub signers: Signers,
    /// Who may do what.
    pub roles: Roles,
    /// Why a file admits nobody although it is there.
    pub problems: Vec<String>,
}

/// The node's signers and roles; files that change are read again.
pub struct Keys {
    files: Reloaded<Known>,
    host: Arc<dyn Host>,
}

impl Keys {
    /// The keys in these files. A file that is missing, empty or not as it must be admits nobody.
    #[must_use]
    pub fn new(
        signers: PathBuf,
        revoked_keys: Option<PathBuf>,
        roles: PathBuf,
        host: Arc<dyn Host>,
    ) -> Self {
        let paths = [signers.clone(), roles.clone()].into_iter();
        let paths = paths.chain(revoked_keys.clone()).collect();
        let read = move || {
            let mut problems = Vec::new();
            let signers = Signers::load(&signers, revoked_keys.as_deref());
            let signers = signers.unwrap_or_else(|error| nobody(&error, &mut problems));
            let roles = Roles::load(&roles);
            let roles = roles.unwrap_or_else(|error| nobody(&error, &mut problems));
            Ok::<_, Infallible>(Known {
                signers,
                roles,
                problems,
            })
        };
        let files = match Reloaded::new(paths, read) {
            Ok(files) => files,
            Err(never) => match never {},
        };
        Self { files, host }
    }

    /// What the files say now.
    #[must_use]
    pub fn current(&self) -> Arc<Known> {
        self.files.current()
    }

    /// Reads the files again with the next call.
    pub fn forget(&self) {
        self.files.forget();
    }
}

/// Nothing is taken out of a file that is not understood whole: it may be the line that withdraws
/// somebody.
fn nobody<T: Default>(error: &dyn Error, problems: &mut Vec<String>) -> T {
    let problem = Failure::caused_by(FailureKind::Configuration, "nobody is admitted", error);
    tracing::error!(%problem, "signers or roles cannot be used");
    problems.push(problem.to_string());
    T::default()
}

impl Attesters for Keys {
    fn check(&self, attested: &[u8], signature: &str) -> Result<(), Failure> {
        let known = self.current();
        let now = self.host.now();
        let signed = known
            .signers
            .verify(ATTESTATION_NAMESPACE, attested, signature, now);
        signed.map(drop).map_err(|refusal| {
            Failure::caused_by(
                FailureKind::NotAllowed,
                "the release's attestation does not count here",
                &refusal,
            )
            .next("have the release attested by a key that the node's allowed_signers names for it")
        })
    }
}
