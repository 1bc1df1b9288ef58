use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::health::{Health, Http, HttpSettings};

use super::*;

fn http(public_url: &str) -> Http {
    patient(public_url, Duration::from_secs(5))
}

fn patient(public_url: &str, timeout: Duration) -> Http {
    Http::new(HttpSettings {
        public_url: public_url.parse().unwrap(),
        health_path: "/health".into(),
        ready_path: Some("/readyz".into()),
        metrics_path: None,
        requests_metric: None,
        timeout,
    })
    .unwrap()
}

/// Answers every connection with this head, through TLS if there is a certificate for it.
async fn listen(head: &'static str, tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = format!("{head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let mut buffer = [0; 1024];
            match &tls {
                // A client that takes offence at the certificate is gone.
                Some(tls) => drop(tls.accept(stream).await),
                None => {
                    let _ = stream.read(&mut buffer).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        }
    });
    port
}

fn self_signed() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

#[tokio::test]
async fn the_nodes_own_site_leaves_nothing_to_say() {
    let port = listen("HTTP/1.1 200 OK\r\nX-Togather-Slot: blue", None).await;
    let reach = http(&format!("http://127.0.0.1:{port}"))
        .reach(Some(Slot::Blue))
        .await;
    assert!(
        reach.unproven.is_none() && reach.doubts.is_empty(),
        "{reach:?}"
    );
}

#[tokio::test]
async fn somebody_elses_site_is_told_apart_from_an_app_that_is_away() {
    for (head, live, is_told) in [
        ("HTTP/1.1 200 OK", Some(Slot::Blue), true),
        ("HTTP/1.1 502 Bad Gateway", Some(Slot::Blue), false),
        ("HTTP/1.1 503 Service Unavailable", None, false),
        ("HTTP/1.1 308 Permanent Redirect", Some(Slot::Blue), true),
        ("HTTP/1.1 308 Permanent Redirect", None, true),
        (
            "HTTP/1.1 308 Permanent Redirect\r\nX-Togather-Slot: blue",
            Some(Slot::Blue),
            false,
        ),
    ] {
        let port = listen(head, None).await;
        let reach = http(&format!("http://127.0.0.1:{port}")).reach(live).await;
        assert_eq!(reach.unproven.is_some(), is_told, "{head}: {reach:?}");
    }
}

#[tokio::test]
async fn an_app_that_hangs_keeps_no_version_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let public_url = format!("http://{}", listener.local_addr().unwrap());
    let http = patient(&public_url, Duration::from_millis(100));
    let held = async { listener.accept().await.unwrap() };
    let (reach, _held) = tokio::join!(http.reach(Some(Slot::Blue)), held);
    assert!(reach.unproven.is_none(), "{reach:?}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told_as_such() {
    let port = listen("", Some(self_signed())).await;
    let reach = http(&format!("https://localhost:{port}")).reach(None).await;
    let told = reach.unproven.unwrap();
    assert!(told.what.contains("is not valid"), "{told:?}");
    assert!(told.next[0].contains("ports 80 and 443"), "{told:?}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_and_a_port_where_nobody_listens_are_two_things() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    // Names below `invalid` never resolve.
    let reach = http(&format!("https://events.invalid:{port}"))
        .reach(Some(Slot::Blue))
        .await;
    let told = reach.unproven.unwrap();
    assert!(
        told.what
            .contains("nothing answers for https://events.invalid"),
        "{told:?}"
    );
    assert_eq!(reach.doubts.len(), 1);
    assert!(reach.doubts[0].starts_with("events.invalid (`proxy.public_url`) does not resolve"));
    assert!(reach.doubts[0].contains("A or AAAA record"));
}
