//! What listens on the slots' ports: each answers with its name.

use std::convert::Infallible;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use togather_model::Slot;
use tokio::{net::TcpListener, task::JoinSet};

pub(crate) struct Slots {
    serving: JoinSet<()>,
}

impl Slots {
    pub(crate) async fn listen() -> Self {
        let mut serving = JoinSet::new();
        for slot in Slot::ALL {
            let listener = TcpListener::bind(("127.0.0.1", slot.port())).await;
            let listener = listener.unwrap_or_else(|e| panic!("port {}: {e}", slot.port()));
            serving.spawn(serve(listener, slot));
        }
        Self { serving }
    }

    /// Until the ports are free again.
    pub(crate) async fn close(mut self) {
        self.serving.shutdown().await;
    }
}

async fn serve(listener: TcpListener, slot: Slot) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let answer = service_fn(move |_| async move {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(slot.to_string()))))
        });
        connections.spawn(async move {
            // Caddy closes it.
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await
                .ok();
        });
    }
}
