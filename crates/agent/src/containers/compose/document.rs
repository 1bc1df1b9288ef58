//! The Compose file as it is written: every text with its line, nothing filled in yet. A key that
//! is not a field here is refused by the parser, with its line.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

/// A scalar as it is written, with its line; numbers and booleans are kept as text.
pub(super) type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) name: Text,
    pub(super) services: BTreeMap<String, Spanned<ServiceEntry>>,
    pub(super) networks: Option<BTreeMap<String, Option<ResourceEntry>>>,
    pub(super) volumes: Option<BTreeMap<String, Option<ResourceEntry>>>,
}

/// A network or a volume.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceEntry {
    pub(super) name: Option<Text>,
    pub(super) driver: Option<Text>,
    pub(super) driver_opts: Option<BTreeMap<String, Text>>,
    pub(super) external: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceEntry {
    pub(super) image: Option<Text>,
    pub(super) command: Option<Spanned<OneOrMany>>,
    pub(super) entrypoint: Option<Spanned<OneOrMany>>,
    pub(super) environment: Option<ListOrMap<Option<Text>>>,
    pub(super) volumes: Option<Vec<Text>>,
    pub(super) ports: Option<Vec<Text>>,
    pub(super) networks: Option<Vec<Text>>,
    pub(super) depends_on: Option<ListOrMap<DependencyEntry>>,
    pub(super) healthcheck: Option<HealthcheckEntry>,
    pub(super) restart: Option<Text>,
    pub(super) shm_size: Option<Text>,
    pub(super) mem_limit: Option<Text>,
    pub(super) cpus: Option<Text>,
    pub(super) stop_grace_period: Option<Text>,
    pub(super) stop_signal: Option<Text>,
    pub(super) user: Option<Text>,
    pub(super) working_dir: Option<Text>,
    pub(super) logging: Option<LoggingEntry>,
    pub(super) labels: Option<ListOrMap<Option<Text>>>,
    pub(super) read_only: Option<Text>,
    pub(super) tmpfs: Option<Spanned<OneOrMany>>,
    pub(super) cap_add: Option<Vec<Text>>,
    pub(super) cap_drop: Option<Vec<Text>>,
    pub(super) security_opt: Option<Vec<Text>>,
    pub(super) extra_hosts: Option<ListOrMap<Option<Text>>>,
    pub(super) init: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DependencyEntry {
    pub(super) condition: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthcheckEntry {
    pub(super) test: Option<Spanned<OneOrMany>>,
    pub(super) interval: Option<Text>,
    pub(super) timeout: Option<Text>,
    pub(super) retries: Option<Text>,
    pub(super) start_period: Option<Text>,
    pub(super) disable: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoggingEntry {
    pub(super) driver: Option<Text>,
    pub(super) options: Option<BTreeMap<String, Text>>,
}

/// Where each entry begins: errors of the parser name a line, and this finds the service it is in.
/// Unlike [`Document`] it takes any key.
#[derive(Deserialize)]
pub(super) struct Outline {
    #[serde(default)]
    services: BTreeMap<String, Spanned<IgnoredAny>>,
    networks: Option<Spanned<IgnoredAny>>,
    volumes: Option<Spanned<IgnoredAny>>,
}

impl Outline {
    /// The part of the file that this line is in, as errors say it.
    pub(super) fn place(&self, line: u64) -> String {
        let services = self.services.iter();
        let services = services.map(|(name, entry)| (format!("service `{name}`"), entry));
        let networks = self.networks.iter().map(|at| ("networks".to_owned(), at));
        let volumes = self.volumes.iter().map(|at| ("volumes".to_owned(), at));
        services
            .chain(networks)
            .chain(volumes)
            .map(|(name, entry)| (entry.referenced.line(), name))
            .filter(|(begins, _)| *begins <= line)
            .max()
            .map_or_else(|| "top level".into(), |(_, name)| name)
    }
}

/// A text, or a list of them. In a [`Spanned`], because a lone text comes without its line.
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<Text>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMany::Many(texts))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A list of texts, or a mapping; both ways of writing an environment, labels or dependencies.
pub(super) enum ListOrMap<V> {
    List(Vec<Text>),
    Map(Vec<(Text, V)>),
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ListOrMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Either<V> {
            type Value = ListOrMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list or a mapping")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(ListOrMap::List(texts))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(ListOrMap::Map(entries))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}
