//! What a service finds in its file system that is not of its image: volumes, the host's files, and
//! file systems in memory.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use crate::{
    reader::{Section, Value},
    values::{SIZE, SWITCH, is_a_name, size, switch},
};

const SHORT: &str =
    "`VOLUME:/path`, `/host/path:/path` or `./path:/path`, perhaps with `:ro` after it";

/// The options that may stand after a mount, in Docker's words.
const OPTIONS: [&str; 10] = [
    "rw", "z", "Z", "nocopy", "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

/// What is mounted into a service.
#[derive(Default)]
pub(crate) struct Mounts {
    /// `source:/target[:options]`, with the names volumes have in Docker.
    pub(crate) binds: Vec<String>,
    /// Path to options.
    pub(crate) tmpfs: BTreeMap<String, String>,
}

/// What `volumes` and `tmpfs` of a service say. `declared` is volumes' names to those in Docker.
pub(crate) fn mounts(service: &Section<'_>, declared: &BTreeMap<String, String>) -> Mounts {
    let mut mounts = Mounts::default();
    let mut taken = BTreeMap::new();
    for (line, path, options) in service.get("tmpfs").iter().flat_map(tmpfs) {
        taken.insert(path.clone(), line);
        mounts.tmpfs.insert(path, options);
    }
    let volumes = service.get("volumes");
    let items = volumes.map(|list| list.items("a list of volumes and paths"));
    for item in items.iter().flatten() {
        let Some(mount) = (if item.is_map() {
            long(item)
        } else {
            short(item)
        }) else {
            continue;
        };
        if let Some(line) = taken.insert(mount.target.clone(), item.line) {
            item.wrong(format!(
                "something is mounted at this path already, in line {line}"
            ));
            continue;
        }
        match mount.source {
            Source::Memory => {
                mounts.tmpfs.insert(mount.target, mount.options.join(","));
            }
            Source::Volume(name) => match declared.get(&name) {
                Some(volume) => mounts.binds.push(bind(volume, &mount.target, &mount.options)),
                None => item.wrong(format!(
                    "the volume {} is not declared; add it under the top level's `volumes` (a path begins with `/`, `./` or `~/`)",
                    item.as_written().map_or_else(String::new, |written| {
                        format!("`{}`", written.split(':').next().unwrap_or(written))
                    })
                )),
            },
            Source::Path(path) => {
                mounts.binds.push(bind(&path, &mount.target, &mount.options));
            }
        }
    }
    mounts
}

fn bind(source: &str, target: &str, options: &[String]) -> String {
    let colon = if options.is_empty() { "" } else { ":" };
    format!("{source}:{target}{colon}{}", options.join(","))
}

struct Mount {
    source: Source,
    /// An absolute path in the container.
    target: String,
    options: Vec<String>,
}

enum Source {
    Volume(String),
    /// An absolute path on the host.
    Path(String),
    Memory,
}

fn short(item: &Value<'_>) -> Option<Mount> {
    let filled = item.must_be_text().text()?;
    let mut parts = filled.split(':');
    let (source, target) = match (parts.next(), parts.next()) {
        (Some(source), Some(target)) => (source, target),
        (Some(path), None) if path.starts_with('/') => {
            item.wrong("a volume without a name is lost with its container; name it, as `VOLUME:/path`, and declare it under the top level's `volumes`");
            return None;
        }
        _ => {
            item.invalid(SHORT);
            return None;
        }
    };
    let options: Vec<_> = parts
        .next()
        .map_or(Vec::new(), |text| text.split(',').collect());
    let known = |option: &&str| *option == "ro" || OPTIONS.contains(option);
    if parts.next().is_some() || !options.iter().all(known) {
        item.invalid(SHORT);
        return None;
    }
    // The last of them counts.
    let access = options
        .iter()
        .rfind(|option| matches!(**option, "ro" | "rw"));
    let is_read_only = access == Some(&"ro");
    let options = options
        .iter()
        .copied()
        .filter(|option| *option != "rw" && (*option != "ro" || is_read_only));
    let mount = Mount {
        source: source_of(item, source)?,
        target: clean(target),
        options: options.map(str::to_owned).collect(),
    };
    if !mount.target.starts_with('/') {
        item.invalid(SHORT);
        return None;
    }
    Some(mount)
}

/// A volume by its name, or a path: absolute, relative to the file's folder, or to the home folder of
/// the user that the agent runs as.
fn source_of(item: &Value<'_>, text: &str) -> Option<Source> {
    if !text.starts_with(['.', '/', '~']) {
        if is_a_name(text) {
            return Some(Source::Volume(text.to_owned()));
        }
        item.invalid(SHORT);
        return None;
    }
    resolve(item, text).map(Source::Path)
}

/// The absolute path on the host of one that is written in the file.
pub(crate) fn resolve(item: &Value<'_>, text: &str) -> Option<String> {
    let source = item.context.source;
    let path = if let Some(rest) = text.strip_prefix('~') {
        let Some(home) = source.home else {
            item.wrong("`~` is the home folder of the user that the agent runs as, who has none; write the path in full");
            return None;
        };
        if !rest.is_empty() && !rest.starts_with('/') {
            item.wrong("the home folder of another user is not looked up; write the path in full");
            return None;
        }
        home.join(rest.trim_start_matches('/'))
    } else {
        source.folder.join(text)
    };
    Some(clean(&path.to_string_lossy()))
}

/// Without `.`, `..` and double slashes, as far as the text alone tells.
fn clean(text: &str) -> String {
    let mut clean = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => clean.push(part),
        }
    }
    clean.to_string_lossy().into_owned()
}

fn long(item: &Value<'_>) -> Option<Mount> {
    let section = item.section("a volume");
    let kind = section.parsed("type", "`volume`, `bind` or `tmpfs`", |text| {
        matches!(text, "volume" | "bind" | "tmpfs").then(|| text.to_owned())
    });
    if !section.has("type") {
        item.wrong("the key `type` is missing; expected `volume`, `bind` or `tmpfs`");
    }
    let target = section.parsed("target", "an absolute path in the container", |text| {
        text.starts_with('/').then(|| clean(text))
    });
    if !section.has("target") {
        item.wrong("the key `target` is missing: the path in the container");
    }
    let mut options = Vec::new();
    if section.parsed("read_only", SWITCH, switch) == Some(true) {
        options.push("ro".to_owned());
    }
    section.ignore(&["consistency"]);
    let source = section.get("source");
    let source = match kind.as_deref() {
        Some("tmpfs") => {
            options.extend(section.get("tmpfs").iter().flat_map(tmpfs_options));
            Some(Source::Memory)
        }
        Some(kind) => {
            options.extend(section.get(kind_key(kind)).iter().flat_map(|value| {
                if kind == "bind" {
                    bind_options(value)
                } else {
                    volume_options(value)
                }
            }));
            let source = source.as_ref().and_then(|value| {
                let text = value.text()?;
                match kind {
                    "bind" => resolve(value, &text).map(Source::Path),
                    _ => Some(Source::Volume(text)),
                }
            });
            if !section.has("source") {
                item.wrong("the key `source` is missing: a path on the host, or a volume's name");
            }
            source
        }
        None => None,
    };
    section.finish();
    Some(Mount {
        source: source?,
        target: target?,
        options,
    })
}

fn kind_key(kind: &str) -> &'static str {
    if kind == "bind" { "bind" } else { "volume" }
}

fn bind_options(value: &Value<'_>) -> Vec<String> {
    let section = value.section("a mapping");
    let propagation = section.parsed("propagation", "a propagation such as `rslave`", |text| {
        OPTIONS[4..].contains(&text).then(|| text.to_owned())
    });
    let label = section.parsed("selinux", "`z` or `Z`", |text| {
        matches!(text, "z" | "Z").then(|| text.to_owned())
    });
    section.parsed(
        "create_host_path",
        "`true`: Docker makes a path that is not there",
        |text| switch(text).filter(|create| *create),
    );
    section.finish();
    propagation.into_iter().chain(label).collect()
}

fn volume_options(value: &Value<'_>) -> Vec<String> {
    let section = value.section("a mapping");
    let nocopy = section.parsed("nocopy", SWITCH, switch) == Some(true);
    section.finish();
    nocopy.then(|| "nocopy".to_owned()).into_iter().collect()
}

fn tmpfs_options(value: &Value<'_>) -> Vec<String> {
    let section = value.section("a mapping");
    let bytes = section.parsed("size", SIZE, size);
    let mode = section.get("mode").and_then(|value| {
        let value = value.must_be_number();
        value.parsed("a mode such as `0o1777`", mode)
    });
    section.finish();
    let bytes = bytes.map(|bytes| format!("size={bytes}"));
    bytes
        .into_iter()
        .chain(mode.map(|mode| format!("mode={mode:o}")))
        .collect()
}

/// A number as YAML knows them: octal only with `0` or `0o` in front.
fn mode(text: &str) -> Option<u32> {
    let octal = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
    match octal.filter(|digits| !digits.is_empty()) {
        Some(digits) => u32::from_str_radix(digits, 8).ok(),
        None => text.parse().ok(),
    }
}

/// `tmpfs: PATH[:OPTIONS]`, one or a list: the line, the path and its options.
fn tmpfs(value: &Value<'_>) -> Vec<(u64, String, String)> {
    const EXPECTED: &str = "an absolute path, perhaps with options: `/tmp:size=64m`";
    let one = |item: &Value<'_>| {
        let (path, options) = item.must_be_text().parsed(EXPECTED, |text| {
            let (path, options) = text.split_once(':').unwrap_or((text, ""));
            path.starts_with('/')
                .then(|| (path.to_owned(), options.to_owned()))
        })?;
        Some((item.line, path, options))
    };
    if value.is_text() {
        return one(value).into_iter().collect();
    }
    let items = value.items("a path or a list of paths");
    items.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_without_looking() {
        for (text, expected) in [
            ("/a/./b//c/../d/", "/a/b/d"),
            ("/..", "/"),
            ("/", "/"),
            ("/a", "/a"),
        ] {
            assert_eq!(clean(text), expected, "{text}");
        }
        assert!(is_a_name("data-1") && !is_a_name("a b"));
    }
}
