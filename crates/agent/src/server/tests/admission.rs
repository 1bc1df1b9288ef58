//! Who is let in, and with what: each refusal has its code and its audit row, and reaches nothing.

use togather_model::Timestamp;
use togather_trust::Permission;

use super::*;
use crate::gate::{MAX_COMMAND_BYTES, Need, need_of};

/// A command that alice signed, with one thing changed before she did.
async fn refused_when(change: impl FnOnce(&mut v1::Command), code: &str) {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let mut command = bench.command(&alice, acquire(Ulid::generate()));
    change(&mut command);
    let signed = sign(&alice, NAMESPACE, &command.encode_to_vec());
    let answer = bench
        .client(&alice)
        .send(method::ACQUIRE_LEASE, signed)
        .await;
    bench.assert_refused(answer, code).await;
}

#[tokio::test]
async fn a_command_for_somebody_else_is_refused() {
    let other = || Ulid::generate().to_string();
    refused_when(|command| command.version = 2, "wrong_version").await;
    refused_when(|command| command.fleet_id = other(), "wrong_fleet").await;
    refused_when(|command| command.node_id = other(), "wrong_node").await;
    refused_when(
        |command| command.method = method::RENEW_LEASE.into(),
        "wrong_method",
    )
    .await;
    refused_when(|command| command.operator = "bob".into(), "wrong_operator").await;
}

#[tokio::test]
async fn a_command_that_says_too_little_or_too_much_is_malformed() {
    refused_when(|command| command.body = None, "malformed").await;
    refused_when(|command| command.nonce = vec![7; 31].into(), "malformed").await;
    refused_when(|command| command.expires_at = None, "malformed").await;
    refused_when(
        |command| command.operation_id = "../../etc".into(),
        "malformed",
    )
    .await;
    let other_body = Body::EndRollout(v1::EndRollout::default());
    refused_when(|command| command.body = Some(other_body), "malformed").await;
}

#[tokio::test]
async fn fields_of_a_later_version_are_not_ignored() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let mut payload = bench
        .command(&alice, acquire(Ulid::generate()))
        .encode_to_vec();
    // Field 999, a varint: what `only_if_idle: true` of a later version could look like.
    payload.extend([0xb8, 0x3e, 0x01]);
    let signed = sign(&alice, NAMESPACE, &payload);
    let answer = bench
        .client(&alice)
        .send(method::ACQUIRE_LEASE, signed)
        .await;
    bench.assert_refused(answer, "malformed").await;
}

#[tokio::test]
async fn altered_bytes_and_signatures_for_other_purposes_prove_nothing() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let client = bench.client(&alice);
    let good = bench.signed(&alice, acquire(Ulid::generate()));
    for at in (0..good.payload.len()).step_by(16) {
        let mut payload = good.payload.to_vec();
        payload[at] ^= 1;
        let altered = v1::SignedCommand {
            payload: payload.into(),
            signature: good.signature.clone(),
        };
        let answer = client.send(method::ACQUIRE_LEASE, altered).await;
        bench.assert_refused(answer, "bad_signature").await;
    }
    let commit = sign(&alice, "git", &good.payload);
    let answer = client.send(method::ACQUIRE_LEASE, commit).await;
    bench.assert_refused(answer, "wrong_namespace").await;
    let unsigned = v1::SignedCommand {
        signature: String::new(),
        ..good
    };
    let answer = client.send(method::ACQUIRE_LEASE, unsigned).await;
    bench.assert_refused(answer, "unsigned").await;
}

#[tokio::test]
async fn only_known_keys_count_and_one_taken_out_is_out_with_the_next_call() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let impostor = bench.stranger("alice");
    let client = bench.client(&alice);
    let by_impostor = bench.signed(&impostor, acquire(Ulid::generate()));
    let answer = client.send(method::ACQUIRE_LEASE, by_impostor).await;
    bench.assert_refused(answer, "unknown_key").await;

    bench.lease(&alice, Ulid::generate()).await;
    std::fs::write(bench.path("signers"), "# nobody\n").unwrap();
    let signed = bench.signed(&alice, acquire(Ulid::generate()));
    let answer = client.send(method::ACQUIRE_LEASE, signed).await;
    bench.assert_refused(answer, "unknown_key").await;
}

#[tokio::test]
async fn a_key_that_was_withdrawn_or_has_had_its_time_signs_nothing() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let client = bench.client(&alice);
    let key = alice.signer.public_key().to_openssh().unwrap();
    for (file, text, code) in [
        ("revoked_keys", key.clone(), "revoked_key"),
        (
            "revoked_keys",
            "a line nobody understands".into(),
            "unknown_key",
        ),
        (
            "signers",
            format!("alice valid-before=\"20200101Z\" {key}"),
            "key_expired",
        ),
        (
            "signers",
            format!("alice valid-after=\"20990101Z\" {key}"),
            "key_not_yet_valid",
        ),
    ] {
        std::fs::write(bench.path(file), text + "\n").unwrap();
        let signed = bench.signed(&alice, acquire(Ulid::generate()));
        let answer = client.send(method::ACQUIRE_LEASE, signed).await;
        bench.assert_refused(answer, code).await;
        std::fs::write(bench.path("revoked_keys"), "").unwrap();
    }
}

#[tokio::test]
async fn a_missing_or_broken_file_admits_nobody() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let client = bench.client(&alice);
    for roles in [None, Some(""), Some("operators: {alice: emperor}\n")] {
        match roles {
            Some(text) => std::fs::write(bench.path("roles.yml"), text).unwrap(),
            None => std::fs::remove_file(bench.path("roles.yml")).unwrap(),
        }
        bench
            .assert_refused(client.ask(method::STATUS).await, "role_missing")
            .await;
        let signed = bench.signed(&alice, acquire(Ulid::generate()));
        let answer = client.send(method::ACQUIRE_LEASE, signed).await;
        bench.assert_refused(answer, "role_missing").await;
    }
    let told = failure(client.ask(method::STATUS).await.unwrap_err());
    assert!(told.causes[0].contains("roles.yml"), "{told}");

    std::fs::remove_file(bench.path("signers")).unwrap();
    let signed = bench.signed(&alice, acquire(Ulid::generate()));
    let answer = client.send(method::ACQUIRE_LEASE, signed).await;
    bench.assert_refused(answer, "unknown_key").await;
}

#[tokio::test]
async fn another_operators_certificate_does_not_carry_my_command() {
    let bench = Bench::start().await;
    let (alice, bob) = (
        bench.admit("alice", Role::Admin),
        bench.admit("bob", Role::Admin),
    );
    let signed = bench.signed(&alice, acquire(Ulid::generate()));
    let answer = bench.client(&bob).send(method::ACQUIRE_LEASE, signed).await;
    bench.assert_refused(answer, "wrong_operator").await;
}

/// Every role, and none, against every call.
#[tokio::test]
async fn nobody_may_do_more_than_their_role_says() {
    let bench = Bench::start().await;
    let mut operators: Vec<(Operator, Option<Role>)> = Role::ALL
        .into_iter()
        .map(|role| (bench.admit(role.as_str(), role), Some(role)))
        .collect();
    operators.push((bench.stranger("nobody"), None));
    for (operator, role) in &operators {
        let client = bench.client(operator);
        let may = |permission| role.is_some_and(|role| role.allows(permission));
        for path in method::ALL {
            let refusals = bench
                .audited()
                .await
                .iter()
                .filter(|row| *row == "role_missing")
                .count();
            let (answer, permission) = match need_of(path).unwrap() {
                Need::Read => (client.ask(path).await, Permission::Read),
                Need::Signed(permission) => {
                    let bodies = every_body();
                    let body = bodies
                        .into_iter()
                        .find(|body| body.method() == path)
                        .unwrap();
                    (
                        client.send(path, bench.signed(operator, body)).await,
                        permission,
                    )
                }
            };
            let refused =
                answer.is_err_and(|status| failure(status).kind == FailureKind::NotAllowed);
            assert_eq!(refused, !may(permission), "{} calls {path}", operator.name);
            let again = bench
                .audited()
                .await
                .iter()
                .filter(|row| *row == "role_missing")
                .count();
            let known = role.is_some() || permission == Permission::Read;
            assert_eq!(
                again > refusals,
                refused && known,
                "{} calls {path}",
                operator.name
            );
        }
    }
    assert!(!bench.world.was_called("containers.start_slot"));
}

#[tokio::test]
async fn only_an_admin_forces_a_lease_open() {
    let bench = Bench::start().await;
    let dora = bench.admit("dora", Role::Deployer);
    let alice = bench.admit("alice", Role::Admin);
    let force = Body::ReleaseLease(v1::ReleaseLease {
        lease: Some(bench.lease(&alice, Ulid::generate()).await),
        force: true,
    });
    let signed = bench.signed(&dora, force.clone());
    let answer = bench
        .client(&dora)
        .send(method::RELEASE_LEASE, signed)
        .await;
    bench.assert_refused(answer, "role_missing").await;
    let signed = bench.signed(&alice, force);
    bench
        .client(&alice)
        .send(method::RELEASE_LEASE, signed)
        .await
        .unwrap();
    bench.lease(&dora, Ulid::generate()).await;
}

#[tokio::test]
async fn what_is_too_large_is_not_even_read() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let mut client = bench.client(&alice);
    for size in [MAX_COMMAND_BYTES + 1, MAX_MESSAGE_BYTES + 1] {
        let huge = v1::SignedCommand {
            payload: vec![0; size].into(),
            signature: "x".into(),
        };
        for path in [method::DEPLOY, method::LOAD_IMAGE] {
            let answer = client.send(path, huge.clone()).await;
            bench.assert_refused(answer, "too_large").await;
        }
    }
    let mut question = Request::new(v1::StatusRequest {});
    let huge = "x".repeat(4 * MAX_HEADERS as usize).parse().unwrap();
    question.metadata_mut().insert("note", huge);
    assert!(client.nodes.status(question).await.is_err());
    assert_eq!(bench.world.calls_since_restart(), 0);
}

/// What cannot be written down is not done.
#[tokio::test]
async fn a_state_that_cannot_be_written_lets_nothing_through() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let lease = bench.lease(&alice, Ulid::generate()).await;
    let database = format!("sqlite:{}", bench.path("state.db").display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    sqlx::query("DROP TABLE nonce")
        .execute(&pool)
        .await
        .unwrap();
    let signed = bench.signed(&alice, deploy("2.0.0", Duration::ZERO, &lease));
    let told = failure(
        bench
            .client(&alice)
            .send(method::DEPLOY, signed)
            .await
            .unwrap_err(),
    );
    assert!(told.what.contains("cannot check commands"), "{told}");
    assert_eq!(bench.audited().await.last().unwrap(), "undecided");
    assert_eq!(bench.world.calls_since_restart(), 0);
}

#[tokio::test]
async fn an_operator_without_a_role_may_not_even_look() {
    let bench = Bench::start().await;
    bench.admit("alice", Role::Admin);
    let eve = bench
        .authority
        .issue_operator(&"eve".parse().unwrap(), Timestamp::now());
    let client = bench.client_with(&eve.unwrap());
    bench
        .assert_refused(client.ask(method::STATUS).await, "role_missing")
        .await;
}
