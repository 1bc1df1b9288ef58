//! The machine itself: its clock, its disk and its memory.

use std::{io, path::PathBuf};

use procfs::Current;
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

    /// Bytes of memory that a program could take without pushing others out.
    ///
    /// # Errors
    /// The system does not say.
    fn memory_available(&self) -> io::Result<u64>;
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

    fn memory_available(&self) -> io::Result<u64> {
        let memory = procfs::Meminfo::current().map_err(io::Error::other)?;
        memory
            .mem_available
            .ok_or_else(|| io::Error::other("/proc/meminfo has no MemAvailable"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_measured_in_bytes() {
        let available = Machine::new(vec![]).memory_available().unwrap();
        assert!(available > 16 << 20, "{available}");
    }
}
