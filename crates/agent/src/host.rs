//! The machine itself: its clock and its disk.

use std::{io, path::PathBuf};

use togather_model::Timestamp;

/// What the node asks of its machine.
pub trait Host: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Free bytes on the tightest of the file systems a deployment writes to.
    ///
    /// # Errors
    /// A file system could not be asked.
    fn disk_free(&self) -> io::Result<u64>;
}

/// The machine the agent runs on.
#[derive(Debug)]
pub struct Machine {
    folders: Vec<PathBuf>,
}

impl Machine {
    /// A machine whose free disk is that of these folders' file systems.
    #[must_use]
    pub const fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }
}

impl Host for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn disk_free(&self) -> io::Result<u64> {
        let free = |folder: &PathBuf| {
            let stat = nix::sys::statvfs::statvfs(folder)?;
            Ok(stat.blocks_available() * stat.fragment_size())
        };
        let frees: io::Result<Vec<u64>> = self.folders.iter().map(free).collect();
        Ok(frees?.into_iter().min().unwrap_or(u64::MAX))
    }
}
