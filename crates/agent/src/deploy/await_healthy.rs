//! Is the new version fit to serve? Asked in its slot before the switch, and again through the proxy
//! after it.

use togather_model::{Failure, FailureKind, Live, Slot, Step};

use super::Deployment;
use crate::health::{Answer, Asker, Place, Proof};

impl Deployment<'_> {
    /// The new version answers in its slot, fit and as the release's commit, several times in a row.
    pub(super) async fn await_healthy(&self) -> Result<String, Failure> {
        let (slot, git_commit) = (self.plan.to, &self.plan.git_commit);
        let judge = |answer: &Answer| self.judge(answer);
        let place = Place::Slot(slot);
        let asker = &self.node.health;
        let proven = match self.prove(asker, place, slot, git_commit, &judge).await {
            Ok(proven) => proven,
            Err(why) => return Err(self.unhealthy(slot, &self.plan.version, &why).await),
        };
        let pages = self.expect_pages(Step::AwaitHealthy, place).await?;
        Ok(proven + &pages)
    }

    /// The public path must answer with the new version: what the proxy says it does is not proof.
    pub(super) async fn prove_traffic(&self) -> Result<String, Failure> {
        let (slot, git_commit) = (self.plan.to, &self.plan.git_commit);
        let judge = |answer: &Answer| self.judge(answer);
        let (asker, place) = (&self.node.health, Place::Public);
        let proven = self.prove(asker, place, slot, git_commit, &judge).await;
        let proven = proven.map_err(|why| {
            Failure::new(
                FailureKind::Unhealthy,
                format!(
                    "the public path does not answer with {}: {why}",
                    self.plan.version
                ),
            )
            .next("look at the Caddyfile: the site must import the snippet, and `proxy.public_url` must lead to it")
        })?;
        let pages = self.expect_pages(Step::ProveTraffic, Place::Public).await?;
        Ok(proven + &pages)
    }

    /// The version before answers again, asked and judged as the files said that made its container. It
    /// need be no better than it was when it was replaced.
    pub(super) async fn await_old(&self, old: &Live) -> Result<String, Failure> {
        let made_it = self.node.that_made(old).await;
        let judge = |answer: &Answer| {
            let is_as_it_was = || {
                let (now, before) = (answer.verdict()?, self.plan.live_verdict.as_ref()?);
                (now == *before).then_some(())
            };
            let fit = answer.is_fit(&made_it.acceptance, None);
            fit.or_else(|why| is_as_it_was().ok_or(why))
        };
        let (slot, place) = (old.slot, Place::Slot(old.slot));
        let asker = &made_it.health;
        match self
            .prove(asker, place, slot, &old.git_commit, &judge)
            .await
        {
            Ok(proven) => Ok(proven),
            Err(why) => Err(self.unhealthy(slot, &old.version, &why).await),
        }
    }

    /// What is wrong with what the new version says of itself.
    pub(super) fn judge(&self, answer: &Answer) -> Result<(), String> {
        answer.is_fit(&self.node.acceptance, self.plan.live_verdict.as_ref())
    }

    async fn prove(
        &self,
        asker: &Asker,
        place: Place,
        slot: Slot,
        git_commit: &str,
        judge: &(dyn Fn(&Answer) -> Result<(), String> + Send + Sync),
    ) -> Result<String, String> {
        let proof = Proof {
            asker,
            strategy: &self.node.strategy,
            place,
            containers: match place {
                Place::Slot(_) => Some(&*self.node.containers),
                Place::Public => None,
            },
            slot,
            git_commit,
            judge,
        };
        proof.carry_out().await
    }

    async fn unhealthy(&self, slot: Slot, version: &str, why: &str) -> Failure {
        let mut failure = Failure::new(
            FailureKind::Unhealthy,
            format!("{version} in {slot} is not healthy"),
        );
        failure.causes.push(why.to_owned());
        if let Ok(logs) = self.node.containers.logs(slot, 10).await
            && !logs.trim().is_empty()
        {
            failure
                .causes
                .push(format!("its last lines were:\n{}", logs.trim_end()));
        }
        match slot == self.plan.to {
            true => failure.next(format!("mend the release; {}", self.what_serves())),
            false => failure.next(format!("look at `docker logs togather-{slot}` on the node")),
        }
    }

    /// What serves when the new version does not, before the switch and after the undo.
    pub(super) fn what_serves(&self) -> String {
        match &self.plan.from {
            Some(live) => format!("the version before ({}) serves on", live.version),
            None => "nothing serves, as before: no version was live".into(),
        }
    }
}
