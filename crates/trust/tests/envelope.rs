//! What a signature promises: every altered byte, every wrong key, time or purpose is refused, and
//! no input makes the check panic.
#![allow(clippy::unwrap_used, reason = "in tests, a panic is the report")]

use std::sync::LazyLock;

use jiff::Timestamp;
use proptest::prelude::*;
use togather_trust::{
    ATTESTATION_NAMESPACE, NAMESPACE, Signer, Signers,
    signers::{Entry, MAX_SIGNATURE, RevokedKeys},
    signing::generate_identity,
};

fn signer(name: &str) -> Signer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    generate_identity(&path, name).unwrap();
    Signer::open(&path, None, None).unwrap()
}

/// One key for all cases of a property: making one costs more than the checks.
static ALICE: LazyLock<Signer> = LazyLock::new(|| signer("alice"));

fn entry(signer: &Signer) -> Entry {
    Entry::new(
        "alice".parse().unwrap(),
        &[NAMESPACE],
        signer.public_key().clone(),
    )
}

fn signers(entry: &Entry) -> Signers {
    Signers::parse(&entry.to_string()).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-05-01T12:00:00Z")
}

fn outcome(signers: &Signers, payload: &[u8], signature: &str) -> &'static str {
    match signers.verify(NAMESPACE, payload, signature, now()) {
        Ok(principal) => {
            assert_eq!(principal.operator.as_str(), "alice");
            "accepted"
        }
        Err(refusal) => refusal.code(),
    }
}

#[test]
fn a_known_key_is_accepted_and_named() {
    let alice = signer("alice");
    let principal = signers(&entry(&alice))
        .verify(
            NAMESPACE,
            b"deploy",
            &alice.sign(NAMESPACE, b"deploy").unwrap(),
            now(),
        )
        .unwrap();
    assert_eq!(principal.operator.as_str(), "alice");
    assert!(principal.key_fingerprint.starts_with("SHA256:"));
}

#[test]
fn every_flipped_bit_of_the_payload_is_refused() {
    let alice = signer("alice");
    let known = signers(&entry(&alice));
    let mut payload = b"deploy 1.2.3".to_vec();
    let signature = alice.sign(NAMESPACE, &payload).unwrap();
    for at in 0..payload.len() {
        for bit in 0..8 {
            payload[at] ^= 1 << bit;
            assert_eq!(outcome(&known, &payload, &signature), "bad_signature");
            payload[at] ^= 1 << bit;
        }
    }
    assert_eq!(outcome(&known, &payload, &signature), "accepted");
}

#[test]
fn every_flipped_byte_of_the_signature_is_refused() {
    let alice = signer("alice");
    let known = signers(&entry(&alice));
    let signature = alice.sign(NAMESPACE, b"deploy").unwrap();
    for at in 0..signature.len() {
        // Two bits of each byte, other ones from byte to byte; bit 7 would not be text any more.
        for bit in [at % 7, (at + 3) % 7] {
            let mut bytes = signature.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let flipped = String::from_utf8(bytes).unwrap();
            assert_ne!(
                outcome(&known, b"deploy", &flipped),
                "accepted",
                "byte {at}, bit {bit}"
            );
        }
    }
}

#[test]
fn a_signature_has_one_spelling() {
    let alice = signer("alice");
    let known = signers(&entry(&alice));
    let signature = alice.sign(NAMESPACE, b"deploy").unwrap();
    for respelt in [
        signature.replace('\n', "\r\n"),
        format!("{signature}\n"),
        format!("{signature} "),
        format!("\n{signature}"),
        format!("note\n{signature}"),
        format!("{signature}{signature}"),
    ] {
        assert_eq!(
            outcome(&known, b"deploy", &respelt),
            "malformed",
            "{respelt:?}"
        );
    }
    assert_eq!(outcome(&known, b"deploy", signature.trim_end()), "accepted");
}

#[test]
fn the_version_which_no_signature_covers_must_be_1() {
    let alice = signer("alice");
    let signature = alice.sign(NAMESPACE, b"deploy").unwrap();
    // The base64 of "SSHSIG" and the four bytes of the version.
    let version_0 = signature.replace("U1NIU0lHAAAAAQ", "U1NIU0lHAAAAAA");
    assert_ne!(version_0, signature);
    assert_eq!(
        outcome(&signers(&entry(&alice)), b"deploy", &version_0),
        "malformed"
    );
}

#[test]
fn every_truncation_is_malformed() {
    let alice = signer("alice");
    let known = signers(&entry(&alice));
    let signature = alice.sign(NAMESPACE, b"deploy").unwrap();
    let whole = signature.trim_end();
    for length in 0..whole.len() {
        assert_eq!(
            outcome(&known, b"deploy", &whole[..length]),
            "malformed",
            "{length} bytes"
        );
        assert_ne!(
            outcome(&known, b"deploy", &whole[length + 1..]),
            "accepted",
            "from {length}"
        );
    }
    assert_eq!(
        outcome(&known, b"deploy", &"A".repeat(MAX_SIGNATURE + 1)),
        "too_large"
    );
}

#[test]
fn a_signature_made_for_something_else_is_no_command() {
    let alice = signer("alice");
    let known = signers(&entry(&alice));
    let commit = alice.sign("git", b"deploy").unwrap();
    assert_eq!(outcome(&known, b"deploy", &commit), "wrong_namespace");

    let attestation = alice.sign(ATTESTATION_NAMESPACE, b"tested").unwrap();
    let refusal = known
        .verify(ATTESTATION_NAMESPACE, b"tested", &attestation, now())
        .unwrap_err();
    assert_eq!(refusal.code(), "namespace_not_allowed");
}

#[test]
fn unknown_and_revoked_keys_are_refused() {
    let (alice, mallory) = (signer("alice"), signer("mallory"));
    let known = signers(&entry(&alice));
    let signature = alice.sign(NAMESPACE, b"deploy").unwrap();
    assert_eq!(
        outcome(
            &known,
            b"deploy",
            &mallory.sign(NAMESPACE, b"deploy").unwrap()
        ),
        "unknown_key"
    );

    let list = format!(
        "# lost laptop\n{}\n",
        alice.public_key().to_openssh().unwrap()
    );
    let known = known.without(RevokedKeys::parse(&list).unwrap());
    assert_eq!(outcome(&known, b"deploy", &signature), "revoked_key");
}

#[test]
fn a_key_is_valid_within_its_window_both_ends_included() {
    let alice = signer("alice");
    let mut entry = entry(&alice);
    entry.valid_after = Some(at("2026-01-01T00:00:00Z"));
    entry.valid_before = Some(at("2026-12-31T00:00:00Z"));
    let known = signers(&entry);
    let signature = alice.sign(NAMESPACE, b"deploy").unwrap();
    let outcome = |now| match known.verify(NAMESPACE, b"deploy", &signature, at(now)) {
        Ok(_) => "accepted",
        Err(refusal) => refusal.code(),
    };
    assert_eq!(outcome("2025-12-31T23:59:59Z"), "key_not_yet_valid");
    assert_eq!(outcome("2026-01-01T00:00:00Z"), "accepted");
    assert_eq!(outcome("2026-12-31T00:00:00Z"), "accepted");
    assert_eq!(outcome("2026-12-31T00:00:01Z"), "key_expired");
}

#[test]
fn an_empty_or_missing_signers_file_admits_nobody() {
    let alice = signer("alice");
    let signature = alice.sign(NAMESPACE, b"deploy").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let missing = Signers::load(&folder.path().join("allowed_signers"), None).unwrap();
    let empty = Signers::parse("\n# nobody yet\n").unwrap();
    for nobody in [missing, empty, Signers::default()] {
        assert_eq!(outcome(&nobody, b"deploy", &signature), "unknown_key");
    }
}

#[test]
fn a_missing_list_of_revoked_keys_is_an_error_not_an_amnesty() {
    let folder = tempfile::tempdir().unwrap();
    let signers = folder.path().join("allowed_signers");
    let error = Signers::load(&signers, Some(&folder.path().join("revoked_keys"))).unwrap_err();
    assert!(error.to_string().contains("revoked_keys"), "{error}");
}

#[test]
fn one_line_not_understood_makes_the_whole_file_invalid() {
    let alice = entry(&signer("alice"));
    let error = Signers::parse(&format!("# ours\n\n{alice}\nbob\n")).unwrap_err();
    assert_eq!(error.line, 4);
    let error = Signers::parse(&format!("{alice}\n{alice}\n")).unwrap_err();
    assert_eq!(
        (error.line, error.problem.contains("line 1")),
        (2, true),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_signed_verifies_and_nothing_else_does(payload: Vec<u8>, other: Vec<u8>) {
        let known = signers(&entry(&ALICE));
        let signature = ALICE.sign(NAMESPACE, &payload).unwrap();
        prop_assert_eq!(outcome(&known, &payload, &signature), "accepted");
        if other != payload {
            prop_assert_eq!(outcome(&known, &other, &signature), "bad_signature");
        }
    }

    #[test]
    fn no_text_makes_the_check_panic(body in "[A-Za-z0-9+/=\n ]{0,600}", any in "\\PC*") {
        let armoured = format!("-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n");
        prop_assert_ne!(outcome(&Signers::default(), b"", &armoured), "accepted");
        prop_assert_ne!(outcome(&Signers::default(), b"", &any), "accepted");
    }
}
