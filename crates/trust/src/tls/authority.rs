//! The fleet's own certificate authority: it makes the certificates of nodes and operators, and
//! the list of those withdrawn.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    TlsError,
    peer::{node_host, operator_host},
};
use crate::{command::later, name::OperatorName, secret_file};

/// How long an authority is valid: ten years.
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// How long a node's or an operator's certificate is valid: two years.
const CERTIFICATE_LIFETIME: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);

/// Certificates are valid from a little earlier on: the other end's clock may be behind.
const HEAD_START: SignedDuration = SignedDuration::from_hours(1);

/// A certificate and its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key (PKCS #8).
    pub key: SecretString,
}

impl Identity {
    /// Writes both to new files; the key's can be read by its owner alone (mode 0600).
    ///
    /// # Errors
    /// If either file exists: both stay as they are.
    pub fn write(&self, certificate: &Path, key: &Path) -> Result<(), TlsError> {
        secret_file::write_new(key, self.key.expose_secret())?;
        if let Err(refused) = secret_file::write_new_public(certificate, &self.certificate) {
            // The key's file is ours, made a moment ago: without a certificate it helps nobody.
            let _ = std::fs::remove_file(key);
            return Err(refused.into());
        }
        Ok(())
    }
}

/// A certificate that was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number, as [`serial_number`] gives it.
    pub serial: Vec<u8>,
    /// When it was withdrawn.
    pub at: Timestamp,
}

/// The fleet's certificate authority, able to issue.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    expires_at: Timestamp,
}

impl Authority {
    /// Makes a new authority, valid for ten years. Keep its key where no node can read it.
    ///
    /// # Errors
    /// Only if the system has no randomness to give.
    pub fn create(fleet: &str, now: Timestamp) -> Result<Identity, TlsError> {
        let mut params = params(
            &format!("Togather Fleet {fleet} CA"),
            now,
            later(now, AUTHORITY_LIFETIME),
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = false;
        let make = |source| TlsError::Make {
            what: "certificate authority",
            source,
        };
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem().into(),
        })
    }

    /// Opens an authority made earlier.
    ///
    /// # Errors
    /// If certificate or key cannot be read, or do not belong together.
    pub fn open(identity: &Identity) -> Result<Self, TlsError> {
        let what = "certificate authority";
        let unreadable = |source| TlsError::Make { what, source };
        let key = KeyPair::from_pem(identity.key.expose_secret()).map_err(unreadable)?;
        let der = first_certificate(what, &identity.certificate)?;
        let certificate = parse(what, &der)?;
        if certificate.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(TlsError::Unusable {
                what,
                source: rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch),
            });
        }
        let expires_at = Timestamp::from_second(certificate.validity().not_after.timestamp())
            .unwrap_or(Timestamp::MAX);
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(unreadable)?;
        Ok(Self { issuer, expires_at })
    }

    /// Makes a node's certificate: good for serving under the node's id, for two years.
    ///
    /// # Errors
    /// If the id cannot stand in a certificate, or the authority has expired.
    pub fn issue_node(&self, node_id: &str, now: Timestamp) -> Result<Identity, TlsError> {
        self.issue(
            node_host(node_id)?,
            ExtendedKeyUsagePurpose::ServerAuth,
            now,
        )
    }

    /// Makes an operator's certificate: good for calling under the operator's name, for two years.
    ///
    /// # Errors
    /// If the authority has expired.
    pub fn issue_operator(
        &self,
        operator: &OperatorName,
        now: Timestamp,
    ) -> Result<Identity, TlsError> {
        self.issue(
            operator_host(operator),
            ExtendedKeyUsagePurpose::ClientAuth,
            now,
        )
    }

    fn issue(
        &self,
        host: String,
        usage: ExtendedKeyUsagePurpose,
        now: Timestamp,
    ) -> Result<Identity, TlsError> {
        if now >= self.expires_at {
            return Err(TlsError::AuthorityExpired {
                until: self.expires_at,
            });
        }
        let make = |source| TlsError::Make {
            what: "certificate",
            source,
        };
        let mut params = params(
            &host,
            now,
            later(now, CERTIFICATE_LIFETIME).min(self.expires_at),
        );
        params.subject_alt_names = vec![rcgen::SanType::DnsName(host.try_into().map_err(make)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem().into(),
        })
    }

    /// Makes the list of withdrawn certificates (PEM). `number` must grow with each list.
    ///
    /// # Errors
    /// If the authority may not sign lists.
    pub fn revocation_list(
        &self,
        revoked: &[Revoked],
        number: u64,
        now: Timestamp,
    ) -> Result<String, TlsError> {
        let entry = |revoked: &Revoked| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&revoked.serial),
            revocation_time: date(revoked.at),
            reason_code: Some(RevocationReason::Unspecified),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date(now),
            next_update: date(later(now, CERTIFICATE_LIFETIME)),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer)
            .and_then(|list| list.pem())
            .map_err(|source| TlsError::Make {
                what: "revocation list",
                source,
            })
    }
}

/// A certificate's serial number, by which it can be withdrawn.
///
/// # Errors
/// If the text is no certificate.
pub fn serial_number(certificate: &str) -> Result<Vec<u8>, TlsError> {
    let der = first_certificate("certificate", certificate)?;
    parse("certificate", &der).map(|certificate| certificate.raw_serial().to_vec())
}

fn params(common_name: &str, now: Timestamp, not_after: Timestamp) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = date(later(now, -HEAD_START));
    params.not_after = date(not_after);
    params.use_authority_key_identifier_extension = true;
    params
}

fn first_certificate(what: &'static str, text: &str) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_slice(text.as_bytes()).map_err(|source| TlsError::Pem { what, source })
}

fn parse<'a>(
    what: &'static str,
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, TlsError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| TlsError::Certificate { what })?;
    Ok(certificate)
}

/// The moment in rcgen's terms, in whole seconds.
fn date(moment: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(moment.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
