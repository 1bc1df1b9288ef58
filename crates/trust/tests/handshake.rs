//! Real handshakes, in memory: who is let in, and who is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in tests, a panic is the report"
)]

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use secrecy::ExposeSecret;
use togather_trust::tls::{
    Authority, Identity, Revoked, client_config, node_server_name, operator_name, serial_number,
    server_config,
};

const NODE: &str = "01K8XJ4T0V9Q2M5N7P3R6S8W1Y";

/// A fleet's authority with one node and one operator.
struct Fleet {
    root: Identity,
    authority: Authority,
    node: Identity,
    alice: Identity,
}

impl Fleet {
    fn new() -> Self {
        let now = Timestamp::now();
        let root = Authority::create("test", now).unwrap();
        let authority = Authority::open(&root).unwrap();
        let node = authority.issue_node(NODE, now).unwrap();
        let alice = authority
            .issue_operator(&"alice".parse().unwrap(), now)
            .unwrap();
        Self {
            root,
            authority,
            node,
            alice,
        }
    }

    fn server(&self, list: Option<&str>) -> ServerConfig {
        let key = self.node.key.expose_secret();
        server_config(&self.node.certificate, key, &self.root.certificate, list).unwrap()
    }

    fn client(&self, identity: &Identity) -> ClientConfig {
        let key = identity.key.expose_secret();
        client_config(&self.root.certificate, &identity.certificate, key).unwrap()
    }
}

/// What both ends agreed on, or what the first of them objected to.
fn shake(
    client: ClientConfig,
    name: ServerName<'static>,
    server: ServerConfig,
) -> Result<ServerConnection, String> {
    let mut client =
        ClientConnection::new(Arc::new(client), name).map_err(|error| error.to_string())?;
    let mut server = ServerConnection::new(Arc::new(server)).map_err(|error| error.to_string())?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut incoming = wire.as_slice();
        while !incoming.is_empty() {
            server.read_tls(&mut incoming).unwrap();
            server
                .process_new_packets()
                .map_err(|error| format!("server: {error}"))?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut incoming = wire.as_slice();
        while !incoming.is_empty() {
            client.read_tls(&mut incoming).unwrap();
            client
                .process_new_packets()
                .map_err(|error| format!("client: {error}"))?;
        }
    }
    Ok(server)
}

fn node() -> ServerName<'static> {
    node_server_name(NODE).unwrap()
}

#[track_caller]
fn assert_refused(outcome: Result<ServerConnection, String>, by: &str, why: &str) {
    let error = outcome.expect_err("the handshake succeeded");
    assert!(error.starts_with(by) && error.contains(why), "{error}");
}

#[test]
fn an_operator_and_a_node_of_one_fleet_meet_over_tls_1_3() {
    let fleet = Fleet::new();
    let connection = shake(fleet.client(&fleet.alice), node(), fleet.server(None)).unwrap();
    assert_eq!(
        connection.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    assert_eq!(connection.alpn_protocol(), Some(b"h2".as_slice()));
    let certificate = &connection.peer_certificates().unwrap()[0];
    assert_eq!(operator_name(certificate).unwrap().as_str(), "alice");
}

#[test]
fn tls_1_2_is_refused_in_both_directions() {
    let fleet = Fleet::new();
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&fleet.root)).unwrap();
    let old_client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate(&fleet.alice)], key(&fleet.alice))
        .unwrap();
    assert_refused(
        shake(old_client, node(), fleet.server(None)),
        "server",
        "Tls12NotOfferedOrEnabled",
    );

    let old_server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate(&fleet.node)], key(&fleet.node))
        .unwrap();
    assert_refused(
        shake(fleet.client(&fleet.alice), node(), old_server),
        "server",
        "Tls12NotOfferedOrEnabled",
    );
}

#[test]
fn no_client_certificate_is_refused() {
    let fleet = Fleet::new();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&fleet.root)).unwrap();
    let nobody = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert_refused(
        shake(nobody, node(), fleet.server(None)),
        "server",
        "peer sent no certificates",
    );
}

#[test]
fn another_authority_is_refused_at_both_ends() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let key = other.alice.key.expose_secret();
    let intruder = client_config(&fleet.root.certificate, &other.alice.certificate, key).unwrap();
    assert_refused(
        shake(intruder, node(), fleet.server(None)),
        "server",
        "invalid peer certificate",
    );
    let visitor = fleet.client(&fleet.alice);
    assert_refused(
        shake(visitor, node(), other.server(None)),
        "client",
        "invalid peer certificate",
    );
}

#[test]
fn another_node_is_not_taken_for_the_one_that_was_called() {
    let fleet = Fleet::new();
    let other = node_server_name("01K8XJ4T0V9Q2M5N7P3R6S8W1Z").unwrap();
    assert_refused(
        shake(fleet.client(&fleet.alice), other, fleet.server(None)),
        "client",
        "not valid for name",
    );
}

#[test]
fn certificates_out_of_time_are_refused() {
    let fleet = Fleet::new();
    let alice = "alice".parse().unwrap();
    let day = SignedDuration::from_hours(24);
    let expired = fleet
        .authority
        .issue_operator(&alice, Timestamp::now() - 731 * day)
        .unwrap();
    assert_refused(
        shake(fleet.client(&expired), node(), fleet.server(None)),
        "server",
        "expired",
    );
    let early = fleet
        .authority
        .issue_operator(&alice, Timestamp::now() + day)
        .unwrap();
    assert_refused(
        shake(fleet.client(&early), node(), fleet.server(None)),
        "server",
        "not valid yet",
    );
    // A clock that is a little behind does no harm.
    let fresh = fleet
        .authority
        .issue_operator(&alice, Timestamp::now() + day / 48)
        .unwrap();
    assert!(shake(fleet.client(&fresh), node(), fleet.server(None)).is_ok());
}

#[test]
fn a_nodes_certificate_does_not_call_and_an_operators_does_not_serve() {
    let fleet = Fleet::new();
    let refused = shake(fleet.client(&fleet.node), node(), fleet.server(None));
    assert_refused(refused, "server", "does not allow");
    assert_eq!(
        operator_name(&certificate(&fleet.node)).unwrap_err().code(),
        "wrong_certificate"
    );
    assert_eq!(
        operator_name(&certificate(&fleet.root)).unwrap_err().code(),
        "wrong_certificate"
    );
    assert_eq!(
        operator_name(&CertificateDer::from_slice(b"0"))
            .unwrap_err()
            .code(),
        "wrong_certificate"
    );

    let key = fleet.alice.key.expose_secret();
    let posing =
        server_config(&fleet.alice.certificate, key, &fleet.root.certificate, None).unwrap();
    let name = ServerName::try_from("alice.operators.togather").unwrap();
    assert_refused(
        shake(fleet.client(&fleet.alice), name, posing),
        "client",
        "does not allow",
    );
}

#[test]
fn a_revoked_certificate_is_refused_and_the_others_are_not() {
    let fleet = Fleet::new();
    let now = Timestamp::now();
    let bob = fleet
        .authority
        .issue_operator(&"bob".parse().unwrap(), now)
        .unwrap();
    let revoked = Revoked {
        serial: serial_number(&bob.certificate).unwrap(),
        at: now,
    };
    let empty = fleet.authority.revocation_list(&[], 1, now).unwrap();
    let list = fleet.authority.revocation_list(&[revoked], 2, now).unwrap();

    assert!(shake(fleet.client(&bob), node(), fleet.server(Some(&empty))).is_ok());
    assert_refused(
        shake(fleet.client(&bob), node(), fleet.server(Some(&list))),
        "server",
        "Revoked",
    );
    assert!(
        shake(
            fleet.client(&fleet.alice),
            node(),
            fleet.server(Some(&list))
        )
        .is_ok()
    );
}

#[test]
fn another_authoritys_revocation_list_lets_nobody_in() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let foreign = other
        .authority
        .revocation_list(&[], 1, Timestamp::now())
        .unwrap();
    assert_refused(
        shake(
            fleet.client(&fleet.alice),
            node(),
            fleet.server(Some(&foreign)),
        ),
        "server",
        "revocation list",
    );
}

#[test]
fn an_expired_authority_issues_nothing_and_nothing_outlives_it() {
    let then = Timestamp::now() - SignedDuration::from_hours(24 * 3649);
    let root = Authority::create("old", then).unwrap();
    let authority = Authority::open(&root).unwrap();
    let alice = "alice".parse().unwrap();
    assert!(authority.issue_operator(&alice, Timestamp::now()).is_ok());
    let later = Timestamp::now() + SignedDuration::from_hours(48);
    let error = authority
        .issue_operator(&alice, later)
        .unwrap_err()
        .to_string();
    assert!(error.contains("expired"), "{error}");
}

#[test]
fn what_cannot_be_used_is_named() {
    let fleet = Fleet::new();
    let (certificate, key, root) = (
        &fleet.node.certificate,
        fleet.node.key.expose_secret(),
        &fleet.root.certificate,
    );
    for (outcome, word) in [
        (server_config("", key, root, None), "certificate"),
        (server_config(certificate, "", root, None), "key"),
        (server_config(certificate, key, "", None), "authority"),
        (
            server_config(certificate, key, root, Some("")),
            "revocation list",
        ),
        (
            server_config(certificate, fleet.alice.key.expose_secret(), root, None),
            "key",
        ),
    ] {
        let error = outcome
            .expect_err("accepted what cannot be used")
            .to_string();
        assert!(error.contains(word), "{error}");
    }
    let mixed = Identity {
        certificate: root.clone(),
        key: fleet.node.key.clone(),
    };
    assert!(Authority::open(&mixed).is_err());
    assert!(node_server_name("../evil").is_err());
}

#[test]
fn keys_are_written_for_their_owner_alone_and_never_over_others() {
    use std::os::unix::fs::PermissionsExt;

    let fleet = Fleet::new();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (
        folder.path().join("node.pem"),
        folder.path().join("node.key"),
    );
    fleet.node.write(&certificate, &key).unwrap();
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(fleet.alice.write(&certificate, &key).is_err());
    assert_eq!(
        std::fs::read_to_string(&key).unwrap(),
        fleet.node.key.expose_secret()
    );
}

fn certificate(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()
}

fn key(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(identity.key.expose_secret().as_bytes()).unwrap()
}
