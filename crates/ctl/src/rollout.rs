//! The story of a rollout: the leases of all chosen nodes, then one node after the other, then
//! what came of it.
//!
//! Nothing is remembered here that the nodes do not remember too: whoever asks them how far they
//! are ([`taken_up`]) can carry the same rollout on from another machine. A rollback walks the same
//! way.

pub mod fetch;
pub mod leases;
pub mod news;
mod order;
mod patience;
pub mod standing;
pub mod stored;
pub mod summary;
pub mod survey;
pub mod taken_up;

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use togather_model::{
    OperationKind,
    rollout::{Ending, Next, Progress, Rollout, Unreachable, next},
};
use togather_proto::v1;

use self::{
    leases::Leases,
    news::{News, Reporter},
    order::{Ended, Officer},
    standing::{Standing, Standings},
    summary::Summary,
    taken_up::ABORTED,
};
use crate::{
    client::{Archive, Client, Wanted},
    error::{Error, Kind, Result},
};

/// A rollout or rollback that was decided on.
pub struct Course<'a> {
    /// What it sets out to do.
    pub rollout: Rollout,
    /// What is ordered of each node.
    pub wanted: Wanted,
    /// What the nodes keep of it; `None` for a rollback, which is over too soon to be taken up.
    pub stored: Option<v1::StoredRollout>,
    /// Whether it was begun earlier: then failing to take its leases does not end it.
    pub taken_up: bool,
    /// The image, and the nodes that lack it and cannot pull it.
    pub archive: Option<(Archive, Vec<String>)>,
    /// The rollout's nodes.
    pub clients: Vec<Client>,
    /// Whether the nodes get the image before the first of them is touched.
    pub prefetch: bool,
    /// For how long a node that cannot be reached in mid-rollout is tried again.
    pub patience: Duration,
    /// Who hears of it.
    pub news: &'a dyn Reporter,
}

/// Carries a rollout out, from wherever its nodes are, to its end. `None`: it was interrupted, and can be
/// gone on with.
///
/// # Errors
/// A node is held by somebody else, the rollout was taken over, or it was interrupted before any node was
/// touched. That a node failed is no error here: the summary says so.
pub async fn carry_out(
    course: &Course<'_>,
    mut standings: Standings,
    interrupted: impl Future<Output = ()>,
) -> Result<Option<Summary>> {
    tokio::pin!(interrupted);
    let leases = Leases::take(course, &standings).await?;
    course.news.tell(&News::Started {
        rollout: course.rollout.id,
        version: &course.rollout.version,
        nodes: &course.rollout.nodes,
    });
    let prefetched = tokio::select! {
        prefetched = course.prefetch(&leases, &mut standings) => prefetched,
        () = &mut interrupted => Err(Error::new(Kind::Interrupted, INTERRUPTED)),
    };
    if let Err(error) = prefetched {
        // No node was touched: a rollout that never began is not to be found as one that has not
        // ended.
        let ending = (!course.taken_up).then_some(ABORTED);
        leases.give_back(ending).await;
        let goes_on = course.taken_up && error.kind == Kind::Interrupted;
        return if goes_on { Ok(None) } else { Err(error) };
    }
    let walked = tokio::select! {
        walked = course.walk(&leases, &mut standings) => walked,
        () = &mut interrupted => return Ok(None),
    };
    let ending = walked.as_ref().ok().map(|ending| ending.as_str());
    for (node, error) in leases.give_back(ending).await {
        course.news.tell(&News::Warning {
            node: &node,
            message: format!("its lease ends by itself within a minute: {error}"),
        });
    }
    Ok(Some(Summary::of(course, walked?, standings).await))
}

/// What is said of an interruption while the nodes get the image.
const INTERRUPTED: &str = "interrupted: no node was touched, and the rollout has ended; run the command again to begin anew";

impl Course<'_> {
    /// One step after the other, each decided from how far the nodes are.
    async fn walk(&self, leases: &Leases, standings: &mut Standings) -> Result<Ending> {
        loop {
            let (node, standing) = match next(&self.rollout, &standings.progress()) {
                Next::Follow(node) => (node, self.follow(node).await?),
                Next::Deploy(node) => (node, self.deploy(node, leases).await?),
                Next::TakeBack(node) => (node, self.take_back(node, leases).await?),
                Next::Finish(ending) => return Ok(ending),
            };
            if standing.progress == Progress::Behind {
                leases.forget(node);
            }
            self.news.tell(&News::NodeEnded {
                node,
                progress: standing.progress,
            });
            standings.set(node, standing);
        }
    }

    /// Brings the image to every node that is to be begun, side by side, if one is to be begun at all: a
    /// rollout that takes nodes back or has come to its end needs no image. Ends at the first node that
    /// does not get it; what is under way on the others goes on there.
    async fn prefetch(&self, leases: &Leases, standings: &mut Standings) -> Result<()> {
        let Wanted::Release(release) = &self.wanted else {
            return Ok(());
        };
        let goes_forward = match next(&self.rollout, &standings.progress()) {
            Next::Deploy(_) | Next::Follow(_) => true,
            Next::TakeBack(_) | Next::Finish(_) => false,
        };
        let to_begin = |client: &&Client| {
            let progress = standings.of(client.name()).progress;
            self.prefetch && goes_forward && progress == Progress::Pending
        };
        let nodes = self.clients.iter().filter(to_begin).map(|client| async {
            let brought = self.bring_image(client, release, leases).await;
            (client.name(), brought)
        });
        let mut nodes: FuturesUnordered<_> = nodes.collect();
        let mut errors = Vec::new();
        // Once one has failed, only those are heard that have ended as well.
        while let Some((node, brought)) = match errors.is_empty() {
            true => nodes.next().await,
            false => nodes.next().now_or_never().flatten(),
        } {
            if let Err(error) = brought {
                errors.extend(self.has_no_image(node, error, leases, standings));
            }
        }
        Error::several(errors).map_or(Ok(()), Err)
    }

    /// Leaves a node behind that cannot be reached, where that is wanted; otherwise it is an error.
    fn has_no_image<'a>(
        &'a self,
        node: &'a str,
        error: Error,
        leases: &Leases,
        standings: &mut Standings,
    ) -> Option<Error> {
        if error.is_unreachable() && self.rollout.unreachable == Unreachable::Skip {
            leases.forget(node);
            standings.set(node, Standing::behind(error));
            let progress = Progress::Behind;
            self.news.tell(&News::NodeEnded { node, progress });
            return None;
        }
        let why = error.to_string();
        self.news.tell(&News::FetchFailed { node, why });
        Some(error.next(match self.taken_up {
            true => "no further node was touched",
            false => "no node was touched",
        }))
    }

    async fn bring_image(&self, client: &Client, release: &Bytes, leases: &Leases) -> Result<()> {
        let officer = self.officer(client.name())?;
        let lease = leases.proof(client.name())?;
        self.send_image(&officer, &lease).await?;
        let fetched = fetch::on(client, release, self.patience, self.news).await;
        fetched.map(drop)
    }

    async fn follow(&self, node: &str) -> Result<Standing> {
        let watched = self.officer(node)?.watch_latest().await;
        Standing::of(node, OperationKind::Deploy, watched)
    }

    async fn deploy(&self, node: &str, leases: &Leases) -> Result<Standing> {
        let order = match self.wanted {
            Wanted::Release(_) => OperationKind::Deploy,
            Wanted::Back(_) => OperationKind::Rollback,
            Wanted::Again => OperationKind::Redeploy,
        };
        self.news.tell(&News::NodeStarted { node, order });
        let officer = self.officer(node)?;
        let lease = leases.proof(node)?;
        if !self.prefetch
            && let Err(error) = self.send_image(&officer, &lease).await
        {
            return Standing::of(node, OperationKind::Deploy, Err(error));
        }
        let ended = officer.carry_out(order, &self.wanted, lease).await;
        Standing::of(node, OperationKind::Deploy, ended.map(Ended::on_purpose))
    }

    async fn take_back(&self, node: &str, leases: &Leases) -> Result<Standing> {
        let order = OperationKind::Rollback;
        self.news.tell(&News::NodeStarted { node, order });
        let lease = leases.proof(node)?;
        let ended = self
            .officer(node)?
            .carry_out(order, &Wanted::Back(None), lease)
            .await;
        Standing::of(node, order, ended)
    }

    async fn send_image(&self, officer: &Officer<'_>, lease: &v1::LeaseProof) -> Result<()> {
        let node = officer.client.name();
        match &self.archive {
            Some((archive, lacking)) if lacking.iter().any(|name| name == node) => {
                let bytes = archive.bytes;
                self.news.tell(&News::SendingImage { node, bytes });
                officer
                    .insist(|| officer.client.load_image(archive, lease.clone()))
                    .await
            }
            Some(_) | None => Ok(()),
        }
    }

    fn officer(&self, node: &str) -> Result<Officer<'_>> {
        let client = self.clients.iter().find(|client| client.name() == node);
        Ok(Officer {
            client: client
                .ok_or_else(|| Error::configuration(format!("the fleet file has no `{node}`")))?,
            rollout: &self.rollout,
            patience: self.patience,
            news: self.news,
        })
    }
}
