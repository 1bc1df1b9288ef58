//! Why Caddy's admin socket cannot be used although the Caddyfile names it. What a release of Caddy
//! makes of the same line changed with 2.7: since then the socket has mode 0200 unless the line says
//! another one after a bar, which older releases take for a part of the file's name.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::TrafficError;

/// Write permission of the group: without it no member can connect.
pub(super) const GROUP_WRITES: u32 = 0o020;

/// Finds fault with the socket by the look of it, without connecting. Nothing is wrong with one
/// that is not there: Caddy may just not be running.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn look(socket: &Path, caddyfile: &Path) -> Result<(), TrafficError> {
    if let Some(mode) = mode(socket) {
        return match mode & GROUP_WRITES {
            0 => Err(TrafficError::SocketMode {
                socket: socket.to_owned(),
                mode,
                caddyfile: caddyfile.to_owned(),
            }),
            _ => Ok(()),
        };
    }
    match misnamed(socket) {
        Some(found) => Err(TrafficError::SocketName {
            socket: socket.to_owned(),
            found,
            caddyfile: caddyfile.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Why it could not be connected to, as far as can be told.
pub(super) fn unreachable(socket: &Path, caddyfile: &Path, source: io::Error) -> TrafficError {
    let may_be_its_look = matches!(
        source.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
    );
    match look(socket, caddyfile) {
        Err(found) if may_be_its_look => found,
        Ok(()) | Err(_) => TrafficError::Unreachable {
            socket: socket.to_owned(),
            source,
        },
    }
}

/// Whether Caddy made this socket with the mode it uses where the Caddyfile names none.
pub(super) fn has_no_mode(socket: &Path) -> bool {
    mode(socket).is_some_and(|mode| mode & GROUP_WRITES == 0)
}

/// The permission bits of the socket, if it is there and may be looked at.
fn mode(socket: &Path) -> Option<u32> {
    let found = fs::metadata(socket).ok()?;
    let is_socket = found.file_type().is_socket();
    is_socket.then_some(found.permissions().mode() & 0o777)
}

/// A socket beside it whose name has the mode in it.
fn misnamed(socket: &Path) -> Option<PathBuf> {
    let begins = format!("{}|", socket.file_name()?.to_str()?);
    let beside = fs::read_dir(socket.parent()?).ok()?.flatten();
    let mut beside = beside.map(|entry| entry.path());
    beside.find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&begins)) && mode(path).is_some()
    })
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::net::UnixListener};

    use super::*;

    /// A folder with a socket of this name and mode in it.
    fn folder(name: &str, mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn told(folder: &tempfile::TempDir) -> Option<String> {
        let socket = folder.path().join("admin.sock");
        let found = look(&socket, Path::new("/etc/caddy/Caddyfile")).err()?;
        Some(
            found
                .to_string()
                .replace(folder.path().to_str().unwrap(), ""),
        )
    }

    #[test]
    fn a_socket_that_lets_the_group_in_is_fine_and_so_is_none() {
        assert_eq!(told(&folder("admin.sock", 0o660)), None);
        assert_eq!(told(&folder("admin.sock", 0o770)), None);
        assert_eq!(told(&folder("other.sock", 0o200)), None);
    }

    #[test]
    fn the_mode_that_newer_releases_make_is_told_with_the_line_that_helps() {
        let text = told(&folder("admin.sock", 0o200)).unwrap();
        for part in [
            "/admin.sock has mode 0200",
            "`admin \"unix//admin.sock|0660\"` in /etc/caddy/Caddyfile",
            "`systemctl restart caddy`",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_name_that_older_releases_make_of_a_mode_is_told_with_the_line_that_helps() {
        let text = told(&folder("admin.sock|0660", 0o770)).unwrap();
        for part in [
            "/admin.sock|0660",
            "`admin unix//admin.sock` in /etc/caddy/Caddyfile",
            "`systemctl restart caddy`",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn another_fault_is_not_put_down_to_the_mode() {
        let folder = folder("admin.sock", 0o200);
        let socket = folder.path().join("admin.sock");
        let refused = |kind: io::ErrorKind| unreachable(&socket, Path::new("C"), kind.into());
        assert!(matches!(
            refused(io::ErrorKind::PermissionDenied),
            TrafficError::SocketMode { mode: 0o200, .. }
        ));
        assert!(matches!(
            refused(io::ErrorKind::ConnectionRefused),
            TrafficError::Unreachable { .. }
        ));
    }
}
