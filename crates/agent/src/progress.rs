//! Signs of life of what takes long: dumps, restores, pulls.

use std::time::Duration;

/// A sign of life of something that takes long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What goes on, for people; the same for as long as it is the same.
    pub message: String,
    /// How much of it is done.
    pub bytes_done: u64,
    /// How much it will be, where that is known.
    pub bytes_total: Option<u64>,
    /// Since when it goes on.
    pub elapsed: Duration,
}

impl Progress {
    /// All of it in one phrase: how much is done, how fast, and how long the rest takes, each as far
    /// as it is known.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            message,
            bytes_done: done,
            bytes_total: total,
            elapsed,
        } = self;
        if *done == 0 {
            return message.clone();
        }
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let rate = mebibytes(*done) / elapsed.as_secs_f64().max(0.001);
        let done = mebibytes(*done);
        match total.map(mebibytes).filter(|total| *total > done) {
            None => format!("{message}: {done:.1} MiB, {rate:.1} MiB/s"),
            Some(total) => format!(
                "{message}: {done:.1} of {total:.1} MiB, {rate:.1} MiB/s, {:.0} s left",
                (total - done) / rate
            ),
        }
    }

    /// A stage that begins, with nothing of it done.
    #[must_use]
    pub fn stage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            bytes_done: 0,
            bytes_total: None,
            elapsed: Duration::ZERO,
        }
    }
}

/// What hears signs of life.
pub type Say<'a> = &'a (dyn Fn(Progress) + Send + Sync);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_how_fast_and_how_long_the_rest_takes_is_told_as_far_as_it_is_known() {
        let mut progress = Progress::stage("dumping");
        assert_eq!(progress.text(), "dumping");
        progress.bytes_done = 10 << 20;
        progress.elapsed = Duration::from_secs(4);
        assert_eq!(progress.text(), "dumping: 10.0 MiB, 2.5 MiB/s");
        progress.bytes_total = Some(30 << 20);
        assert_eq!(
            progress.text(),
            "dumping: 10.0 of 30.0 MiB, 2.5 MiB/s, 8 s left"
        );
        // It was only expected.
        progress.bytes_total = Some(5 << 20);
        assert_eq!(progress.text(), "dumping: 10.0 MiB, 2.5 MiB/s");
    }
}
