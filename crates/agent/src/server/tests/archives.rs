//! Image archives: taken whole or not at all.

use togather_model::Digest;
use togather_proto::v1::load_image_request::Part;

use super::*;

const ARCHIVE: &[u8] = b"what docker save wrote";

/// Streams an archive that was announced as this, and sees what came of it.
async fn send(digest: Digest, bytes: usize, chunks: &[&[u8]]) -> (Result<(), String>, Bench) {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let body = Body::LoadImage(v1::LoadImage {
        digest: digest.to_string(),
        bytes: bytes as u64,
        lease: Some(bench.lease(&alice, Ulid::generate()).await),
    });
    let parts = [Part::Command(bench.signed(&alice, body))].into_iter();
    let chunks = chunks
        .iter()
        .map(|chunk| Part::Chunk(chunk.to_vec().into()));
    let parts: Vec<_> = parts
        .chain(chunks)
        .map(|part| v1::LoadImageRequest { part: Some(part) })
        .collect();
    let mut client = bench.client(&alice).deployments;
    let answer = client.load_image(tokio_stream::iter(parts)).await;
    (
        answer.map(drop).map_err(|status| failure(status).what),
        bench,
    )
}

fn leftovers(bench: &Bench) -> usize {
    let entries = std::fs::read_dir(bench.folder.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("incoming-"))
        .count()
}

#[tokio::test]
async fn an_archive_that_is_as_announced_is_handed_to_docker() {
    let (head, tail) = ARCHIVE.split_at(5);
    let (answer, bench) = send(Digest::of(ARCHIVE), ARCHIVE.len(), &[head, tail]).await;
    assert_eq!(answer, Ok(()));
    assert!(bench.world.was_called("containers.load"));
    assert_eq!(leftovers(&bench), 0);
}

#[tokio::test]
async fn anything_else_leaves_nothing_behind() {
    let right = Digest::of(ARCHIVE);
    let length = ARCHIVE.len();
    for (digest, bytes, sent, why) in [
        (Digest::of(b"another"), length, ARCHIVE, "not sha256:"),
        (right, length + 1, ARCHIVE, "broke off after"),
        (right, length - 1, ARCHIVE, "longer than"),
        (right, usize::MAX >> 1, ARCHIVE, "at most"),
        (right, length, b"".as_slice(), "broke off after 0"),
    ] {
        let (answer, bench) = send(digest, bytes, &[sent]).await;
        let told = answer.unwrap_err();
        assert!(told.contains(why), "expected `{why}`: {told}");
        assert!(!bench.world.was_called("containers.load"));
        assert_eq!(leftovers(&bench), 0);
    }
}

#[tokio::test]
async fn leftovers_of_an_interrupted_agent_are_removed_at_its_start() {
    let mut bench = Bench::start().await;
    std::fs::write(bench.path("incoming-x"), "half an archive").unwrap();
    bench.restart().await;
    assert_eq!(leftovers(&bench), 0);
}
