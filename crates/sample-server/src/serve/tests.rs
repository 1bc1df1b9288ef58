//! A server without a database, asked over real connections.

use std::time::Instant;

use axum::{
    body::Body,
    http::{Request, StatusCode},
    response::Response,
};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;

/// A port where nothing listens: connections are refused at once.
const NO_DATABASE: &str = "postgres://nobody@127.0.0.1:1/none";

struct Server {
    address: SocketAddr,
    client: Client<HttpConnector, Body>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let settings = Settings::read(|key| {
            let given = variables.iter().find(|(name, _)| *name == key);
            // Most tests are not about the limit.
            let default = match key {
                "DATABASE_URL" => Some(NO_DATABASE),
                "RATE_LIMIT_PUBLIC" => Some("0"),
                _ => None,
            };
            given
                .map(|(_, value)| *value)
                .or(default)
                .map(str::to_owned)
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            let database = settings.pool();
            run(listener, &settings, database, stop).await
        });
        Self {
            address,
            client: Client::builder(TokioExecutor::new()).build_http(),
            stop: Some(stop),
            running,
        }
    }

    /// Asks; the future may outlive this handle.
    fn get(&self, path: &str) -> impl Future<Output = Response> + Send + use<> {
        self.get_from(path, None)
    }

    /// Asks as a proxy does on behalf of this client.
    fn get_from(
        &self,
        path: &str,
        client: Option<&str>,
    ) -> impl Future<Output = Response> + Send + use<> {
        let mut request = Request::get(format!("http://{}{path}", self.address));
        if let Some(client) = client {
            request = request.header("x-forwarded-for", client);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = self.client.request(request);
        async { answer.await.unwrap().map(Body::new) }
    }

    async fn json(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.get(path).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn text(&self, path: &str) -> String {
        let body = self.get(path).await.into_body().collect().await;
        String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn ask_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

#[tokio::test]
async fn without_a_database_it_answers_and_says_that_it_is_not_healthy() {
    let server = Server::start(&[
        ("APP_VERSION", "1.2.3"),
        ("APP_COMMIT", "0123abc"),
        ("DEPLOYMENT_SLOT", "green"),
    ])
    .await;
    let (status, health) = server.json("/health").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health["status"], "unhealthy");
    assert_eq!(health["version"], "1.2.3");
    assert_eq!(health["git_commit"], "0123abc");
    assert_eq!(health["slot"], "green");
    assert_eq!(health["checks"]["database"]["status"], "fail");
    assert_eq!(health["checks"]["migrations"]["status"], "fail");
    assert_eq!(health["checks"]["http_endpoint"]["status"], "pass");
    assert!(health["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_request_that_needs_the_database_is_told_to_come_back() {
    let server = Server::start(&[]).await;
    let (status, problem) = server.json("/api/v1/events").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(problem["detail"].as_str().unwrap().contains("try again"));
}

#[tokio::test]
async fn the_version_says_that_this_is_a_stand_in() {
    let server = Server::start(&[("FAULT", "wrong-commit"), ("APP_COMMIT", "0123abc")]).await;
    let (status, version) = server.json("/version").await;
    assert_eq!(status, StatusCode::OK);
    assert!(version["server"].as_str().unwrap().contains("stand-in"));
    assert_ne!(version["git_commit"], "0123abc");
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let server = Server::start(&[]).await;
    for (path, expected) in [
        ("/nothing", 404),
        ("/api/v1/events/none", 404),
        ("/slow", 400),
        ("/slow?ms=20001", 400),
        ("/api/v1/events?limit=many", 400),
        ("/api/v1/events?limit=0", 422),
        ("/api/v1/events?colour=blue", 400),
    ] {
        let (status, problem) = server.json(path).await;
        assert_eq!(status, expected, "{path}");
        assert_eq!(problem["status"], expected, "{path}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_whatever_the_client_asks_for() {
    let server = Server::start(&[]).await;
    server.get("/slow?ms=0").await;
    assert_eq!(server.get("/silent").await.status(), StatusCode::OK);
    server.get("/secret/1").await;
    server.get("/secret/2").await;
    let text = server.text("/metrics").await;
    for line in [
        r#"togather_http_requests_total{method="GET",path="/slow",status="200"} 1"#,
        r#"togather_http_requests_total{method="GET",path="other",status="404"} 2"#,
        r#"togather_http_requests_total{method="GET",path="/silent",status="0"} 1"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test]
async fn errors_in_the_soak_begin_with_the_public() {
    let server = Server::start(&[("FAULT", "silent-errors-in-soak"), ("FAULT_AFTER", "0")]).await;
    // Its keeper asks as often as they like.
    for path in ["/version", "/slow?ms=0", "/slow?ms=0"] {
        assert_eq!(server.get(path).await.status(), StatusCode::OK);
    }
    let visitor = Some("192.0.2.1");
    let first = server.get_from("/slow?ms=0", visitor).await;
    assert_eq!(first.status(), StatusCode::OK);
    let failed = server.get_from("/slow?ms=0", visitor).await;
    assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(server.get("/version").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back_and_readiness_is_not_limited() {
    let server = Server::start(&[
        ("RATE_LIMIT_PUBLIC", "3"),
        ("TRUSTED_PROXY_CIDRS", "127.0.0.1/32"),
    ])
    .await;
    let (alice, bob) = (Some("192.0.2.1"), Some("192.0.2.2"));
    for path in ["/version", "/metrics", "/"] {
        assert_eq!(server.get_from(path, alice).await.status(), StatusCode::OK);
    }
    for path in ["/version", "/metrics", "/", "/health", "/nothing"] {
        let refused = server.get_from(path, alice).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(refused.headers()["retry-after"], "60");
        let body = refused.into_body().collect().await.unwrap().to_bytes();
        assert!(body.is_empty(), "nothing else is said");
    }
    assert_eq!(server.get_from("/", bob).await.status(), StatusCode::OK);
    let alive = server.get_from("/healthz", alice).await;
    assert_eq!(alive.status(), StatusCode::OK);
    let (status, ready) = server.json("/readyz").await;
    assert_eq!(
        (status, ready["status"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("not_ready"))
    );

    let (_, asked) = server.json("/stand-in/requests").await;
    assert_eq!(asked["clients"]["192.0.2.1"]["asked"], 8);
    assert_eq!(asked["clients"]["192.0.2.1"]["refused"], 5);
    assert_eq!(asked["clients"]["192.0.2.2"]["asked"], 1);
    assert_eq!(asked["all"]["most_in_a_minute"], 9, "{asked:#}");
    assert!(
        server
            .text("/metrics")
            .await
            .contains(r#"path="/",status="429"} 1"#),
        "those turned away are counted"
    );
}

#[tokio::test]
async fn a_router_that_was_not_built_answers_404_to_everything() {
    let server = Server::start(&[("FAULT", "no-routes")]).await;
    for path in [
        "/health", "/healthz", "/readyz", "/version", "/metrics", "/",
    ] {
        let (status, _) = server.json(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn pages_are_there_unless_the_release_lacks_one() {
    for (fault, openapi) in [
        ("", StatusCode::OK),
        ("missing-page", StatusCode::NOT_FOUND),
    ] {
        let server = Server::start(&[("FAULT", fault)]).await;
        assert!(server.text("/").await.contains("Togather"));
        let (status, _) = server.json("/api/v1/openapi.json").await;
        assert_eq!(status, openapi, "{fault}");
    }
}

#[tokio::test]
async fn a_job_under_way_is_finished_after_the_requests() {
    let mut server = Server::start(&[("FAULT", "slow-stop"), ("SLOW_STOP", "1")]).await;
    assert!(server.text("/").await.contains("Togather"));
    let begun = Instant::now();
    server.ask_to_stop();
    server.running.await.unwrap().unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn without_the_tables_of_the_job_queue_it_does_not_start() {
    let settings = Settings::read(|key| (key == "DATABASE_URL").then(|| NO_DATABASE.to_owned()));
    let error = serve(settings.unwrap()).await.unwrap_err();
    assert!(
        error.to_string().contains("job workers did not start"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stop_finishes_requests_ends_streams_and_accepts_nothing_new() {
    let mut server = Server::start(&[("DEPLOYMENT_SLOT", "blue")]).await;
    let begun = Instant::now();
    let stream = server.get("/api/v1/events/stream").await;
    let mut stream = stream.into_body();
    let hello = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(hello.starts_with(b"event: hello"), "{hello:?}");
    let slow = tokio::spawn(server.get("/slow?ms=1000"));
    under_way(&server).await;

    server.ask_to_stop();
    assert!(stream.frame().await.is_none(), "the stream has ended");
    assert!(begun.elapsed() < Duration::from_millis(1000), "promptly");
    let refused = tokio::net::TcpStream::connect(server.address).await;
    assert!(refused.is_err(), "nobody listens any more");
    assert_eq!(slow.await.unwrap().status(), StatusCode::OK);
    server.running.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Returns once the server has taken up a request besides the one that asks.
async fn under_way(server: &Server) {
    let seen = async {
        while !server
            .text("/metrics")
            .await
            .contains("togather_http_requests_in_flight 2\n")
        {
            tokio::task::yield_now().await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(5), seen).await;
    seen.expect("the server takes up the request");
}
