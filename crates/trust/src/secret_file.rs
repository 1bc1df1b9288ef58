//! Files that hold secrets: read only when nobody else can read them, written so that nobody else
//! ever could, and never over something that is already there.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use secrecy::SecretString;

/// Why a secret was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// Group or others can read the file.
    #[error("{} has mode {mode:04o}, so others on this machine can read the secrets in it; run: chmod 600 '{}'", path.display(), path.display())]
    OthersCanRead {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file is already there; it may hold the only copy of a key.
    #[error("{} exists already and is not overwritten; move it away or name another file", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SecretFileError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    /// True if the file is not there or may not be opened: the secret may be kept elsewhere.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                )
            }
            Self::OthersCanRead { .. } | Self::Exists { .. } => false,
        }
    }
}

/// Checks that only the file's owner can get at it: any permission of group or others is refused.
///
/// # Errors
/// [`SecretFileError::OthersCanRead`] with the mode and the command that mends it;
/// [`SecretFileError::Io`] if the file is not there.
pub fn refuse_if_others_can_read(path: &Path) -> Result<(), SecretFileError> {
    open_checked(path, credentials_folder().as_deref()).map(drop)
}

/// Reads a secret, after the check of [`refuse_if_others_can_read`] on the very file that is read.
///
/// # Errors
/// As [`refuse_if_others_can_read`]; also if the file is not UTF-8.
pub fn read(path: &Path) -> Result<SecretString, SecretFileError> {
    let mut file = open_checked(path, credentials_folder().as_deref())?;
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(SecretFileError::io("read", path))?;
    Ok(text.into())
}

/// Writes a new file that only its owner can read (mode 0600), and syncs it to disk.
///
/// # Errors
/// [`SecretFileError::Exists`] if something is there already: it stays as it is.
pub fn write_new(path: &Path, secret: &str) -> Result<(), SecretFileError> {
    create(path, secret, 0o600)
}

/// Writes a new file that everybody may read (mode 0644): a certificate or a public key.
pub(crate) fn write_new_public(path: &Path, text: &str) -> Result<(), SecretFileError> {
    create(path, text, 0o644)
}

fn create(path: &Path, text: &str, mode: u32) -> Result<(), SecretFileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path).map_err(|source| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            return SecretFileError::Exists {
                path: path.to_owned(),
            };
        }
        SecretFileError::io("write", path)(source)
    })?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|source| {
        // Half a key is worse than none: the next attempt would find a file "already there".
        let _ = std::fs::remove_file(path);
        SecretFileError::io("write", path)(source)
    })
}

fn open_checked(path: &Path, credentials: Option<&Path>) -> Result<File, SecretFileError> {
    let file = File::open(path).map_err(SecretFileError::io("read", path))?;
    let metadata = file.metadata().map_err(SecretFileError::io("read", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    // systemd lets the service user in by an ACL, which shows as the group's read bit; the folder
    // around its credentials keeps everybody else out.
    let closed_to = if credentials.is_some_and(|folder| path.starts_with(folder)) {
        0o007
    } else {
        0o077
    };
    if mode & closed_to != 0 {
        return Err(SecretFileError::OthersCanRead {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(file)
}

/// Where systemd's `LoadCredential=` puts this service's secrets, if it runs as one.
fn credentials_folder() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn file_with_mode(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env.production");
        std::fs::write(&path, "A=b").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_of_its_owner_alone_is_read() {
        let (_folder, path) = file_with_mode(0o600);
        assert_eq!(read(&path).unwrap().expose_secret(), "A=b");
    }

    #[test]
    fn any_right_of_others_is_refused_with_the_command_that_mends_it() {
        for mode in [0o640, 0o604, 0o660, 0o644, 0o620] {
            let (_folder, path) = file_with_mode(mode);
            let message = refuse_if_others_can_read(&path).unwrap_err().to_string();
            assert!(message.contains(&format!("{mode:04o}")), "{message}");
            assert!(
                message.contains(&format!("chmod 600 '{}'", path.display())),
                "{message}"
            );
        }
    }

    #[test]
    fn a_systemd_credential_may_show_its_acl_as_the_groups_bit_and_nothing_more() {
        let (folder, path) = file_with_mode(0o440);
        assert!(open_checked(&path, Some(folder.path())).is_ok());
        assert!(open_checked(&path, None).is_err());
        let (folder, path) = file_with_mode(0o444);
        assert!(open_checked(&path, Some(folder.path())).is_err());
    }

    #[test]
    fn what_is_there_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_new(&path, "first").unwrap();
        assert!(matches!(
            write_new(&path, "second"),
            Err(SecretFileError::Exists { .. })
        ));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
    }
}
