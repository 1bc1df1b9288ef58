//! The Compose file as it is written: every text with its line, nothing filled in yet. A key that
//! is not a field here is refused by the parser, with its line.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

/// A scalar as it is written, with its line; numbers and booleans are kept as text.
pub(crate) type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) name: Text,
    pub(crate) services: BTreeMap<String, Spanned<ServiceEntry>>,
    pub(crate) networks: Option<BTreeMap<String, Option<ResourceEntry>>>,
    pub(crate) volumes: Option<BTreeMap<String, Option<ResourceEntry>>>,
}

/// A network or a volume.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceEntry {
    pub(crate) name: Option<Text>,
    pub(crate) driver: Option<Text>,
    pub(crate) driver_opts: Option<BTreeMap<String, Text>>,
    pub(crate) external: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceEntry {
    pub(crate) image: Option<Text>,
    pub(crate) command: Option<Spanned<OneOrMany>>,
    pub(crate) entrypoint: Option<Spanned<OneOrMany>>,
    pub(crate) environment: Option<ListOrMap<Option<Text>>>,
    pub(crate) volumes: Option<Vec<Text>>,
    pub(crate) ports: Option<Vec<Text>>,
    pub(crate) networks: Option<Vec<Text>>,
    pub(crate) depends_on: Option<ListOrMap<DependencyEntry>>,
    pub(crate) healthcheck: Option<HealthcheckEntry>,
    pub(crate) restart: Option<Text>,
    pub(crate) shm_size: Option<Text>,
    pub(crate) mem_limit: Option<Text>,
    pub(crate) cpus: Option<Text>,
    pub(crate) stop_grace_period: Option<Text>,
    pub(crate) stop_signal: Option<Text>,
    pub(crate) user: Option<Text>,
    pub(crate) working_dir: Option<Text>,
    pub(crate) logging: Option<LoggingEntry>,
    pub(crate) labels: Option<ListOrMap<Option<Text>>>,
    pub(crate) read_only: Option<Text>,
    pub(crate) tmpfs: Option<Spanned<OneOrMany>>,
    pub(crate) cap_add: Option<Vec<Text>>,
    pub(crate) cap_drop: Option<Vec<Text>>,
    pub(crate) security_opt: Option<Vec<Text>>,
    pub(crate) extra_hosts: Option<ListOrMap<Option<Text>>>,
    pub(crate) init: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DependencyEntry {
    pub(crate) condition: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthcheckEntry {
    pub(crate) test: Option<Spanned<OneOrMany>>,
    pub(crate) interval: Option<Text>,
    pub(crate) timeout: Option<Text>,
    pub(crate) retries: Option<Text>,
    pub(crate) start_period: Option<Text>,
    pub(crate) disable: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoggingEntry {
    pub(crate) driver: Option<Text>,
    pub(crate) options: Option<BTreeMap<String, Text>>,
}

/// Where each entry begins: errors of the parser name a line, and this finds the service it is in.
/// Unlike [`Document`] it takes any key.
#[derive(Deserialize)]
pub(crate) struct Outline {
    #[serde(default)]
    services: BTreeMap<String, Spanned<IgnoredAny>>,
    networks: Option<Spanned<IgnoredAny>>,
    volumes: Option<Spanned<IgnoredAny>>,
}

impl Outline {
    /// The part of the file that this line is in, as errors say it.
    pub(crate) fn place(&self, line: u64) -> String {
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
pub(crate) enum OneOrMany {
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
pub(crate) enum ListOrMap<V> {
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
