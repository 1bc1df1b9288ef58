//! The operator's files, a word each. Every state of them is kept.

use std::sync::Arc;

use togather_model::{Digest, Failure};

use super::{World, outside::Outside};
use crate::{configuration::Configuration, node::Node};

/// The files of a world of fakes.
pub(super) struct Files(pub(super) Arc<World>);

impl Files {
    /// This node with the app made from this state of the files.
    fn made_from(&self, node: &Node, id: Digest) -> Node {
        let outside = Arc::new(Outside(Arc::clone(&self.0), Some(id)));
        Node {
            containers: outside.clone(),
            health: Arc::new(node.health.with(outside)),
            ..node.clone()
        }
    }
}

impl Configuration for Files {
    fn now(&self, node: &Node) -> Result<Node, Failure> {
        Ok(self.in_force(node))
    }

    fn in_force(&self, node: &Node) -> Node {
        Node {
            configured: self.0.truth().files,
            ..node.clone()
        }
    }

    fn earlier(&self, node: &Node, id: Digest) -> Result<Node, Failure> {
        Ok(Node {
            configured: Some(id),
            ..self.made_from(node, id)
        })
    }

    fn with_app_of(&self, node: &Node, id: Digest) -> Result<Node, Failure> {
        Ok(Node {
            app_configured: Some(id),
            ..self.made_from(node, id)
        })
    }

    fn forget_all_but(&self, _: &[Digest]) {}
}
