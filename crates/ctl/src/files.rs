//! Files the controller writes: whole or not at all, never half.

use std::{
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// Writes a file that everybody may read, in place of the one that is there: a reader sees the old
/// text or the new one, never something between.
///
/// # Errors
/// With the file's path and what the system said.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let written = (|| {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    })();
    written
        .map(drop)
        .map_err(|error| cannot("write", path, &error))
}

/// Makes a folder, and those above it, unless it is there.
///
/// # Errors
/// With the folder's path and what the system said.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|error| cannot("make the folder", path, &error))
}

/// The error of a file or folder that the system does not let us use.
#[must_use]
pub fn cannot(verb: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::other(format!("cannot {verb} {}", path.display())).because(error)
}

/// A path that means the same wherever it is used from.
///
/// # Errors
/// The current folder is gone.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| cannot("find", path, &error))
}

/// Files of one folder that come into being together, or none of them. Until [`finish`], they are
/// in a hidden folder beside their places.
///
/// [`finish`]: Together::finish
pub struct Together {
    staging: tempfile::TempDir,
    folder: PathBuf,
    names: Vec<String>,
    made_folder: bool,
}

impl Together {
    /// Begins with files of these names, in the order in which they are put in place.
    ///
    /// # Errors
    /// One of them is there already, or the folder cannot be made.
    pub fn begin(folder: &Path, names: &[&str]) -> Result<Self> {
        for name in names {
            let place = folder.join(name);
            if place.symlink_metadata().is_ok() {
                return Err(Error::usage(format!(
                    "{} is there already, and nothing is overwritten",
                    place.display()
                ))
                .next("name another folder with --fleet, or move the old files away"));
            }
        }
        let made_folder = !folder.exists();
        make_folder(folder)?;
        let staging = tempfile::Builder::new()
            .prefix(".togather-")
            .tempdir_in(folder)
            .map_err(|error| cannot("write in", folder, &error))?;
        Ok(Self {
            staging,
            folder: folder.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            made_folder,
        })
    }

    /// Where a file is to be written for now.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.staging.path().join(name)
    }

    /// Writes a file that everybody may read.
    ///
    /// # Errors
    /// With the file's path and what the system said.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        write_whole(&self.path(name), text)
    }

    /// Puts all of them in place.
    ///
    /// # Errors
    /// One cannot be put in place: then none is.
    pub fn finish(mut self) -> Result<()> {
        for (done, name) in self.names.iter().enumerate() {
            let place = self.folder.join(name);
            // A link, unlike a rename, never replaces a file that appeared meanwhile.
            if let Err(error) = std::fs::hard_link(self.path(name), &place) {
                for placed in &self.names[..done] {
                    // Ours, made a moment ago; if it will not go, the error below still stands.
                    let _ = std::fs::remove_file(self.folder.join(placed));
                }
                return Err(cannot("write", &place, &error));
            }
        }
        self.made_folder = false;
        Ok(())
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        // What cannot be tidied away is only an empty or a hidden folder.
        let _ = std::fs::remove_dir_all(self.staging.path());
        if self.made_folder {
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}
