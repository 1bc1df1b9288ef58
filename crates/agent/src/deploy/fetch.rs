//! The step that fetches the image.

use togather_model::{Failure, Step};

use super::{
    Deployment,
    progress::{now_and_then, signs_of_life},
};
use crate::fetches;

impl Deployment<'_> {
    /// Fetches the image, or waits for the fetch of it that an operator began ahead.
    pub(super) async fn fetch_image(&self) -> Result<String, Failure> {
        let image = &self.release.image;
        let stages = self.node.fetches.fetch(self.node, image);
        let (say, heard) = signs_of_life();
        let fetching = async move { fetches::ended(stages, now_and_then(say)).await };
        let (fetched, ()) = tokio::join!(fetching, self.write_down(Step::FetchImage, heard));
        let fetched = fetched?;
        Ok(match fetched.was_here {
            true => "already on the node".into(),
            false => format!(
                "fetched {}, {} MiB on disk",
                image.digest().short(),
                fetched.bytes >> 20
            ),
        })
    }
}
