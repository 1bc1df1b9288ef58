//! Connections: strangers do not get one, and those who are slow or many do not keep others out.

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use togather_trust::tls::{Revoked, serial_number};
use tokio::time::{Instant, timeout};

use super::*;

fn served(client: &Client) -> impl Future<Output = Result<(), Status>> + use<> {
    let client = client.clone();
    async move {
        let answer = timeout(Duration::from_secs(3), client.ask(method::HISTORY)).await;
        answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("not served")))
    }
}

#[tokio::test]
async fn without_a_certificate_of_this_fleet_for_calling_there_is_no_connection() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let elsewhere = Authority::create("elsewhere", Timestamp::now()).unwrap();
    let elsewhere = Authority::open(&elsewhere).unwrap();
    let foreign = elsewhere.issue_operator(&"alice".parse().unwrap(), Timestamp::now());
    let node = bench.authority.issue_node(NODE, Timestamp::now());
    for identity in [foreign.unwrap(), node.unwrap()] {
        assert!(served(&bench.client_with(&identity)).await.is_err());
    }

    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(bench.root.certificate.as_bytes());
    roots.add(root.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let anonymous = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let anonymous = Client::new(bench.address, TlsConnector::from(Arc::new(anonymous)));
    assert!(served(&anonymous).await.is_err());

    assert!(served(&bench.client(&alice)).await.is_ok());
    assert!(
        bench.audited().await.is_empty(),
        "nothing got as far as a call"
    );
}

#[tokio::test]
async fn slow_handshakes_do_not_keep_others_out() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(bench.address).await.unwrap());
    }
    let begun = Instant::now();
    served(&bench.client(&alice)).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_client_with_many_calls_under_way_does_not_hold_up_another() {
    let bench = Bench::start().await;
    let (alice, bob) = (
        bench.admit("alice", Role::Admin),
        bench.admit("bob", Role::Viewer),
    );
    let client = bench.client(&alice);
    let flood = (0..500).map(|_| served(&client));
    let flood = tokio::spawn(futures::future::join_all(flood.collect::<Vec<_>>()));
    served(&bench.client(&bob)).await.unwrap();
    flood.await.unwrap();
}

#[tokio::test]
async fn a_certificate_withdrawn_loses_even_the_connection_it_has() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let bob = bench.admit("bob", Role::Admin);
    let (by_alice, by_bob) = (bench.client(&alice), bench.client(&bob));
    served(&by_alice).await.unwrap();
    let revoked = Revoked {
        serial: serial_number(&alice.certificate.certificate).unwrap(),
        at: Timestamp::now(),
    };
    let list = bench
        .authority
        .revocation_list(&[revoked], 2, Timestamp::now());
    std::fs::write(bench.path("revoked.crl"), list.unwrap()).unwrap();
    // Anybody's new connection has the list read; without one, the node looks by itself.
    served(&by_bob).await.unwrap();
    assert!(served(&by_alice).await.is_err());
    served(&by_bob).await.unwrap();
}
