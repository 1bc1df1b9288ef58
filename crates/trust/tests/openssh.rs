//! OpenSSH is the reference: what it signs we accept, what we sign it accepts, and both come to the
//! same answer about the same signers file. Needs `ssh-keygen`, `ssh-agent` and `ssh-add` (Debian:
//! openssh-client).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "in tests, a panic is the report"
)]

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use jiff::Timestamp;
use secrecy::SecretString;
use togather_trust::{
    NAMESPACE, Signer, Signers,
    signers::{Entry, RevokedKeys},
    signing::{SigningError, generate_identity, read_public},
};

/// Runs a program of OpenSSH with the given standard input; true if it ended well.
fn openssh(program: &str, arguments: &[&str], input: &[u8]) -> bool {
    let child = Command::new(program)
        .args(arguments)
        .env("SSH_ASKPASS_REQUIRE", "never")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("cannot run {program} ({error}); these tests need OpenSSH's client programs: apt-get install openssh-client")
    });
    // A program that has seen enough may close its input early; its exit status tells.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        eprintln!(
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    output.status.success()
}

/// A folder with a key pair made by ssh-keygen.
struct Operator {
    folder: tempfile::TempDir,
}

impl Operator {
    fn new(kind: &str, passphrase: &str) -> Self {
        let operator = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let key = operator.file("key");
        let arguments = [
            "-q",
            "-t",
            kind,
            "-N",
            passphrase,
            "-C",
            "a comment",
            "-f",
            &key,
        ];
        assert!(openssh("ssh-keygen", &arguments, b""));
        operator
    }

    fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.file(name)
    }

    fn entry(&self) -> Entry {
        Entry::new(
            "alice".parse().unwrap(),
            &[NAMESPACE],
            read_public(&self.path("key.pub")).unwrap(),
        )
    }

    fn ssh_keygen_signs(&self, namespace: &str, hash: &str, payload: &[u8]) -> String {
        let payload = self.write("payload", payload);
        let _ = std::fs::remove_file(self.path("payload.sig"));
        let hash = format!("hashalg={hash}");
        let arguments = [
            "-Y",
            "sign",
            "-n",
            namespace,
            "-O",
            &hash,
            "-f",
            &self.file("key"),
            &payload,
        ];
        assert!(openssh("ssh-keygen", &arguments, b""));
        std::fs::read_to_string(self.path("payload.sig")).unwrap()
    }

    fn ssh_keygen_accepts(
        &self,
        signers: &str,
        signature: &str,
        payload: &[u8],
        more: &[&str],
    ) -> bool {
        let signers = self.write("allowed_signers", signers);
        let signature = self.write("signature", signature);
        let mut arguments = vec![
            "-Y", "verify", "-n", NAMESPACE, "-I", "alice", "-f", &signers, "-s", &signature,
        ];
        arguments.extend(more);
        openssh("ssh-keygen", &arguments, payload)
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn outcome(signers: &str, signature: &str, payload: &[u8], now: Timestamp) -> &'static str {
    let signers = Signers::parse(signers).unwrap();
    signers
        .verify(NAMESPACE, payload, signature, now)
        .map_or_else(|refusal| refusal.code(), |_| "accepted")
}

#[test]
fn we_accept_what_ssh_keygen_signs() {
    let alice = Operator::new("ed25519", "");
    let signers = alice.entry().to_string();
    for payload in [b"".as_slice(), b"deploy", &[0, 255, 10, 13], &[7; 100_000]] {
        let signature = alice.ssh_keygen_signs(NAMESPACE, "sha512", payload);
        assert_eq!(outcome(&signers, &signature, payload, now()), "accepted");
        assert_eq!(
            outcome(&signers, &signature, b"another", now()),
            "bad_signature"
        );
    }
    let commit = alice.ssh_keygen_signs("git", "sha512", b"deploy");
    assert_eq!(
        outcome(&signers, &commit, b"deploy", now()),
        "wrong_namespace"
    );
    let weaker = alice.ssh_keygen_signs(NAMESPACE, "sha256", b"deploy");
    assert_eq!(
        outcome(&signers, &weaker, b"deploy", now()),
        "wrong_algorithm"
    );
}

#[test]
fn ssh_keygen_accepts_what_we_sign() {
    let alice = Operator::new("ed25519", "");
    let signers = alice.entry().to_string();
    let signer = Signer::open(&alice.path("key"), None, None).unwrap();
    for payload in [b"".as_slice(), b"deploy", &[0, 255, 10, 13], &[7; 100_000]] {
        let signature = signer.sign(NAMESPACE, payload).unwrap();
        assert!(alice.ssh_keygen_accepts(&signers, &signature, payload, &[]));
        assert!(!alice.ssh_keygen_accepts(&signers, &signature, b"another", &[]));
        // Ed25519 is deterministic, so the two must be the very same text.
        assert_eq!(
            signature,
            alice.ssh_keygen_signs(NAMESPACE, "sha512", payload)
        );
    }
}

#[test]
fn both_judge_validity_and_revocation_alike() {
    let alice = Operator::new("ed25519", "");
    let mut entry = alice.entry();
    entry.valid_after = Some("2026-01-01T00:00:00Z".parse().unwrap());
    entry.valid_before = Some("2026-12-31T00:00:00Z".parse().unwrap());
    let signers = entry.to_string();
    let signature = alice.ssh_keygen_signs(NAMESPACE, "sha512", b"deploy");
    for (moment, accepted) in [
        ("2025-12-31T23:59:59Z", false),
        ("2026-01-01T00:00:00Z", true),
        ("2026-07-01T12:34:56Z", true),
        ("2026-12-31T00:00:00Z", true),
        ("2026-12-31T00:00:01Z", false),
    ] {
        let moment: Timestamp = moment.parse().unwrap();
        let option = format!("verify-time={}", moment.strftime("%Y%m%d%H%M%SZ"));
        let theirs = alice.ssh_keygen_accepts(&signers, &signature, b"deploy", &["-O", &option]);
        let ours = outcome(&signers, &signature, b"deploy", moment) == "accepted";
        assert_eq!((theirs, ours), (accepted, accepted), "at {moment}");
    }

    let signers = alice.entry().to_string();
    let revoked = alice.write(
        "revoked_keys",
        std::fs::read(alice.path("key.pub")).unwrap(),
    );
    assert!(!alice.ssh_keygen_accepts(&signers, &signature, b"deploy", &["-r", &revoked]));
    let signers = Signers::parse(&signers)
        .unwrap()
        .without(RevokedKeys::load(Path::new(&revoked)).unwrap());
    assert_eq!(
        signers
            .verify(NAMESPACE, b"deploy", &signature, now())
            .unwrap_err()
            .code(),
        "revoked_key"
    );
}

#[test]
fn a_signers_file_we_take_means_the_same_to_ssh_keygen() {
    let (alice, bob) = (Operator::new("ed25519", ""), Operator::new("ed25519", ""));
    let key = std::fs::read_to_string(alice.path("key.pub")).unwrap();
    let other = std::fs::read_to_string(bob.path("key.pub")).unwrap();
    let signature = alice.ssh_keygen_signs(NAMESPACE, "sha512", b"deploy");
    for (signers, accepted) in [
        (format!("alice {key}"), true),
        (format!("# comment\n\n  alice \t {key}"), true),
        (format!("alice namespaces=\"{NAMESPACE}\" {key}"), true),
        (
            format!("alice namespaces=\"git,{NAMESPACE}\",valid-after=\"20200101Z\" {key}"),
            true,
        ),
        (format!("alice namespaces=\"git\" {key}"), false),
        (format!("alice valid-before=\"20200101Z\" {key}"), false),
        (format!("alice valid-after=\"209901010000Z\" {key}"), false),
        (format!("alice {other}"), false),
        (format!("bob {other}alice {key}"), true),
        (String::new(), false),
    ] {
        let ours = outcome(&signers, &signature, b"deploy", now()) == "accepted";
        let theirs = alice.ssh_keygen_accepts(&signers, &signature, b"deploy", &[]);
        assert_eq!((ours, theirs), (accepted, accepted), "{signers}");
    }
}

#[test]
fn ssh_keygen_reads_the_identity_we_generate() {
    let alice = Operator {
        folder: tempfile::tempdir().unwrap(),
    };
    let public = generate_identity(&alice.path("key"), "alice@laptop").unwrap();
    assert_eq!(read_public(&alice.path("key.pub")).unwrap(), public);
    let signature = alice.ssh_keygen_signs(NAMESPACE, "sha512", b"deploy");
    assert_eq!(
        outcome(&alice.entry().to_string(), &signature, b"deploy", now()),
        "accepted"
    );

    let before = std::fs::read(alice.path("key")).unwrap();
    assert!(
        generate_identity(&alice.path("key"), "again").is_err(),
        "overwrote a key"
    );
    assert_eq!(std::fs::read(alice.path("key")).unwrap(), before);
    std::fs::remove_file(alice.path("key")).unwrap();
    assert!(
        generate_identity(&alice.path("key"), "again").is_err(),
        "overwrote a public key"
    );
    assert!(!alice.path("key").exists(), "left half a pair behind");
}

#[test]
fn unusable_keys_are_refused_with_the_way_out() {
    use std::os::unix::fs::PermissionsExt;

    let rsa = Operator::new("rsa", "");
    let error = Signer::open(&rsa.path("key"), None, None).unwrap_err();
    assert!(matches!(error, SigningError::WrongType { .. }), "{error}");

    let alice = Operator::new("ed25519", "");
    let text = alice.path("text");
    std::fs::write(&text, "not a key").unwrap();
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = Signer::open(&text, None, None).unwrap_err();
    assert!(matches!(error, SigningError::NotAKey { .. }), "{error}");

    std::fs::set_permissions(alice.path("key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = Signer::open(&alice.path("key"), None, None).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");

    let error = Signer::open(&alice.path("key.pub"), None, None).unwrap_err();
    assert!(error.to_string().contains("SSH_AUTH_SOCK"), "{error}");
    let error = Signer::open(&alice.path("none"), None, None).unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
}

#[test]
fn a_passphrase_is_asked_for_when_no_agent_helps() {
    let alice = Operator::new("ed25519", "open sesame");
    let error = Signer::open(&alice.path("key"), None, None).unwrap_err();
    assert!(error.to_string().contains("ssh-add"), "{error}");

    let wrong = |_: &Path| Ok(SecretString::from("guess"));
    let error = Signer::open(&alice.path("key"), None, Some(&wrong)).unwrap_err();
    assert!(
        matches!(error, SigningError::WrongPassphrase { .. }),
        "{error}"
    );

    let right = |_: &Path| Ok(SecretString::from("open sesame"));
    let signer = Signer::open(&alice.path("key"), None, Some(&right)).unwrap();
    let signature = signer.sign(NAMESPACE, b"deploy").unwrap();
    assert!(alice.ssh_keygen_accepts(&alice.entry().to_string(), &signature, b"deploy", &[]));
}

/// An ssh-agent of its own, ended with the test.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(folder: &Path) -> Self {
        use std::io::{BufRead, BufReader};

        let socket = folder.join("agent.sock");
        let mut process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .expect("these tests need ssh-agent: apt-get install openssh-client");
        // It says where it listens once it does.
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("SSH_AUTH_SOCK"), "ssh-agent said {line:?}");
        Self { process, socket }
    }

    fn add(&self, key: &Path) {
        let status = Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_agent_signs_for_a_public_an_absent_and_a_locked_key() {
    let alice = Operator::new("ed25519", "");
    let agent = Agent::start(alice.folder.path());
    let open = |name: &str| Signer::open(&alice.path(name), Some(&agent.socket), None);

    let error = open("key.pub").unwrap_err();
    assert!(matches!(error, SigningError::NotInAgent { .. }), "{error}");
    agent.add(&alice.path("key"));

    let signers = alice.entry().to_string();
    let check = |signer: Signer| {
        let signature = signer.sign(NAMESPACE, b"deploy").unwrap();
        assert_eq!(outcome(&signers, &signature, b"deploy", now()), "accepted");
        assert!(alice.ssh_keygen_accepts(&signers, &signature, b"deploy", &[]));
    };
    check(open("key.pub").unwrap());

    let arguments = [
        "-q",
        "-p",
        "-P",
        "",
        "-N",
        "open sesame",
        "-f",
        &alice.file("key"),
    ];
    assert!(openssh("ssh-keygen", &arguments, b""));
    check(open("key").unwrap());

    std::fs::remove_file(alice.path("key")).unwrap();
    check(open("key").unwrap());

    let signer = open("key.pub").unwrap();
    drop(agent);
    assert!(matches!(
        signer.sign(NAMESPACE, b"deploy"),
        Err(SigningError::Agent { .. })
    ));
}
