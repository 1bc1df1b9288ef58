//! Who is at the other end: the names in certificates.

use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::TlsError;
use crate::{
    name::{Name, NameError, OperatorName},
    refusal::Refusal,
};

const NODES: &str = "nodes.togather";
const OPERATORS: &str = "operators.togather";

/// The name in a node's certificate: its id, in lower case, under `nodes.togather`.
pub(super) fn node_host(node_id: &str) -> Result<String, NameError> {
    let label: Name = node_id.to_ascii_lowercase().parse()?;
    Ok(format!("{label}.{NODES}"))
}

/// The name in an operator's certificate.
pub(super) fn operator_host(operator: &OperatorName) -> String {
    format!("{operator}.{OPERATORS}")
}

/// What a client asks a node's certificate to say, wherever the node may be reached.
///
/// # Errors
/// If the id cannot stand in a certificate.
pub fn node_server_name(node_id: &str) -> Result<ServerName<'static>, TlsError> {
    let host = node_host(node_id)?;
    ServerName::try_from(host).map_err(|_| TlsError::Certificate {
        what: "node's name",
    })
}

/// Whose certificate this is. It must be good for calling, and for nothing else, and name exactly
/// one operator. Whether it is genuine, current and not revoked, the handshake has checked.
///
/// # Errors
/// [`Refusal::WrongCertificate`].
pub fn operator_name(certificate: &CertificateDer<'_>) -> Result<OperatorName, Refusal> {
    let refused = |why| Refusal::WrongCertificate { why };
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| refused("it cannot be read"))?;
    let usage = certificate.extended_key_usage().ok().flatten();
    let usage = usage
        .ok_or_else(|| refused("it does not say what it may be used for"))?
        .value;
    if !usage.client_auth || usage.server_auth || usage.any {
        return Err(refused("it is not made for calling alone"));
    }
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.ok_or_else(|| refused("it names nobody"))?;
    let [GeneralName::DNSName(host)] = names.value.general_names.as_slice() else {
        return Err(refused("it does not name exactly one operator"));
    };
    host.strip_suffix(OPERATORS)
        .and_then(|rest| rest.strip_suffix('.'))
        .and_then(|label| label.parse().ok())
        .ok_or_else(|| refused("its name is not an operator's"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose as Usage, KeyPair};

    use super::*;

    fn named(hosts: &[&str], usages: &[Usage]) -> Result<String, &'static str> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.extended_key_usages = usages.to_vec();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        operator_name(certificate.der())
            .map(String::from)
            .map_err(|refusal| refusal.code())
    }

    #[test]
    fn a_certificate_names_exactly_one_operator_and_is_made_for_calling_alone() {
        let (alice, calls) = ("alice.operators.togather", [Usage::ClientAuth]);
        assert_eq!(named(&[alice], &calls), Ok("alice".to_owned()));
        for hosts in [
            &[][..],
            &[alice, "bob.operators.togather"],
            &[alice, alice],
            &[alice, "127.0.0.1"],
            &["alice.nodes.togather"],
            &["operators.togather"],
            &[".operators.togather"],
            &["aliceoperators.togather"],
            &["a.b.operators.togather"],
            &["Alice.operators.togather"],
            &["*.operators.togather"],
            &["alice.operators.togather.example"],
        ] {
            assert_eq!(named(hosts, &calls), Err("wrong_certificate"), "{hosts:?}");
        }
        for usages in [
            &[][..],
            &[Usage::ServerAuth],
            &[Usage::ClientAuth, Usage::ServerAuth],
            &[Usage::Any],
            &[Usage::ClientAuth, Usage::Any],
        ] {
            assert_eq!(
                named(&[alice], usages),
                Err("wrong_certificate"),
                "{usages:?}"
            );
        }
    }
}
