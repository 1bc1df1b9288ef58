//! Pages that the new version must answer as `app.expect` says: a container that runs, and even one
//! that says it is well, may lack half of its pages.

use togather_model::{Failure, FailureKind, Step};

use super::{Deployment, progress::signs_of_life};
use crate::health::{Expectation, Place};

impl Deployment<'_> {
    /// Asks for each page once. Returns what to add to the step's note.
    pub(super) async fn expect_pages(&self, step: Step, place: Place) -> Result<String, Failure> {
        let pages = self.node.expect.as_slice();
        if pages.is_empty() {
            return Ok(String::new());
        }
        let (say, heard) = signs_of_life();
        let asking = async move {
            let expectation = Expectation {
                asker: &self.node.health,
                strategy: &self.node.strategy,
                place,
                containers: match place {
                    Place::Slot(_) => Some(&*self.node.containers),
                    Place::Public => None,
                },
                slot: self.plan.to,
                pages,
                say: &say,
            };
            expectation.carry_out().await
        };
        let (asked, ()) = tokio::join!(asking, self.write_down(step, heard));
        match asked {
            Ok(told) => Ok(format!("; {told}")),
            Err(wrong) => Err(self.not_as_expected(place, wrong)),
        }
    }

    fn not_as_expected(&self, place: Place, wrong: Vec<String>) -> Failure {
        let (version, slot) = (&self.plan.version, self.plan.to);
        let (whence, next) = match place {
            Place::Slot(_) => (
                format!("{version} in {slot}"),
                format!(
                    "mend the release, or `app.expect` in deployment.yml on the node; {}",
                    self.what_serves()
                ),
            ),
            Place::Public => (
                format!("{version} through the proxy"),
                "its slot answered them well: look at the Caddyfile, where every route to the app must come from \
                 the snippet"
                    .to_owned(),
            ),
        };
        let mut failure = Failure::new(
            FailureKind::Unhealthy,
            format!("{whence} does not answer as `app.expect` says"),
        );
        failure.causes = wrong;
        failure.next(next)
    }
}
