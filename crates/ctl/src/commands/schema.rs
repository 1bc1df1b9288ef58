//! `schema`: what the schema of a node is, when its bookkeeping is wrong.

use clap::{Args, Subcommand};
use futures::future::join_all;
use serde::Serialize;
use togather_model::Line;

use super::{Context, Nodes};
use crate::error::{Error, Result};

/// The `schema` field of what was set.
const SCHEMA: &str = "togather.fleet/schema-set/v1";

/// Say what a node's schema is, after a migration that somebody else left half-way
#[derive(Subcommand)]
pub(crate) enum Schema {
    Set(Set),
}

/// Say at which migration the schema is, whole
///
/// Only the bookkeeping is changed, not a table: look first at what the database really has. Needs
/// the role admin, and is refused while a deployment is under way.
#[derive(Args)]
pub(crate) struct Set {
    /// The number of the newest migration that is whole; 0: none ran
    #[arg(value_name = "N")]
    version: u64,
    #[command(flatten)]
    nodes: Nodes,
    /// Whose migrations: `app`, or `river`
    #[arg(long, value_name = "NAME", default_value = "app")]
    line: Line,
    /// The node's name: do not ask for it; once for each node
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    confirm: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    nodes: Vec<Done>,
}

#[derive(Serialize)]
struct Done {
    node: String,
    line: Line,
    /// What the bookkeeping said before.
    before: String,
    version: u64,
}

impl Schema {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Set(set) => set.run(context).await,
        }
    }
}

impl Set {
    async fn run(self, context: &Context) -> Result<()> {
        let session = context.session()?;
        let clients = session.clients(&session.file.choose(&self.nodes.nodes)?)?;
        let (line, version) = (self.line, self.version);
        let mut typed = Vec::new();
        for client in &clients {
            let name = client.name();
            context.ui.say(format!(
                "{name}: {} is said to be at {version}; no table is changed",
                line.schema()
            ));
            typed.push(context.ui.node_name(name, &self.confirm)?);
        }
        session.unlock(Some(&crate::ui::ask::passphrase))?;
        let set = clients.iter().zip(typed).map(|(client, typed)| async move {
            let some = (version > 0).then_some(version);
            let before = client.set_schema(line, some, typed).await?;
            Ok(Done {
                node: client.name().to_owned(),
                line,
                before,
                version,
            })
        });
        let (mut nodes, mut errors) = (Vec::new(), Vec::new());
        for answer in join_all(set).await {
            match answer {
                Ok(done) => nodes.push(done),
                Err(error) => errors.push(error),
            }
        }
        let answer = Answer {
            schema: SCHEMA,
            nodes,
        };
        context.ui.data(|| text(&answer), &answer)?;
        Error::several(errors).map_or(Ok(()), Err)
    }
}

fn text(answer: &Answer) -> String {
    let line = |done: &Done| {
        format!(
            "{}: {} is at {}; before: {}\n",
            done.node,
            done.line.schema(),
            done.version,
            done.before
        )
    };
    answer.nodes.iter().map(line).collect()
}
