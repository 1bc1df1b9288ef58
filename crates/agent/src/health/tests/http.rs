//! The agent's own HTTP, asked of a listener on this machine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use togather_model::{Page, Slot, Strategy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::health::{Asker, Expectation, Health, Http, HttpSettings, Place, Proof};

/// An app behind a proxy that turns the first questions for each path away.
struct Busy {
    address: String,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Busy {
    async fn listen(turned_away: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<BTreeMap<String, usize>>>::default();
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, &counted, turned_away).await;
            }
        });
        Self { address, asked }
    }

    fn http(&self) -> Http {
        Http::new(HttpSettings {
            public_url: self.address.parse().unwrap(),
            health_path: "/health".into(),
            ready_path: None,
            metrics_path: None,
            requests_metric: None,
            timeout: Duration::from_secs(5),
        })
        .unwrap()
    }

    fn asker(&self) -> Asker {
        Asker::new(Arc::new(self.http()))
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().get(path).copied().unwrap_or(0)
    }
}

async fn answer(
    mut stream: TcpStream,
    counted: &Mutex<BTreeMap<String, usize>>,
    turned_away: usize,
) {
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..read]);
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let times = {
        let mut counted = counted.lock().unwrap();
        let times = counted.entry(path).or_default();
        *times += 1;
        *times
    };
    let slot = "X-Togather-Slot: green\r\nConnection: close\r\n";
    let text = match times <= turned_away {
        true => format!(
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n{slot}\r\n"
        ),
        false => {
            format!("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n{slot}\r\n{{\"status\":\"healthy\"}}")
        }
    };
    stream.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn too_many_requests_is_read_with_the_time_to_come_back() {
    let app = Busy::listen(usize::MAX).await;
    let asker = app.asker();
    let answer = asker.verdict(Place::Public).await.unwrap();
    assert!(answer.is_later());
    assert_eq!(answer.retry_after, Some(Duration::from_secs(1)));
    assert_eq!(answer.slot, Some(Slot::Green));
    assert_eq!(answer.verdict(), None, "that says nothing about the app");
}

#[tokio::test]
async fn a_release_that_is_asked_too_often_is_waited_for_and_not_given_up() {
    let app = Busy::listen(1).await;
    let asker = app.asker();
    let strategy = Strategy {
        health_successes: 1,
        ..Strategy::default()
    };
    let proof = Proof {
        asker: &asker,
        strategy: &strategy,
        place: Place::Public,
        containers: None,
        slot: Slot::Green,
        git_commit: "",
        judge: &|answer| match answer.is_healthy() {
            true => Ok(()),
            false => Err(answer.why()),
        },
    };
    let begun = asker.now();
    assert_eq!(
        proof.carry_out().await.unwrap(),
        "healthy 1 times in a row, asked 2 times"
    );
    assert!(asker.now().duration_since(begun) >= Duration::from_secs(1));
    assert_eq!(
        app.asked("/health"),
        2,
        "once, and once more when it was time"
    );

    let pages = [Page {
        path: "/a?b=c".into(),
        status: 200,
        contains: Some("healthy".into()),
    }];
    let said = Mutex::new(Vec::new());
    let expectation = Expectation {
        asker: &asker,
        strategy: &strategy,
        place: Place::Public,
        containers: None,
        slot: Slot::Green,
        pages: &pages,
        say: &|told| said.lock().unwrap().push(told),
    };
    let told = expectation.carry_out().await.unwrap();
    assert_eq!(told, "1 of 1 pages as expected");
    assert_eq!(app.asked("/a?b=c"), 2);
    let said = said.into_inner().unwrap();
    assert!(
        said[0].contains("to be asked for later (HTTP 429), in 1 s"),
        "{said:?}"
    );
}

#[tokio::test]
async fn nothing_that_listens_is_no_answer_that_counts() {
    let app = Busy::listen(0).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let asker = Busy { address, ..app }.asker();
    let before = asker.left();
    let error = asker.page(Place::Public, "/").await.unwrap_err();
    assert!(error.is_unheard(), "{error}");
    assert_eq!(asker.left(), before);
}

#[tokio::test]
async fn a_query_is_asked_for_as_one() {
    let app = Busy::listen(0).await;
    let received = app.http().page(Place::Public, "/x?q=a%20b").await.unwrap();
    assert_eq!((received.http_status, app.asked("/x?q=a%20b")), (200, 1));
}
