//! The one file of Caddy's that the agent owns: its text, and replacing it so that a crash at any
//! instant leaves either the old or the new one, whole.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};
use serde_json::Value;
use togather_model::Slot;

use super::TrafficError;

/// Begins the line that says which slot a snippet is for.
const MARK: &str = "# slot: ";

/// What a node answers that serves nothing.
const NO_VERSION: &str = "no version is live";

#[derive(Debug)]
pub(super) struct Snippet {
    path: PathBuf,
}

impl Snippet {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn read(&self) -> Result<Option<String>, TrafficError> {
        match super::read(&self.path).await {
            Ok(text) => Ok(Some(text)),
            Err(TrafficError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn check_writable(&self) -> Result<(), TrafficError> {
        let folder = self.folder();
        access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| TrafficError::Write {
            path: folder.to_owned(),
            source: errno.into(),
        })
    }

    /// Puts this text in the snippet's place, for good when it returns; `None` removes it.
    pub(super) fn replace(&self, text: Option<&str>) -> Result<(), TrafficError> {
        let replaced = match text {
            Some(text) => self.write(text),
            None => self.remove(),
        };
        replaced
            .and_then(|()| File::open(self.folder())?.sync_all())
            .map_err(|source| TrafficError::Write {
                path: self.path.clone(),
                source,
            })
    }

    fn write(&self, text: &str) -> io::Result<()> {
        // One fixed name, so that what a crash leaves is overwritten, never collected; and not a
        // name that `*.caddy` would import.
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)?;
        // The agent's umask (0077) would keep Caddy from reading it.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

/// The snippet that sends traffic to this slot, or to none.
pub(super) fn text(to: Option<Slot>) -> String {
    let name = to.map_or("none", Slot::as_str);
    let head = format!(
        "# Written by togather-agent: which version of the app gets this node's traffic.\n\
         # Do not edit; the next deployment writes it anew.\n\
         {MARK}{name}\n"
    );
    let Some(slot) = to else {
        return format!("{head}respond \"{NO_VERSION}\" 503\n");
    };
    let port = slot.port();
    format!(
        "{head}reverse_proxy 127.0.0.1:{port} {{\n\
         \theader_down X-Togather-Slot {slot}\n\
         \t# A connection that could not be made carried no request, so trying again is safe. Once\n\
         \t# a request was sent, only a GET is sent again.\n\
         \tlb_try_duration 2s\n\
         \tlb_try_interval 50ms\n\
         \ttransport http {{\n\
         \t\tdial_timeout 2s\n\
         \t\t# Shorter than any app waits for a next request: reusing a connection that the app is\n\
         \t\t# closing loses the request. It is also how long an unused one delays a drain.\n\
         \t\tkeepalive 2s\n\
         \t\tkeepalive_idle_conns_per_host 64\n\
         \t}}\n\
         }}\n"
    )
}

/// The slot a snippet was written for.
pub(super) fn slot(text: &str) -> Option<Slot> {
    let name = text.lines().find_map(|line| line.strip_prefix(MARK))?;
    name.trim().parse().ok()
}

/// Whether what the snippet for `to` says is in this configuration.
pub(super) fn is_imported(adapted: &Value, to: Option<Slot>) -> bool {
    let here = match to {
        Some(slot) => {
            adapted["handler"] == "reverse_proxy"
                && adapted["upstreams"][0]["dial"] == format!("127.0.0.1:{}", slot.port())
                && adapted["headers"]["response"]["set"]["X-Togather-Slot"][0] == slot.as_str()
        }
        None => adapted["handler"] == "static_response" && adapted["body"] == NO_VERSION,
    };
    here || match adapted {
        Value::Array(items) => items.iter().any(|item| is_imported(item, to)),
        Value::Object(fields) => fields.values().any(|field| is_imported(field, to)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_snippet_says_its_slot() {
        for slot in Slot::ALL {
            assert_eq!(super::slot(&text(Some(slot))), Some(slot));
        }
        assert_eq!(super::slot(&text(None)), None);
        assert_eq!(super::slot("reverse_proxy 127.0.0.1:8081"), None);
    }

    #[test]
    fn the_adapted_configuration_shows_the_import() {
        let adapted = json!({"apps": {"http": {"routes": [{"handle": [{
            "handler": "reverse_proxy",
            "headers": {"response": {"set": {"X-Togather-Slot": ["blue"]}}},
            "upstreams": [{"dial": "127.0.0.1:8081"}],
        }]}]}}});
        assert!(is_imported(&adapted, Some(Slot::Blue)));
        assert!(!is_imported(&adapted, Some(Slot::Green)));
        assert!(!is_imported(&adapted, None));
    }

    #[test]
    fn replacing_is_whole_and_readable_by_caddy() {
        let folder = tempfile::tempdir().unwrap();
        let snippet = Snippet::new(folder.path().join("slot.caddy"));
        snippet.check_writable().unwrap();
        snippet.replace(Some("one")).unwrap();
        snippet.replace(Some("two")).unwrap();
        assert_eq!(fs::read_to_string(snippet.path()).unwrap(), "two");
        let mode = fs::metadata(snippet.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        snippet.replace(None).unwrap();
        snippet.replace(None).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
