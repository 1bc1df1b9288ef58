//! How far a pull is, from what Docker tells of each layer.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bollard::models::CreateImageInfo;

use crate::{
    containers::UNPACKING,
    progress::{Progress, Say},
};

/// How often it is told.
const PACE: Duration = Duration::from_secs(1);

const DOWNLOADING: &str = "downloading the image";

/// A layer as far as Docker told of it.
#[derive(Debug, Default, Clone, Copy)]
struct Layer {
    /// Bytes that came.
    downloaded: u64,
    /// Bytes unpacked.
    unpacked: u64,
    /// Bytes in all as they come over the network; known once they begin to come.
    bytes: Option<u64>,
    /// Whether all of it came.
    is_here: bool,
}

/// The layers of an image that is being pulled.
pub(super) struct Layers<'a> {
    layers: BTreeMap<String, Layer>,
    say: Say<'a>,
    stage: &'static str,
    since: Instant,
    told: Instant,
}

impl<'a> Layers<'a> {
    pub(super) fn new(say: Say<'a>) -> Self {
        let now = Instant::now();
        say(Progress::stage(DOWNLOADING));
        Self {
            layers: BTreeMap::new(),
            say,
            stage: DOWNLOADING,
            since: now,
            told: now,
        }
    }

    /// Takes in what Docker tells, and tells on how far the whole is, now and then.
    pub(super) fn hear(&mut self, told: &CreateImageInfo) {
        self.take_in(told);
        let stage = self.stage_now();
        let is_new = stage != self.stage;
        if is_new {
            self.stage = stage;
            self.since = Instant::now();
        }
        if is_new || self.told.elapsed() >= PACE {
            self.told = Instant::now();
            (self.say)(self.progress());
        }
    }

    fn take_in(&mut self, told: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&told.id, told.status.as_deref()) else {
            return;
        };
        // What is here already has nothing to come, and `Pulling from` names the repository.
        if status == "Already exists" || status.starts_with("Pulling from") {
            self.layers.remove(id);
            return;
        }
        let layer = self.layers.entry(id.clone()).or_default();
        let detail = told.progress_detail.as_ref();
        let bytes = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let current = bytes(detail.and_then(|detail| detail.current));
        let total = bytes(detail.and_then(|detail| detail.total)).filter(|total| *total > 0);
        match status {
            "Downloading" => {
                layer.downloaded = current.unwrap_or(layer.downloaded);
                layer.bytes = total.or(layer.bytes);
            }
            "Verifying Checksum" | "Download complete" => layer.arrived(),
            "Extracting" => {
                layer.bytes = layer.bytes.or(total);
                layer.arrived();
                layer.unpacked = current.unwrap_or(layer.unpacked);
            }
            "Pull complete" => {
                layer.arrived();
                layer.unpacked = layer.downloaded;
            }
            _ => {}
        }
    }

    fn stage_now(&self) -> &'static str {
        let all_here = self.layers.values().all(|layer| layer.is_here);
        if all_here && !self.layers.is_empty() {
            UNPACKING
        } else {
            DOWNLOADING
        }
    }

    fn progress(&self) -> Progress {
        let layers = self.layers.values();
        let done = layers.map(|layer| match self.stage {
            UNPACKING => layer.unpacked,
            _ => layer.downloaded,
        });
        // While a layer has not begun to come, nobody knows how much there is in all.
        let sizes = self.layers.values().map(|layer| match layer.bytes {
            None if layer.is_here => Some(layer.downloaded),
            bytes => bytes,
        });
        Progress {
            message: self.stage.to_owned(),
            bytes_done: done.sum(),
            bytes_total: sizes.sum::<Option<u64>>().filter(|total| *total > 0),
            elapsed: self.since.elapsed(),
        }
    }
}

impl Layer {
    const fn arrived(&mut self) {
        self.is_here = true;
        if let Some(bytes) = self.bytes {
            self.downloaded = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bollard::models::ProgressDetail;

    use super::*;

    fn told(id: &str, status: &str, detail: Option<(i64, i64)>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: detail.map(|(current, total)| ProgressDetail {
                current: Some(current),
                total: Some(total),
            }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn the_whole_is_the_sum_of_the_layers_once_all_of_them_are_known() {
        let said = Mutex::new(Vec::new());
        let say = |progress: Progress| said.lock().unwrap().push(progress);
        let mut layers = Layers::new(&say);
        let state = |layers: &Layers<'_>| {
            let progress = layers.progress();
            (progress.bytes_done, progress.bytes_total)
        };
        for (id, status) in [
            ("server", "Pulling from server"),
            ("old", "Already exists"),
            ("a", "Pulling fs layer"),
            ("b", "Waiting"),
        ] {
            layers.hear(&told(id, status, None));
        }
        assert_eq!(state(&layers), (0, None));
        layers.hear(&told("a", "Downloading", Some((10, 100))));
        assert_eq!(state(&layers), (10, None), "nobody knows of the other");
        layers.hear(&told("b", "Downloading", Some((20, 50))));
        assert_eq!(state(&layers), (30, Some(150)));
        layers.hear(&told("a", "Verifying Checksum", None));
        assert_eq!(state(&layers), (120, Some(150)));
        layers.hear(&told("a", "Extracting", Some((30, 100))));
        assert_eq!(state(&layers), (120, Some(150)), "it still downloads");
        layers.hear(&told("b", "Download complete", None));
        assert_eq!(layers.stage, UNPACKING);
        assert_eq!(state(&layers), (30, Some(150)));
        layers.hear(&told("a", "Pull complete", None));
        layers.hear(&told("b", "Pull complete", None));
        assert_eq!(state(&layers), (150, Some(150)));

        let said = said.lock().unwrap();
        let stages: Vec<_> = said.iter().map(|said| said.message.as_str()).collect();
        assert_eq!(
            stages,
            [DOWNLOADING, UNPACKING],
            "told once each, and at a pace"
        );
    }

    #[test]
    fn a_tiny_layer_that_is_never_told_in_bytes_does_not_hide_the_total() {
        let mut layers = Layers::new(&|_| {});
        layers.hear(&told("a", "Downloading", Some((10, 100))));
        layers.hear(&told("tiny", "Download complete", None));
        assert_eq!(layers.progress().bytes_total, Some(100));
    }
}
