//! Images fetched on all nodes side by side, before the first of them is touched or the evening before.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::{
    news::{News, Reporter},
    patience::Patience,
};
use crate::{
    client::{Client, Fetched, Told},
    error::{Error, Result},
};

/// What came of it on one node.
#[derive(Debug)]
pub struct Outcome {
    /// The node's name.
    pub node: String,
    /// The image; `None`: its agent fetches an image only for a deployment.
    pub fetched: Result<Option<Fetched>>,
}

/// Has all these nodes fetch the release's image at the same time, and waits until each has it, says
/// why not, or is out of reach for longer than our patience. The outcomes come in the order of the
/// nodes.
pub async fn everywhere(
    clients: &[Client],
    release: &Bytes,
    patience: Duration,
    news: &dyn Reporter,
) -> Vec<Outcome> {
    let nodes = clients.iter().map(|client| async move {
        Outcome {
            node: client.name().to_owned(),
            fetched: on(client, release, patience, news).await,
        }
    });
    join_all(nodes).await
}

/// Has one node fetch the image. A stream that breaks off means nothing: the node is asked again, and
/// goes on where it is.
pub(super) async fn on(
    client: &Client,
    release: &Bytes,
    patience: Duration,
    news: &dyn Reporter,
) -> Result<Option<Fetched>> {
    let node = client.name();
    let mut patience = Patience::new(node, patience, news);
    loop {
        let broken = match client.fetch_image(release).await {
            Ok(None) => {
                let message = "its agent is older and fetches the image only when it is its turn";
                let message = message.to_owned();
                news.tell(&News::Warning { node, message });
                return Ok(None);
            }
            Ok(Some(mut fetch)) => loop {
                match fetch.next().await {
                    Ok(Some(told)) => {
                        patience.heard();
                        match told {
                            Told::Going(progress) => {
                                let progress = &progress;
                                news.tell(&News::Fetching { node, progress });
                            }
                            Told::Ended(image) => {
                                news.tell(&News::Fetched {
                                    node,
                                    image: &image,
                                });
                                return Ok(Some(image));
                            }
                        }
                    }
                    Ok(None) => {
                        break Error::unreachable(format!("{node} broke off while it fetched"));
                    }
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        patience.bear(broken).await?;
    }
}
