//! What the operator's own Caddyfile must say for switches to work.

use std::{fs, path::Path};

use glob::Pattern;
use serde_json::Value;

use super::{AdminEndpoint, TrafficError, socket};

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
    endpoint: &AdminEndpoint,
) -> Result<(), TrafficError> {
    let found = match adapted["admin"]["disabled"] == true {
        true => "off",
        false => listen(&adapted["admin"]),
    };
    refuse_other_line(caddyfile, found, endpoint)
}

fn refuse_other_line(
    caddyfile: &Path,
    found: &str,
    endpoint: &AdminEndpoint,
) -> Result<(), TrafficError> {
    if found
        .parse()
        .is_ok_and(|found: AdminEndpoint| found == *endpoint)
    {
        return Ok(());
    }
    Err(TrafficError::OtherAdmin {
        caddyfile: caddyfile.to_owned(),
        found: found.to_owned(),
        expected: endpoint.to_string(),
    })
}

/// Where the admin endpoint is by this part of Caddy's JSON.
fn listen(admin: &Value) -> &str {
    admin["listen"].as_str().unwrap_or("localhost:2019")
}

/// Refuses a configuration that would lock the agent out of the very same socket: by taking its mode
/// away, or by giving one to a Caddy that takes it for a part of the name. `served` and `adapted` are
/// the `admin` of what Caddy serves by and of what it would; `is_closed`: Caddy made the socket with
/// the mode of a release that knows modes and was told none.
pub(super) fn refuse_other_mode(
    caddyfile: &Path,
    socket: &Path,
    served: &Value,
    adapted: &Value,
    is_closed: bool,
) -> Result<(), TrafficError> {
    let (served, adapted) = (listen(served), listen(adapted));
    let knows_modes = is_closed || served.contains('|');
    let mode = adapted.split_once('|').map(|(_, mode)| mode);
    let lets_the_group_in =
        |mode| u32::from_str_radix(mode, 8).is_ok_and(|mode| mode & socket::GROUP_WRITES != 0);
    let refused = match mode {
        Some(mode) if knows_modes && lets_the_group_in(mode) => return Ok(()),
        None if !knows_modes => return Ok(()),
        Some(_) if knows_modes => TrafficError::LosesMode {
            caddyfile: caddyfile.to_owned(),
            socket: socket.to_owned(),
        },
        None => TrafficError::LosesMode {
            caddyfile: caddyfile.to_owned(),
            socket: socket.to_owned(),
        },
        Some(_) => TrafficError::KnowsNoMode {
            caddyfile: caddyfile.to_owned(),
            socket: socket.to_owned(),
        },
    };
    Err(refused)
}

/// Finds fault with the `admin` line as far as that can be told from the text alone: what it imports
/// and what stands in for a value is Caddy's to say.
pub(super) fn look_at_admin(
    caddyfile: &Path,
    text: &str,
    endpoint: &AdminEndpoint,
) -> Result<(), TrafficError> {
    match admin_line(text) {
        Some(found) if !found.contains('{') => refuse_other_line(caddyfile, found, endpoint),
        Some(_) | None => Ok(()),
    }
}

/// The first argument of `admin` among the global options, which are the first block and have no name.
fn admin_line(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim);
    lines
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .filter(|first| *first == "{")?;
    let mut options = lines.take_while(|line| *line != "}");
    options.find_map(|line| {
        let mut words = line.split_whitespace();
        let argument = (words.next() == Some("admin")).then(|| words.next())??;
        Some(argument.trim_matches(['"', '`']))
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

    fn endpoint(text: &str) -> AdminEndpoint {
        text.parse().unwrap()
    }

    #[test]
    fn the_admin_endpoint_must_stay_where_it_is() {
        let check = |adapted: Value, expected| {
            refuse_other_admin(Path::new("Caddyfile"), &adapted, &endpoint(expected))
        };
        let socket = "unix//run/caddy/admin.sock";
        check(
            json!({"admin": {"listen": "unix//run/caddy/admin.sock"}}),
            socket,
        )
        .unwrap();
        check(
            json!({"admin": {"listen": "unix//run/caddy/admin.sock|0660"}}),
            socket,
        )
        .unwrap();
        check(json!({"admin": {"listen": "localhost:2019"}}), socket).unwrap_err();
        check(json!({}), socket).unwrap_err();
        // Nothing said is what Caddy does by itself.
        let address = "localhost:2019";
        check(json!({}), address).unwrap();
        check(json!({"admin": {"listen": "127.0.0.1:2019"}}), address).unwrap();
        check(json!({"admin": {"listen": ":2019"}}), address).unwrap_err();
        check(
            json!({"admin": {"listen": "unix//run/caddy/admin.sock"}}),
            address,
        )
        .unwrap_err();
        check(json!({"admin": {"disabled": true}}), address).unwrap_err();
    }

    #[test]
    fn a_load_that_would_lock_the_agent_out_of_its_socket_is_refused() {
        let check = |served: &str, adapted: &str, is_closed| {
            let [served, adapted] = [served, adapted]
                .map(|mode| json!({"listen": format!("unix//run/caddy/admin.sock{mode}")}));
            let (caddyfile, socket) = (Path::new("Caddyfile"), Path::new("/run/caddy/admin.sock"));
            refuse_other_mode(caddyfile, socket, &served, &adapted, is_closed)
        };
        // 2.6, whose socket has the mode of its umask.
        check("", "", false).unwrap();
        let refused = check("", "|0660", false).unwrap_err();
        assert!(matches!(refused, TrafficError::KnowsNoMode { .. }));
        // 2.7 and newer.
        check("|0660", "|0660", false).unwrap();
        check("|0660", "|0222", false).unwrap();
        check("", "|0660", true).unwrap();
        for (served, adapted, is_closed) in [
            ("|0660", "", false),
            ("|0660", "|0600", false),
            ("|0660", "|x", false),
            ("", "", true),
        ] {
            let refused = check(served, adapted, is_closed).unwrap_err();
            assert!(
                matches!(refused, TrafficError::LosesMode { .. }),
                "{refused}"
            );
        }
    }

    #[test]
    fn the_admin_line_is_read_where_it_stands() {
        assert_eq!(admin_line(OURS), Some("unix//run/caddy/admin.sock"));
        let newer =
            "# ours\n\n{\n  email a@example.org\n  admin \"unix//run/caddy/admin.sock|0660\"\n}\n";
        assert_eq!(admin_line(newer), Some("unix//run/caddy/admin.sock|0660"));
        assert_eq!(
            admin_line("{\n\tadmin localhost:2019\n}\n:80 {\n}\n"),
            Some("localhost:2019")
        );
        // A site's own `admin` is none, nor is a comment.
        assert_eq!(admin_line(":80 {\n\tadmin off\n}\n"), None);
        assert_eq!(admin_line("{\n\t# admin off\n}\n"), None);

        let look =
            |text: &str, expected| look_at_admin(Path::new("Caddyfile"), text, &endpoint(expected));
        let (socket, address) = ("unix//run/caddy/admin.sock", "localhost:2019");
        look(OURS, socket).unwrap();
        look(newer, socket).unwrap();
        look("{\n\tadmin {$ADMIN}\n}\n", socket).unwrap();
        let refused = look(OURS, address).unwrap_err().to_string();
        assert!(refused.contains("`admin localhost:2019`"), "{refused}");
        assert!(refused.contains("`proxy.admin`"), "{refused}");
    }
}
