//! Networks and volumes of the file, and the networks that a service is in.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    reader::{Section, Value},
    service::Resource,
    values::{NUMBER, SWITCH, number, switch},
    variables::options,
};

/// The network of a service that names none, as Compose calls it.
pub(crate) const DEFAULT: &str = "default";

/// What a section declares. `project` begins the names in Docker.
pub(crate) fn resources(top: &Section<'_>, section: &'static str, project: &str) -> Vec<Resource> {
    let Some(value) = top.get(section) else {
        return Vec::new();
    };
    let entries = value.entries("a mapping of names");
    let resources = entries.iter().map(|(key, entry)| {
        let entry = entry.at(&format!("{section}, `{key}`"));
        check_key(&entry, key);
        resource(
            project,
            key,
            &entry.section("a mapping"),
            section == "networks",
        )
    });
    resources.collect()
}

/// Notes a name of a service, network or volume that Compose does not take.
pub(crate) fn check_key(value: &Value<'_>, key: &str) {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if key.is_empty() || !key.bytes().all(fits) {
        value.wrong("a name has letters, digits, `_`, `-` and `.`");
    }
}

/// The network that nobody has to declare.
pub(crate) fn default_network(project: &str) -> Resource {
    Resource {
        key: DEFAULT.into(),
        name: format!("{project}_{DEFAULT}"),
        driver: None,
        driver_opts: BTreeMap::new(),
        external: false,
        internal: false,
    }
}

fn resource(project: &str, key: &str, entry: &Section<'_>, is_network: bool) -> Resource {
    let mut name = entry.text("name");
    let external = entry.get("external").is_some_and(|external| {
        if !external.is_map() {
            return external.parsed(SWITCH, switch).unwrap_or(false);
        }
        // As files of Compose's first versions have it.
        let section = external.section("`true`, `false` or a mapping with `name`");
        name = section.text("name").or(name.take());
        section.finish();
        true
    });
    let internal = is_network && entry.parsed("internal", SWITCH, switch).unwrap_or(false);
    let driver_opts = entry.get("driver_opts").map(|value| options(&value));
    let resource = Resource {
        key: key.to_owned(),
        name: name.unwrap_or_else(|| match external {
            true => key.to_owned(),
            false => format!("{project}_{key}"),
        }),
        driver: entry.text("driver"),
        driver_opts: driver_opts.unwrap_or_default(),
        external,
        internal,
    };
    if external && (entry.has("driver") || entry.has("driver_opts") || internal) {
        entry.value().wrong(
            "what is `external` is made by somebody else, so only its `name` can be said here",
        );
    }
    entry.finish();
    resource
}

/// The networks that a service is in.
#[derive(Default)]
pub(crate) struct Joined {
    /// Their names in Docker.
    pub(crate) networks: Vec<String>,
    /// What the service is called there besides its own name.
    pub(crate) aliases: BTreeMap<String, Vec<String>>,
    /// Whether the default network is one of them.
    pub(crate) is_default: bool,
}

/// `declared` is networks' names to those in Docker.
pub(crate) fn joined(service: &Section<'_>, declared: &BTreeMap<String, String>) -> Joined {
    let mut joined = Joined::default();
    let written = service.get("networks");
    let mut keys = BTreeSet::new();
    for (key, value) in written.iter().flat_map(named) {
        let Some(network) = declared.get(&key) else {
            value.wrong(format!(
                "the network `{}` is not declared; add it under the top level's `networks`",
                value.as_written().unwrap_or(&key)
            ));
            continue;
        };
        // In a list a name stands alone.
        let aliases = match written.as_ref().is_some_and(Value::is_map) {
            true => aliases(&value),
            false => Vec::new(),
        };
        if !aliases.is_empty() {
            // Two of the file's names may be one network in Docker.
            let all = joined.aliases.entry(network.clone()).or_default();
            all.extend(aliases);
        }
        joined.is_default |= key == DEFAULT;
        if !keys.insert(key) {
            value.wrong("stands in this list twice");
        }
        if !joined.networks.contains(network) {
            joined.networks.push(network.clone());
        }
    }
    let names_none = written.is_none_or(|value| value.is_empty());
    if names_none && let Some(network) = declared.get(DEFAULT) {
        joined.networks.push(network.clone());
        joined.is_default = true;
    }
    joined
}

/// The networks of a list or a mapping, each with what is said of it.
fn named<'a>(value: &Value<'a>) -> Vec<(String, Value<'a>)> {
    const EXPECTED: &str = "a list of networks, or a mapping of them";
    if value.is_map() {
        return value.entries(EXPECTED);
    }
    let items = value.items(EXPECTED).into_iter();
    items
        .filter_map(|item| Some((item.must_be_text().text()?, item)))
        .collect()
}

fn aliases(network: &Value<'_>) -> Vec<String> {
    let section = network.section("a mapping with `aliases`");
    let aliases = section.texts("aliases");
    // It orders networks for Compose; the agent joins them as they are written.
    section.parsed("priority", NUMBER, number::<i64>);
    section.finish();
    aliases
}
