//! A value made of files, made again when one of them changes.
//!
//! The files are looked at when the value is asked for: an operator who was taken out of a file is
//! out with the next call, and nothing runs in between.

use std::{
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// A value and the files it was made of.
pub struct Reloaded<T> {
    paths: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, Box<dyn std::error::Error>> + Send + Sync>,
    current: Mutex<(Stamp, Arc<T>)>,
}

/// What shows that a file is another one, or has other content. A missing file has none.
type Stamp = Vec<Option<[i64; 5]>>;

impl<T> Reloaded<T> {
    /// Makes the value for the first time.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new<E: std::error::Error + 'static>(
        paths: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // The stamp is taken first: what changes while the files are read is seen the next time.
        let stamp = stamp(&paths);
        let value = make()?;
        Ok(Self {
            paths,
            make: Box::new(move || make().map_err(Into::into)),
            current: Mutex::new((stamp, Arc::new(value))),
        })
    }

    /// The value as the files say now. If it cannot be made of them, the log says so, and what was
    /// known before stays in force.
    pub fn current(&self) -> Arc<T> {
        let stamp = stamp(&self.paths);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != stamp {
            match (self.make)() {
                Ok(value) => {
                    tracing::info!(files = ?self.paths, "files changed and were read again");
                    current.1 = Arc::new(value);
                }
                Err(error) => {
                    tracing::error!(
                        error = &*error,
                        "a changed file cannot be used; what was known before stays in force"
                    );
                }
            }
            current.0 = stamp;
        }
        Arc::clone(&current.1)
    }

    /// Has the files read again with the next call, whether or not they seem to have changed.
    pub fn forget(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.0.clear();
    }
}

fn stamp(paths: &[PathBuf]) -> Stamp {
    let of = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok()?;
        Some([
            file.ino().cast_signed(),
            file.size().cast_signed(),
            file.mtime(),
            file.mtime_nsec(),
            file.ctime_nsec(),
        ])
    };
    paths.iter().map(of).collect()
}
