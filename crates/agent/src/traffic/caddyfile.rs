//! What the operator's own Caddyfile must say for switches to work.

use std::{fs, path::Path};

use glob::Pattern;
use serde_json::Value;

use super::TrafficError;

/// How deep a Caddyfile's imports of files with imports of their own are followed.
const DEPTH: u8 = 4;

/// Refuses imports of files by a relative path: Caddy takes them from the Caddyfile's folder when it
/// starts, and from its own working folder when the text comes through the socket.
pub(super) fn refuse_relative_imports(caddyfile: &Path, text: &str) -> Result<(), TrafficError> {
    for (line, import) in imported(text) {
        // `(name) { ... }` defines a piece of configuration that `import name` repeats.
        let is_named_piece = text
            .lines()
            .any(|l| l.trim_start().starts_with(&format!("({import})")));
        if is_named_piece || Path::new(import).is_absolute() || import.starts_with('{') {
            continue;
        }
        let folder = caddyfile.parent().unwrap_or(Path::new("/"));
        return Err(TrafficError::RelativeImport {
            caddyfile: caddyfile.to_owned(),
            line,
            import: import.to_owned(),
            suggestion: folder.join(import).display().to_string(),
        });
    }
    Ok(())
}

/// Refuses a configuration that would move the admin endpoint away: Caddy moves it even when it
/// then refuses the rest, and the agent could never switch again.
pub(super) fn refuse_other_admin(
    caddyfile: &Path,
    adapted: &Value,
    socket: &Path,
) -> Result<(), TrafficError> {
    let expected = format!("unix/{}", socket.display());
    let found = adapted["admin"]["listen"]
        .as_str()
        .unwrap_or("localhost:2019");
    // Newer releases take the socket's mode after a bar.
    if found.split('|').next() == Some(&expected) {
        return Ok(());
    }
    Err(TrafficError::OtherAdmin {
        caddyfile: caddyfile.to_owned(),
        found: found.to_owned(),
        expected,
    })
}

/// Whether this text, or a file it imports, imports the file at `wanted`, which need not exist.
pub(super) fn imports(text: &str, wanted: &Path) -> bool {
    imports_within(text, wanted, DEPTH)
}

fn imports_within(text: &str, wanted: &Path, depth: u8) -> bool {
    imported(text).any(|(_, import)| {
        let matches = Pattern::new(import).is_ok_and(|p| p.matches_path(wanted));
        matches || (depth > 0 && files(import).any(|file| imports_within(&file, wanted, depth - 1)))
    })
}

fn files(pattern: &str) -> impl Iterator<Item = String> {
    let paths = glob::glob(pattern).into_iter().flatten().flatten();
    paths.filter_map(|path| fs::read_to_string(path).ok())
}

/// The first argument of each `import`, with its line.
fn imported(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let mut words = line.split_whitespace();
        let import = (words.next() == Some("import")).then(|| words.next())??;
        Some((index + 1, import.trim_matches(['"', '`'])))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: &str = "{\n\tadmin unix//run/caddy/admin.sock\n}\n:80 {\n\troute {\n\
                        \t\timport /etc/caddy/togather/*.caddy\n\t}\n}\n";

    fn relative(text: &str) -> Option<(usize, String)> {
        match refuse_relative_imports(Path::new("/etc/caddy/Caddyfile"), text) {
            Err(TrafficError::RelativeImport {
                line, suggestion, ..
            }) => Some((line, suggestion)),
            Ok(()) => None,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn an_import_by_pattern_is_seen() {
        assert!(imports(OURS, Path::new("/etc/caddy/togather/slot.caddy")));
        assert!(!imports(OURS, Path::new("/etc/caddy/other/slot.caddy")));
        assert!(!imports(
            "# import /a/slot.caddy\n",
            Path::new("/a/slot.caddy")
        ));
    }

    #[test]
    fn an_import_of_an_import_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("togather/slot.caddy");
        let site = folder.path().join("site.caddy");
        fs::write(&site, format!(":80 {{\n import {}\n}}\n", wanted.display())).unwrap();
        let text = format!("import {}/*.caddy\n", folder.path().display());
        assert!(imports(&text, &wanted));
        assert!(!imports(&text, &folder.path().join("elsewhere")));
    }

    #[test]
    fn relative_imports_are_refused_with_their_line() {
        assert_eq!(relative(OURS), None);
        assert_eq!(relative("(common) {\n}\n:80 {\n import common\n}\n"), None);
        assert_eq!(
            relative(":80 {\n\timport togather/*.caddy\n}\n"),
            Some((2, "/etc/caddy/togather/*.caddy".to_owned()))
        );
    }

    #[test]
    fn the_admin_endpoint_must_stay_where_it_is() {
        let check = |adapted: Value| {
            refuse_other_admin(
                Path::new("Caddyfile"),
                &adapted,
                Path::new("/run/caddy/admin.sock"),
            )
        };
        check(json!({"admin": {"listen": "unix//run/caddy/admin.sock"}})).unwrap();
        check(json!({"admin": {"listen": "unix//run/caddy/admin.sock|0660"}})).unwrap();
        check(json!({"admin": {"listen": "localhost:2019"}})).unwrap_err();
        check(json!({})).unwrap_err();
    }
}
