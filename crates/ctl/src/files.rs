//! Files the controller writes: whole or not at all, never half.

use std::{io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

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
