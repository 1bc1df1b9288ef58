//! What differs from what the node means to be, a sentence each. Pure: from what was seen.

use togather_model::{Schema, Slot, settings::Retire};

use super::{Seen, Silence};
use crate::{containers::SlotContainer, health::Answer};

/// Everything that differs.
pub(super) fn find(
    seen: &Seen,
    health: Option<&Result<Answer, Silence>>,
    retire: Retire,
) -> Vec<String> {
    let mut drift = Vec::new();
    for silent in [
        seen.live.as_ref().err(),
        seen.schema.as_ref().err(),
        seen.snapshots.as_ref().err(),
        seen.spooled.as_ref().err(),
        seen.switchable.as_ref().err(),
    ] {
        drift.extend(silent.cloned());
    }
    if matches!(seen.schema, Ok(schema) if schema != Schema::NoDatabase) {
        drift.extend(seen.replaced.as_ref().err().cloned());
    }
    if let Ok(Schema::At {
        version,
        dirty: true,
    }) = seen.schema
    {
        drift.push(format!(
            "the schema is dirty: migration {version} failed half-way, and nothing is deployed until that is put right"
        ));
    }
    drift.extend(of_schema(seen));
    if let Ok(survey) = &seen.snapshots {
        drift.extend(survey.unreadable.iter().cloned());
        drift.extend(survey.foreign_remark());
    }
    if let Ok([newest, older @ ..]) = seen.spooled.as_deref() {
        let n = 1 + older.len();
        drift.push(format!(
            "{n} snapshots wait on this node's own disk until the store can be reached, the newest of {:.0}",
            newest.taken_at
        ));
    }
    for (slot, held) in Slot::ALL.into_iter().zip(&seen.slots) {
        drift.extend(of_slot(slot, held, seen.live_slot, retire));
    }
    if seen.is_unserved {
        drift.push(
            "traffic goes to no version, though one has served on this node: roll a release out"
                .into(),
        );
    }
    if let Some(slot) = seen.live_slot {
        drift.extend(of_traffic(seen, slot));
        drift.extend(of_version(seen, slot, health));
        drift.extend(of_what_it_was_made_from(seen));
    }
    drift
}

/// What the live version was built for, against what there is. After a rollback the schema is newer,
/// as it must be; then a release that served here has left it so.
fn of_schema(seen: &Seen) -> Option<String> {
    let live = seen.live.as_ref().ok()?.as_ref()?;
    let version = &live.version;
    if let Ok(Schema::At {
        version: have,
        dirty: false,
    }) = seen.schema
    {
        let built_for = live.schema;
        let is_told = built_for > 0;
        if is_told && (have < built_for || have > built_for && !seen.is_schema_ours) {
            return Some(format!(
                "{version} was built for schema {built_for}, but the database is at {have}, where no \
                 deployment has brought it: see what changed it before the next rollout"
            ));
        }
    }
    let lines = seen.other_lines.as_ref().ok()?;
    live.other_lines.iter().find_map(|(line, built_for)| {
        let have = lines.get(line).copied().flatten().unwrap_or(0);
        (have < *built_for).then(|| {
            format!(
                "{version} was built for {} {built_for}, but the database is at {have}",
                line.schema()
            )
        })
    })
}

fn of_slot(
    slot: Slot,
    held: &Result<Option<SlotContainer>, Silence>,
    live_slot: Option<Slot>,
    retire: Retire,
) -> Option<String> {
    let is_live = live_slot == Some(slot);
    match held {
        Err(silence) => Some(silence.clone()),
        Ok(None) if is_live => Some(format!("{slot} gets the traffic, but holds no container")),
        Ok(Some(held)) if is_live && !held.running => Some(format!(
            "{slot} gets the traffic, but {} in it does not run (exit code {})",
            held.version,
            held.exit_code
                .map_or_else(|| "unknown".to_owned(), |code| code.to_string())
        )),
        Ok(Some(held)) if !is_live && held.running && retire == Retire::Stop => Some(format!(
            "{} runs in {slot}, which does not get the traffic",
            held.version
        )),
        Ok(_) => None,
    }
}

/// What the proxy does, against what the snippet on disk says.
fn of_traffic(seen: &Seen, slot: Slot) -> Option<String> {
    match &seen.public {
        Err(silence) => Some(silence.clone()),
        Ok(Answer {
            slot: Some(served), ..
        }) if *served != slot => Some(format!(
            "the proxy sends traffic to {served}, but its snippet says {slot}: reload it, or restart the agent"
        )),
        Ok(_) => None,
    }
}

/// What the live container was made from, against what the files say.
fn of_what_it_was_made_from(seen: &Seen) -> Option<String> {
    let live = seen.live.as_ref().ok()?.as_ref()?;
    (!live.is(live.release, seen.made_of)).then(|| {
        format!(
            "{} in {} was started from an older environment or Compose file: `togather-ctl redeploy --nodes {}` applies what was edited",
            live.version, live.slot, seen.node
        )
    })
}

/// What answers, against what should.
fn of_version(seen: &Seen, slot: Slot, health: Option<&Result<Answer, Silence>>) -> Option<String> {
    match (&seen.live, health) {
        (Ok(None), _) => Some(format!(
            "{slot} gets the traffic, but its container is not of a release this node knows"
        )),
        (Ok(Some(live)), Some(Ok(answer))) if !answer.is_commit(&live.git_commit) => Some(format!(
            "{} should answer in {slot} as commit {}, but {} does",
            live.version,
            live.git_commit,
            answer.git_commit.as_deref().unwrap_or("another")
        )),
        (Ok(Some(_)) | Err(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use togather_model::{Digest, Line, Live};

    use super::*;
    use crate::snapshots::Survey;

    fn container(version: &str, running: bool) -> SlotContainer {
        SlotContainer {
            release: Some(Digest::of(b"release")),
            version: version.into(),
            made_of: Some(Digest::of(b"made of")),
            running,
            exit_code: (!running).then_some(137),
        }
    }

    fn answer(commit: &str, slot: Slot) -> Answer {
        Answer {
            http_status: 200,
            status: Some("healthy".into()),
            version: Some("2.0.0".into()),
            git_commit: Some(commit.into()),
            slot: Some(slot),
            checks: vec![],
            retry_after: None,
            latency: Duration::ZERO,
        }
    }

    /// A node as it should be: 2.0.0 in green, 1.0.0 stopped in blue.
    fn sound() -> Seen {
        Seen {
            live: Ok(Some(Live {
                slot: Slot::Green,
                release: Digest::of(b"release"),
                version: "2.0.0".into(),
                git_commit: "c0ffee0c0ffee".into(),
                schema: 2,
                other_lines: [(Line::River, 6)].into(),
                made_of: Some(Digest::of(b"made of")),
            })),
            live_slot: Some(Slot::Green),
            is_unserved: false,
            slots: [
                Ok(Some(container("1.0.0", false))),
                Ok(Some(container("2.0.0", true))),
            ],
            public: Ok(answer("c0ffee0c0ffee", Slot::Green)),
            schema: Ok(Schema::At {
                version: 2,
                dirty: false,
            }),
            other_lines: Ok([(Line::River, Some(6))].into()),
            is_schema_ours: true,
            switchable: Ok(()),
            snapshots: Ok(Survey::default()),
            spooled: Ok(vec![]),
            replaced: Ok(vec![]),
            made_of: Some(Digest::of(b"made of")),
            node: "node-1".into(),
        }
    }

    fn at(version: u64) -> Result<Schema, Silence> {
        Ok(Schema::At {
            version,
            dirty: false,
        })
    }

    fn found(change: impl FnOnce(&mut Seen)) -> Vec<String> {
        let mut seen = sound();
        change(&mut seen);
        let health = Ok(answer("c0ffee0c0ffee", Slot::Green));
        find(&seen, Some(&health), Retire::Stop)
    }

    #[test]
    fn a_node_that_is_as_it_should_be_has_no_drift() {
        assert_eq!(found(|_| ()), Vec::<String>::new());
        let after_a_rollback = found(|seen| seen.schema = at(3));
        assert_eq!(after_a_rollback, Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_one_sentence() {
        for (drift, sentence) in [
            (
                found(|seen| seen.slots[1] = Ok(None)),
                "green gets the traffic, but holds no container",
            ),
            (
                found(|seen| seen.slots[1] = Ok(Some(container("2.0.0", false)))),
                "does not run (exit code 137)",
            ),
            (
                found(|seen| seen.slots[0] = Ok(Some(container("1.0.0", true)))),
                "1.0.0 runs in blue, which does not get",
            ),
            (
                found(|seen| seen.public = Ok(answer("c0ffee", Slot::Blue))),
                "sends traffic to blue, but its snippet says green",
            ),
            (
                found(|seen| seen.public = Err("the public path did not answer".into())),
                "the public path did not answer",
            ),
            (
                found(|seen| {
                    seen.schema = Ok(Schema::At {
                        version: 2,
                        dirty: true,
                    })
                }),
                "migration 2 failed half-way",
            ),
            (
                found(|seen| seen.schema = at(1)),
                "2.0.0 was built for schema 2, but the database is at 1",
            ),
            (
                found(|seen| (seen.schema, seen.is_schema_ours) = (at(3), false)),
                "2.0.0 was built for schema 2, but the database is at 3",
            ),
            (
                found(|seen| seen.other_lines = Ok([(Line::River, Some(4))].into())),
                "2.0.0 was built for River's schema 6, but the database is at 4",
            ),
            (
                found(|seen| seen.schema = Err("the database did not answer".into())),
                "the database did not answer",
            ),
            (
                found(|seen| seen.replaced = Err("the replaced ones are not known".into())),
                "the replaced ones are not known",
            ),
            (
                found(|seen| seen.switchable = Err("Caddy did not answer".into())),
                "Caddy did not answer",
            ),
            (
                found(|seen| {
                    (seen.live, seen.live_slot, seen.is_unserved) = (Ok(None), None, true);
                    seen.slots[1] = Ok(Some(container("2.0.0", false)));
                }),
                "traffic goes to no version",
            ),
            (
                found(|seen| seen.made_of = Some(Digest::of(b"edited"))),
                "`togather-ctl redeploy --nodes node-1`",
            ),
            (
                found(|seen| seen.live = Ok(None)),
                "not of a release this node knows",
            ),
        ] {
            assert_eq!(drift.len(), 1, "{drift:?}");
            assert!(
                drift[0].contains(sentence),
                "expected `{sentence}`, got {drift:?}"
            );
        }
    }

    #[test]
    fn what_is_not_known_is_no_difference() {
        assert_eq!(found(|seen| seen.made_of = None), Vec::<String>::new());
        let unlabelled = found(|seen| {
            if let Ok(Some(live)) = &mut seen.live {
                live.made_of = None;
            }
        });
        assert_eq!(unlabelled, Vec::<String>::new());
    }

    #[test]
    fn another_commit_in_the_live_slot_is_told() {
        let health = Ok(answer("deadbeefdead", Slot::Green));
        let drift = find(&sound(), Some(&health), Retire::Stop);
        assert!(drift[0].contains("but deadbeefdead does"), "{drift:?}");
    }

    #[test]
    fn where_the_old_version_is_kept_running_that_is_no_drift() {
        let mut seen = sound();
        seen.slots[0] = Ok(Some(container("1.0.0", true)));
        let health = Ok(answer("c0ffee0c0ffee", Slot::Green));
        assert!(find(&seen, Some(&health), Retire::Keep).is_empty());
    }
}
