//! The leases of the chosen nodes: taken before the first change, renewed as long as it goes on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use togather_model::{Lease, Ulid, lease};
use togather_proto::v1;
use tokio::{task::JoinHandle, time::MissedTickBehavior};

use super::{Course, standing::Standings, taken_up::ABORTED};
use crate::{
    client::Client,
    error::{Error, Result},
};

/// Twice between two renewals, one may get lost before the lease dies.
const RENEW_EVERY: Duration = Duration::from_secs(lease::LIFETIME.as_secs() / 3);

/// The leases of one rollout or rollback, renewed in the background until this is dropped.
pub struct Leases {
    held: Arc<Held>,
    renewing: JoinHandle<()>,
}

struct Held {
    holder: Ulid,
    rollout: Option<v1::StoredRollout>,
    clients: Vec<Client>,
    proofs: Mutex<BTreeMap<String, v1::LeaseProof>>,
    lost: Mutex<Option<Error>>,
}

impl Leases {
    /// Takes the lease on every node that can be reached, or on none. The rollout is left with
    /// each, if it is one that can be taken up.
    ///
    /// # Errors
    /// A node is held by somebody else or cannot be reached; what was taken is given back.
    pub(super) async fn take(course: &Course<'_>, standings: &Standings) -> Result<Self> {
        let mut clients = course.clients.clone();
        clients.retain(|client| !standings.is_behind(client.name()));
        // Two operators who take the same nodes in the same order cannot block each other half-way.
        clients.sort_by_key(|client| client.node().id);
        let held = Held {
            holder: course.rollout.id,
            rollout: course.stored.clone(),
            clients,
            proofs: Mutex::default(),
            lost: Mutex::default(),
        };
        for client in &held.clients {
            if let Err(error) = held.acquire(client).await {
                // A rollout that never began is not to be found as one that has not ended. Leases
                // that we cannot give back die by themselves within a minute.
                held.end((!course.taken_up).then_some(ABORTED)).await;
                return Err(error);
            }
        }
        let held = Arc::new(held);
        let renewing = tokio::spawn(Arc::clone(&held).renew_for_ever());
        Ok(Self { held, renewing })
    }

    /// What proves to this node that we hold its lease.
    ///
    /// # Errors
    /// A lease was lost, here or on another node: somebody else has taken over.
    pub fn proof(&self, node: &str) -> Result<v1::LeaseProof> {
        if let Some(lost) = lock(&self.held.lost).clone() {
            return Err(lost);
        }
        let proof = lock(&self.held.proofs).get(node).cloned();
        proof.ok_or_else(|| Error::held(format!("{node}: its lease was given up")))
    }

    /// Takes no more notice of a node that cannot be reached: its lease dies by itself.
    pub fn forget(&self, node: &str) {
        lock(&self.held.proofs).remove(node);
    }

    /// Gives the leases back, after the rollout's ending was written down if there is one. Returns
    /// the nodes on which that did not work; their leases die by themselves.
    pub async fn give_back(self, ending: Option<&str>) -> Vec<(String, Error)> {
        self.renewing.abort();
        self.held.end(ending).await
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Held {
    fn has(&self, client: &Client) -> bool {
        lock(&self.proofs).contains_key(client.name())
    }

    fn remember(&self, client: &Client, lease: &Lease) {
        lock(&self.proofs).insert(client.name().to_owned(), proof_of(lease));
    }

    async fn end(&self, ending: Option<&str>) -> Vec<(String, Error)> {
        let answers = self.clients.iter().map(|client| async move {
            let ended = match ending.filter(|_| self.rollout.is_some() && self.has(client)) {
                Some(ending) => client.end_rollout(self.holder, ending).await,
                None => Ok(()),
            };
            let released = self.release(client).await;
            let error = ended.and(released).err()?;
            Some((client.name().to_owned(), error))
        });
        join_all(answers).await.into_iter().flatten().collect()
    }

    async fn acquire(&self, client: &Client) -> Result<()> {
        let lease = client
            .acquire_lease(self.holder, self.rollout.clone())
            .await?;
        self.remember(client, &lease);
        Ok(())
    }

    async fn release(&self, client: &Client) -> Result<()> {
        let proof = lock(&self.proofs).remove(client.name());
        match proof {
            Some(proof) => client.release_lease(proof, false).await,
            None => Ok(()),
        }
    }

    async fn renew_for_ever(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let answers = join_all(self.clients.iter().map(|client| self.renew(client))).await;
            let lost = answers.into_iter().filter_map(Result::err);
            if let Some(error) = Error::several(lost) {
                *lock(&self.lost) = Some(error);
                return;
            }
        }
    }

    /// A lease that ran out while the node was out of reach, and that nobody took, is taken again.
    async fn renew(&self, client: &Client) -> Result<()> {
        let proof = lock(&self.proofs).get(client.name()).cloned();
        let Some(proof) = proof else { return Ok(()) };
        match client.renew_lease(proof).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_held() => match self.is_free(client).await {
                Ok(true) => self.acquire(client).await,
                Ok(false) => Err(error),
                Err(unknown) => unless_unreachable(unknown),
            },
            Err(error) => unless_unreachable(error),
        }
    }

    /// Nobody has the node, and nobody has ended the rollout meanwhile.
    async fn is_free(&self, client: &Client) -> Result<bool> {
        if client.status().await?.lease.is_some() {
            return Ok(false);
        }
        let records = client.rollouts(Some(self.holder)).await?;
        Ok(records.iter().all(|record| record.ending.is_none()))
    }
}

/// A node that cannot be reached may be back before its lease ends.
fn unless_unreachable(error: Error) -> Result<()> {
    if error.is_unreachable() {
        Ok(())
    } else {
        Err(error)
    }
}

/// What proves to a node that this lease is held.
#[must_use]
pub fn proof_of(lease: &Lease) -> v1::LeaseProof {
    v1::LeaseProof {
        holder: lease.holder.to_string(),
        fencing: lease.fencing,
    }
}

/// A poisoned lock means a panic elsewhere, which already ends the program; the map is whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
