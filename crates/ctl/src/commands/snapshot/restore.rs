//! `snapshot restore`: a snapshot in the live database's place, and back again.

use clap::Args;
use togather_model::Timestamp;
use ulid::Ulid;

use super::{
    super::{Context, Nodes, pace::Patience},
    carry_out,
};
use crate::{
    client::{Client, Order, Snapshot},
    error::{Error, Result},
    jobs::Outcome,
    ui::shelves,
};

/// Put a snapshot in the live database's place on one node, or take that back
///
/// Nothing is overwritten: the snapshot is restored beside the live database and checked, then the
/// app stops, the two change places, and the app starts again. The replaced database is kept, and
/// `snapshot restore --undo` puts it back.
#[derive(Args)]
pub(crate) struct Restore {
    /// The snapshot's id, as `snapshot list` shows it
    #[arg(value_name = "ID", required_unless_present = "undo")]
    snapshot: Option<Ulid>,
    #[command(flatten)]
    nodes: Nodes,
    /// The store it is in, if that is not the node's own: that of another node, or of one that was
    /// lost
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Put the database back that the last restore replaced
    #[arg(long, conflicts_with_all = ["snapshot", "store"])]
    undo: bool,
    /// The live database's name: do not ask for it
    #[arg(long, value_name = "DBNAME")]
    yes_restore: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

impl Restore {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let session = context.signing_session()?;
        let nodes = session.file.choose(&self.nodes.nodes)?;
        let [node] = nodes.as_slice() else {
            return Err(Error::usage(format!(
                "a restore is for exactly one node; these are {}",
                nodes.len()
            ))
            .next("name the one: --nodes NAME"));
        };
        let client = session.client(node)?;
        let order = match self.snapshot {
            Some(snapshot) => {
                let found = find(context, &client, snapshot, self.store.as_deref()).await?;
                announce(context, &client, &found);
                Order::Restore {
                    snapshot,
                    store: self.store,
                    database: context.ui.database_name(self.yes_restore)?,
                }
            }
            None => {
                let replaced = announce_undo(context, &client).await?;
                Order::UndoRestore {
                    replaced,
                    database: context.ui.database_name(self.yes_restore)?,
                }
            }
        };
        let outcomes = carry_out(context, &[client], &order, &self.patience).await?;
        let errors = outcomes.iter().filter_map(Outcome::error);
        Error::several(errors).map_or(Ok(()), Err)
    }
}

/// The snapshot that is meant, so that whoever is asked sees what they are asked about.
async fn find(
    context: &Context,
    client: &Client,
    id: Ulid,
    store: Option<&str>,
) -> Result<Snapshot> {
    let shelf = client.snapshots(store).await?;
    let wanted = id.to_string();
    let found = shelf.snapshots.into_iter().find(|one| one.id == wanted);
    if found.is_none()
        && let Some(failure) = shelf.failure
    {
        return Err(Error::of_node(client.name(), failure));
    }
    found.ok_or_else(|| {
        let (name, place) = (client.name(), store.unwrap_or("its own store"));
        let mut list = format!("snapshot list --nodes {name}");
        if let Some(store) = store {
            list.push_str(&format!(" --store {}", shell_words::quote(store)));
        }
        Error::usage(format!("{name} finds no snapshot {id} in {place}"))
            .next(format!("see what is there: {}", context.command(&list)))
    })
}

fn announce(context: &Context, client: &Client, snapshot: &Snapshot) {
    let (name, now) = (client.name(), Timestamp::now());
    let what = shelves::one(snapshot, now);
    context
        .ui
        .say(format!("{name}: to take the live database's place: {what}"));
    context.ui.say(format!(
        "{name}: what was written since then is not in it; the replaced database is kept, and \
         `snapshot restore --undo` puts it back"
    ));
}

/// The database that is meant: the node takes this one, or none. Empty: there is only a restore that
/// is stuck to be taken back, which needs no name.
async fn announce_undo(context: &Context, client: &Client) -> Result<String> {
    let (name, status) = (client.name(), client.status().await?);
    let mut kept = status.replaced_databases.into_iter();
    if let Some(stuck) = &status.stuck_job {
        context.ui.say(format!(
            "{name}: the {} of {:.0} is stuck and is taken back first, unless a version is served on \
             what it left",
            stuck.kind.words(),
            stuck.started_at
        ));
    }
    let Some(last) = kept.next() else {
        return match (status.stuck_job, status.schema) {
            (Some(_), _) => Ok(String::new()),
            (None, None) => Err(Error::other(format!(
                "{name} cannot say which databases restores replaced: its database does not answer"
            ))
            .next(format!(
                "see why: {}",
                context.command(&format!("status --nodes {name}"))
            ))),
            (None, Some(_)) => Err(Error::other(format!(
                "{name} keeps no database that a restore replaced: there is nothing to take back"
            ))),
        };
    };
    let then = match status.stuck_job {
        Some(_) => "in that case, ",
        None => "",
    };
    context.ui.say(format!(
        "{name}: {then}to take the live database's place again: {last}; what was written since then stays \
         in the database that is live now, which is kept in turn"
    ));
    let older: Vec<String> = kept.collect();
    if !older.is_empty() {
        let older = older.join(", ");
        context.ui.say(format!("{name}: kept as well: {older}"));
    }
    Ok(last)
}
