//! The soak: the new version is watched for a while before the deployment counts as done.

use std::time::Duration;

use togather_model::{Failure, FailureKind};
use tokio::time::Instant;

use super::Deployment;
use crate::health::Requests;

/// The longest time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Fewer requests than this say nothing about an error rate.
const FEWEST_REQUESTS: u64 = 20;

impl Deployment<'_> {
    /// Watches health, error rate and latency until the soak is over.
    pub(super) async fn soak(&self) -> Result<String, Failure> {
        let strategy = &self.node.strategy;
        let end = Instant::now() + self.plan.soak;
        let at_start = self.requests().await;
        let (mut looks, mut bad_in_a_row) = (0_u32, 0);
        loop {
            let complaint = self.complaint().await;
            looks += 1;
            bad_in_a_row = if complaint.is_some() {
                bad_in_a_row + 1
            } else {
                0
            };
            let left = end.saturating_duration_since(Instant::now());
            match complaint {
                Some(complaint) if bad_in_a_row >= strategy.health_successes => {
                    return Err(self.failed_in_soak(complaint));
                }
                None if left.is_zero() => {
                    return Ok(format!(
                        "looked {looks} times in {} s",
                        self.plan.soak.as_secs()
                    ));
                }
                // One bad look is not the end, but a soak does not end on one either.
                Some(_) | None => {}
            }
            let counted = self.requests().await;
            if let Some(complaint) = error_rate(at_start, counted, strategy.soak_error_rate) {
                return Err(self.failed_in_soak(complaint));
            }
            tokio::time::sleep(left.clamp(strategy.health_interval.min(LOOK), LOOK)).await;
        }
    }

    /// What is wrong with the new version now, in its slot or on the public path.
    async fn complaint(&self) -> Option<String> {
        let slot = self.node.health.slot(self.plan.to).await;
        let public = self.node.health.public().await;
        for (place, answer) in [("in its slot", slot), ("on the public path", public)] {
            match answer {
                Err(e) => {
                    let failure = Failure::caused_by(FailureKind::Unhealthy, "no answer", &e);
                    return Some(format!("{place}: {failure}"));
                }
                Ok(answer) if !answer.is_healthy() => {
                    return Some(format!("{place}: {}", answer.why()));
                }
                Ok(answer) if answer.latency > self.node.strategy.soak_latency => {
                    return Some(format!(
                        "{place}: the health answer took {} ms",
                        answer.latency.as_millis()
                    ));
                }
                Ok(_) => {}
            }
        }
        None
    }

    async fn requests(&self) -> Option<Requests> {
        let counted = self.node.health.requests(self.plan.to).await;
        counted.ok().flatten()
    }

    fn failed_in_soak(&self, complaint: String) -> Failure {
        let mut failure = Failure::new(
            FailureKind::Unhealthy,
            format!("{} went bad while it was watched", self.plan.version),
        );
        failure.causes.push(complaint);
        failure.next("mend the release; the version before serves again")
    }
}

/// The share of failed requests since the start, put in words if it is over the limit.
fn error_rate(before: Option<Requests>, now: Option<Requests>, limit: f64) -> Option<String> {
    let (before, now) = (before?, now?);
    let total = now.total.checked_sub(before.total)?;
    let failed = now.failed.checked_sub(before.failed)?;
    #[allow(clippy::cast_precision_loss)]
    let over = total >= FEWEST_REQUESTS && failed as f64 > limit * total as f64;
    over.then(|| format!("{failed} of {total} requests failed"))
}
