//! What the store holds: whole snapshots, and what is none.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectMeta;
use togather_model::{Timestamp, Ulid};

use super::{
    Dumps,
    error::SnapshotError,
    manifest::{FORMAT, MANIFEST, Manifest, Names, Verified},
    store::Store,
};

/// How many small objects are read at once.
const AT_ONCE: usize = 8;

/// Everything the store holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// The snapshots, newest first.
    pub snapshots: Vec<Manifest>,
    /// Manifests that make no sense or lack their dump, with why.
    pub unreadable: Vec<String>,
    /// Parts of snapshots without a manifest: of one under way, or of an interrupted one.
    pub orphans: Vec<Orphan>,
    /// Snapshots of other nodes, which are not counted, proven or forgotten here.
    pub foreign: Vec<Manifest>,
}

/// A part of a snapshot without a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its name.
    pub name: String,
    /// When it was stored.
    pub stored_at: Timestamp,
}

impl Survey {
    /// What is to be said of other nodes' snapshots, if there are any.
    #[must_use]
    pub fn foreign_remark(&self) -> Option<String> {
        let nodes: BTreeSet<&str> = self
            .foreign
            .iter()
            .filter_map(|s| Some(s.origin.as_ref()?.node.as_str()))
            .collect();
        (!nodes.is_empty()).then(|| {
            format!(
                "the snapshot store holds snapshots of {} as well: give each node a place of its own with `snapshots.store` in agent.yml",
                nodes.into_iter().collect::<Vec<_>>().join(", ")
            )
        })
    }
}

impl Dumps {
    /// Looks at everything in the store.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn survey(&self) -> Result<Survey, SnapshotError> {
        self.store.survey().await
    }
}

impl Store {
    /// Looks at everything in this place.
    pub(super) async fn survey(&self) -> Result<Survey, SnapshotError> {
        let listed: BTreeMap<String, ObjectMeta> = self.names().await?.into_iter().collect();
        let manifests = listed.keys().filter(|name| name.ends_with(MANIFEST));
        let reads: Vec<_> = manifests
            .map(|name| self.read_manifest(name, &listed))
            .collect();
        let read: Vec<Result<Manifest, String>> =
            stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        self.keep_small(|name| listed.contains_key(name));
        let mut survey = Survey::default();
        for manifest in read {
            match manifest {
                Ok(manifest) if self.is_own(&manifest) => survey.snapshots.push(manifest),
                Ok(manifest) => survey.foreign.push(manifest),
                Err(why) => survey.unreadable.push(why),
            }
        }
        survey.snapshots.sort_by_key(|s| (s.taken_at, s.id));
        survey.snapshots.reverse();
        survey.orphans = orphans(&listed);
        Ok(survey)
    }

    /// The snapshot with this id. What else the store holds does not matter here.
    pub(super) async fn find(&self, id: Ulid) -> Result<Manifest, SnapshotError> {
        let survey = self.survey().await?;
        if let Some(found) = survey.snapshots.into_iter().find(|s| s.id == id) {
            return Ok(found);
        }
        let foreign = survey.foreign.into_iter().find(|s| s.id == id);
        Err(match foreign.and_then(|foreign| foreign.origin) {
            Some(origin) => SnapshotError::Foreign(id, origin.node),
            None if survey.unreadable.is_empty() => SnapshotError::Unknown(id),
            None => SnapshotError::Unreadable(survey.unreadable),
        })
    }

    /// The inner error says why it is no snapshot.
    async fn read_manifest(
        &self,
        name: &str,
        listed: &BTreeMap<String, ObjectMeta>,
    ) -> Result<Result<Manifest, String>, SnapshotError> {
        let Some(meta) = listed.get(name) else {
            return Ok(Err(format!("{name} is gone")));
        };
        let mut manifest: Manifest = match self.read(name, meta).await? {
            Ok(manifest) => manifest,
            Err(e) => return Ok(Err(format!("{name} is no manifest ({e})"))),
        };
        let Some(names) = Names::of_part(name) else {
            return Ok(Err(format!("{name} is no manifest's name")));
        };
        if manifest.format != FORMAT {
            let format = &manifest.format;
            return Ok(Err(format!("{name} has the format {format}, not {FORMAT}")));
        }
        if manifest.dump != names.dump() {
            return Ok(Err(format!("{name} is about {}", manifest.dump)));
        }
        let globals = &manifest.globals;
        for (what, part, bytes) in [
            ("dump", &manifest.dump, manifest.bytes),
            ("roles", &globals.name, globals.bytes),
        ] {
            match listed.get(part) {
                None => return Ok(Err(format!("{name} lacks its {what}"))),
                Some(found) if found.size != bytes => {
                    let size = found.size;
                    return Ok(Err(format!(
                        "{part} has {size} bytes, its manifest says {bytes}"
                    )));
                }
                Some(_) => {}
            }
        }
        manifest.spooled = self.at_most().is_some();
        if let Some(meta) = listed.get(&names.verified()) {
            match self.read::<Verified>(&names.verified(), meta).await? {
                Ok(mark) if mark.id == manifest.id && mark.sha256 == manifest.sha256 => {
                    manifest.verified_at = Some(mark.verified_at);
                }
                // The snapshot is none the worse for it; proving it again replaces the mark.
                Ok(_) => tracing::warn!("{} is about another dump", names.verified()),
                Err(error) => tracing::warn!(%error, "{} is no mark", names.verified()),
            }
        }
        Ok(Ok(manifest))
    }
}

fn orphans(listed: &BTreeMap<String, ObjectMeta>) -> Vec<Orphan> {
    let with_manifest: BTreeSet<&str> = listed.keys().map(String::as_str).collect();
    let orphan = |(name, meta): (&String, &ObjectMeta)| {
        let manifest = Names::of_part(name)?.manifest();
        if with_manifest.contains(manifest.as_str()) {
            return None;
        }
        Some(Orphan {
            name: name.clone(),
            stored_at: Timestamp::from_second(meta.last_modified.timestamp()).ok()?,
        })
    };
    listed.iter().filter_map(orphan).collect()
}
