//! What the operator's files make of a node: read again whenever it matters, not only at the start.
//!
//! `docker-compose.yml`, `deployment.yml`, the provider's overlay and the environment file may be
//! edited at any time. A deployment is made from what they say when it is ordered, and refused if they
//! cannot be used. Everything else (status, schedules, jobs, rollbacks) goes on with what they said
//! when they could be used last. Whatever was in use is kept, so that this also holds after the agent
//! was started again, and so that an interrupted deployment is taken up with what it was begun with.
//!
//! What belongs to the agent itself (`agent.yml`, the snapshot store, Docker's socket) is read at its
//! start only.

mod kept;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use togather_model::{Digest, Failure, FailureKind};

use self::kept::{Kept, Texts};
use crate::{
    assembly::{AssemblyError, Configured, Parts},
    config::{AgentFile, Config, ConfigError},
    node::Node,
};

/// Where a node's changeable parts come from.
pub trait Configuration: Send + Sync {
    /// This node, as its files make it now.
    ///
    /// # Errors
    /// They cannot be used.
    fn now(&self, node: &Node) -> Result<Node, Failure>;

    /// This node, as its files made it when they could be used last; as they make it now, if they can
    /// be used now.
    fn in_force(&self, node: &Node) -> Node;

    /// This node, as an earlier state of its files made it.
    ///
    /// # Errors
    /// That state is no longer kept, or can no longer be used.
    fn earlier(&self, node: &Node, id: Digest) -> Result<Node, Failure>;

    /// This node, but for the app, which is as an earlier state of the files made it.
    ///
    /// # Errors
    /// That state is no longer kept, or can no longer be used.
    fn with_app_of(&self, node: &Node, id: Digest) -> Result<Node, Failure>;

    /// Forgets the states of the files that nothing needs any more; the one in force stays.
    fn forget_all_but(&self, needed: &[Digest]);
}

/// A node that is always as it is.
#[derive(Debug, Clone, Copy)]
pub struct Unchanging;

impl Configuration for Unchanging {
    fn now(&self, node: &Node) -> Result<Node, Failure> {
        Ok(node.clone())
    }

    fn in_force(&self, node: &Node) -> Node {
        node.clone()
    }

    fn earlier(&self, node: &Node, _: Digest) -> Result<Node, Failure> {
        Ok(node.clone())
    }

    fn with_app_of(&self, node: &Node, _: Digest) -> Result<Node, Failure> {
        Ok(node.clone())
    }

    fn forget_all_but(&self, _: &[Digest]) {}
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The files do not fit together.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// It cannot be kept.
    #[error("cannot keep a copy in {}", .0.display())]
    NotKept(PathBuf, #[source] std::io::Error),
    /// An editor is at work.
    #[error("its files change while they are read; try again in a moment")]
    Restless,
}

impl From<Unusable> for Failure {
    fn from(error: Unusable) -> Self {
        match &error {
            Unusable::Config(_) | Unusable::Assembly(_) => Self::caused_by(
                FailureKind::Configuration,
                "the configuration is wrong",
                &error,
            )
            .next("edit the files on the node; `togather-agent check` there says whether they are right"),
            Unusable::NotKept(..) | Unusable::Restless => Self::caused_by(
                FailureKind::Other,
                "the configuration could not be read",
                &error,
            ),
        }
    }
}

/// How often the files are read once more because they changed while they were read.
const READINGS: usize = 5;

/// The configuration in the folder of this `agent.yml`, and the texts it was read from.
///
/// # Errors
/// The first file that is not as it must be.
fn read(agent_yml: &Path) -> Result<(Config, Texts), Unusable> {
    let mut read = Config::load(agent_yml)?;
    for _ in 0..READINGS {
        let texts = Texts::read(agent_yml, &read.files)?;
        read = Config::load(agent_yml)?;
        // The same before and after: what is kept is what was used.
        if Texts::read(agent_yml, &read.files)?.id() == texts.id() {
            return Ok((read, texts));
        }
    }
    Err(Unusable::Restless)
}

/// The configuration to start with, its state, and where it is kept: as the files say, or as they said
/// when they could be used last.
///
/// # Errors
/// The files cannot be used, and never could be; or it is `agent.yml` that cannot be.
pub fn to_start_with(agent_yml: &Path) -> Result<(Config, Parts, Files), Failure> {
    let agent = Config::agent(agent_yml).map_err(Unusable::from)?;
    let kept = Kept::at(agent.state.join("configurations"));
    let made = read(agent_yml).and_then(|(config, texts)| {
        let parts = Parts::of(&config)?;
        Ok((config, parts, texts))
    });
    let unusable = match made {
        Ok((config, parts, texts)) => {
            if let Err(error) = kept.keep(&texts) {
                let failure = Failure::from(error);
                tracing::warn!(%failure, "should the files become unusable, nothing stands in for them");
            }
            let files = Files::new(agent_yml, kept, texts.id(), &config, &parts);
            return Ok((config, parts, files));
        }
        Err(error) => Failure::from(error),
    };
    let Some(last) = kept.last() else {
        return Err(unusable);
    };
    let Ok(mut config) = kept.load(last, agent_yml) else {
        return Err(unusable);
    };
    // What is the agent's own is as it says now.
    config.agent = AgentFile {
        snapshots: config.agent.snapshots,
        ..agent
    };
    let Ok(parts) = Parts::of(&config) else {
        return Err(unusable);
    };
    tracing::error!(failure = %unusable, "started with what the files said when they could be used last; nothing can be deployed until they can be used again");
    let files = Files::new(agent_yml, kept, last, &config, &parts);
    Ok((config, parts, files))
}

/// The operator's files, and what they made of the node when they could be used last.
pub struct Files {
    agent_yml: PathBuf,
    kept: Kept,
    current: Mutex<Current>,
}

#[derive(Clone)]
struct Current {
    id: Digest,
    configured: Configured,
    /// The files that made it.
    names: Vec<PathBuf>,
}

impl Files {
    /// The files in the folder of this `agent.yml`. They, or what is kept of them, made the node's
    /// parts from the state `id`.
    fn new(agent_yml: &Path, kept: Kept, id: Digest, config: &Config, parts: &Parts) -> Self {
        Self {
            agent_yml: agent_yml.to_owned(),
            kept,
            current: Mutex::new(Current {
                id,
                configured: parts.configured(),
                names: config.files.clone(),
            }),
        }
    }

    /// The parts of the node as the files make them now. Nothing is made anew while they are as they
    /// were.
    fn read(&self) -> Result<Current, Unusable> {
        let mut current = self.current();
        let texts = Texts::read(&self.agent_yml, &current.names)?;
        if texts.id() == current.id {
            return Ok(current.clone());
        }
        let (config, texts) = read(&self.agent_yml)?;
        let configured = Configured::of(&config, Some(&current.configured))?;
        self.kept.keep(&texts)?;
        let id = texts.id();
        tracing::info!(configuration = %id.short(), "files changed and were read again");
        *current = Current {
            id,
            configured,
            names: config.files,
        };
        Ok(current.clone())
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Configuration for Files {
    fn now(&self, node: &Node) -> Result<Node, Failure> {
        let current = self.read()?;
        Ok(current.configured.applied_to(node, current.id))
    }

    fn in_force(&self, node: &Node) -> Node {
        let current = self.read().unwrap_or_else(|error| {
            tracing::debug!(%error, "the files cannot be used; what they said last is in force");
            self.current().clone()
        });
        current.configured.applied_to(node, current.id)
    }

    fn earlier(&self, node: &Node, id: Digest) -> Result<Node, Failure> {
        let current = self.current().clone();
        if current.id == id {
            return Ok(current.configured.applied_to(node, id));
        }
        let config = self.kept.load(id, &self.agent_yml);
        let config = config.map_err(Unusable::from)?;
        let configured = Configured::of(&config, Some(&current.configured));
        Ok(configured.map_err(Unusable::from)?.applied_to(node, id))
    }

    fn with_app_of(&self, node: &Node, id: Digest) -> Result<Node, Failure> {
        let current = self.current().clone();
        let made_by = node.configured.unwrap_or(current.id);
        if node.app_configured.unwrap_or(made_by) == id {
            return Ok(node.clone());
        }
        let load = |id| self.kept.load(id, &self.agent_yml).map_err(Unusable::from);
        let (app, config) = (load(id)?, load(made_by)?);
        let configured = Configured::with_app_of(&app, &config, Some(&current.configured));
        let node = configured
            .map_err(Unusable::from)?
            .applied_to(node, made_by);
        Ok(Node {
            app_configured: Some(id),
            ..node
        })
    }

    fn forget_all_but(&self, needed: &[Digest]) {
        let current = self.current().id;
        if let Err(error) = self.kept.retain(|id| id == current || needed.contains(&id)) {
            tracing::warn!(%error, "configurations that nothing needs any more are left");
        }
    }
}
