//! What a node's Compose file and environment file say: text in, a checked model or every problem with
//! its place out. No I/O, no Docker.
//!
//! The Compose file is a documented subset (`docs/compose.md`); any other key is an error with its
//! line, so nothing that an operator wrote is silently left out. `${NAME}` is filled in after the YAML
//! is read, so a value cannot change the file's shape. No error and no warning repeats a value that was
//! filled in: it may be a secret.

pub mod address;
mod checks;
pub mod env;
mod hints;
mod interpolate;
mod mounts;
mod networks;
mod ports;
mod problem;
mod profiles;
mod reader;
mod resolved;
mod scalars;
mod service;
mod services;
#[cfg(test)]
mod tests;
mod values;
mod variables;
mod words;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::Serialize;

pub use interpolate::{InterpolateError, Lookup};
pub use problem::Problem;
pub use service::{Healthcheck, Logging, Port, PullPolicy, Resource, Restart, Service, Ulimit};

use self::{
    networks::DEFAULT,
    reader::{Context, Section, Value},
    services::{Declared, Read},
    yaml::{Kind, Node},
};

/// What a Compose file is read from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The file, as errors call it.
    pub path: &'a Path,
    /// Where relative paths in it begin: its folder, absolute.
    pub folder: &'a Path,
    /// What it says.
    pub text: &'a str,
    /// What the node's environment file says; `${VALUES}` come from there and from nowhere else.
    pub environment: &'a BTreeMap<String, String>,
    /// The service that runs in the slots; all others are base services.
    pub app: &'a str,
    /// What `~` stands for: the home folder of the user that the agent runs as.
    pub home: Option<&'a Path>,
    /// The names that get a value only when the app's container is made ([`Service::fill_in`]). They
    /// may be used in the app's `environment`. One that the environment file has is an ordinary one.
    pub later: &'a [&'a str],
    /// Reads an `env_file`, which it gets as an absolute path.
    pub files: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// The base services and the app service, with every `${VALUE}` filled in. Its `Debug` shows no
/// environment.
#[derive(Debug, Clone, Serialize)]
pub struct Compose {
    /// The first part of what its containers, networks and volumes are called.
    pub project: String,
    /// The service that runs in the slots.
    pub app: Service,
    /// All others, in the order in which they start.
    pub base: Vec<Service>,
    /// Every declared network, and the default one if a service uses it.
    pub networks: Vec<Resource>,
    /// Every declared volume.
    pub volumes: Vec<Resource>,
    /// What is taken, and yet may not be meant.
    #[serde(skip)]
    pub warnings: Vec<Problem>,
}

/// What is wrong with a Compose file: all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeError {
    /// The file.
    pub path: PathBuf,
    /// At least one, in the order of the lines.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ComposeError {
    /// A line a problem, in the form that editors and terminals jump to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let Problem {
                line,
                place,
                problem,
            } = problem;
            let end = if at + 1 < self.problems.len() {
                "\n"
            } else {
                ""
            };
            write!(f, "{}:{line}: {place}: {problem}{end}", self.path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for ComposeError {}

impl Compose {
    /// Reads a Compose file.
    ///
    /// # Errors
    /// Every problem of the file: what is not YAML, a key outside the subset, a value that is missing
    /// or means nothing, what cannot work on a node.
    pub fn parse(source: &Source<'_>) -> Result<Self, ComposeError> {
        Self::read(source, false)
    }

    /// The names of the base services.
    pub fn base_services(&self) -> impl Iterator<Item = &str> {
        self.base.iter().map(|service| service.name.as_str())
    }

    /// The project's name: the first part of what its containers, networks and volumes are called.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    fn read(source: &Source<'_>, masked: bool) -> Result<Self, ComposeError> {
        let context = Context::new(source, masked);
        let compose = whole(&context);
        let warnings = context.finish()?;
        // Without a problem there is a model.
        let mut compose = compose.ok_or_else(|| ComposeError {
            path: source.path.to_owned(),
            problems: vec![at_top("nothing can be made of this file")],
        })?;
        compose.warnings = warnings;
        Ok(compose)
    }
}

fn whole(context: &Context<'_>) -> Option<Compose> {
    let (root, problems) = yaml::read(context.source.text);
    for problem in problems {
        let place = match &*problem.place {
            "" => place_of(root.as_deref(), problem.line),
            place => place.to_owned(),
        };
        context.wrong(Problem { place, ..problem });
    }
    let root = root.filter(|root| matches!(root.kind, Kind::Map(_)));
    let Some(root) = root else {
        context.wrong(at_top(
            "expected a Compose file: `name: …` and `services: …`",
        ));
        return None;
    };
    let top = Value::new(context, root, "top level").section("a mapping");
    let project = project(&top);
    let known = project.as_deref().unwrap_or_default();
    let mut networks = networks::resources(&top, "networks", known);
    let volumes = networks::resources(&top, "volumes", known);
    let (services, off) = sections(context, &top);
    let mut declared = Declared {
        networks: names(&networks),
        volumes: names(&volumes),
        services: services.iter().map(|(name, _)| name.clone()).collect(),
        off,
    };
    let default = networks::default_network(known);
    let default_is_declared = declared.networks.contains_key(DEFAULT);
    let default_name = default.name.clone();
    declared
        .networks
        .entry(DEFAULT.into())
        .or_insert(default_name);

    let is_app = |name: &str| name == context.source.app;
    let services = services
        .into_iter()
        .map(|(name, section)| services::service(&name, section, &declared, is_app(&name)));
    let mut services: Vec<_> = services.collect();
    if !default_is_declared && services.iter().any(|read| read.uses_default_network) {
        networks.push(default);
    }
    variables::demands(&top, &|name| context.value_of(name).map(str::to_owned));
    // It says nothing to Compose either, but must be a text.
    if let Some(version) = top.get("version") {
        version.must_be_text();
    }
    top.finish();

    let Some(at) = services.iter().position(|read| is_app(&read.service.name)) else {
        let services = top.get("services");
        services.as_ref().unwrap_or(top.value()).wrong(format!(
            "the app's service `{}` is not there; deployment.yml names it",
            context.source.app
        ));
        return None;
    };
    let app = services.remove(at);
    checks::app(&app);
    for base in &services {
        checks::base(base, known, &app.service);
    }
    checks::apart(&services, known);
    let base = checks::in_order(services);
    Some(Compose {
        project: project?,
        app: app.service,
        base: base
            .into_iter()
            .map(|read: Read<'_>| read.service)
            .collect(),
        networks,
        volumes,
        warnings: Vec::new(),
    })
}

fn project(top: &Section<'_>) -> Option<String> {
    if !top.has("name") {
        top.value()
            .wrong("the key `name` is missing; write for example `name: togather`");
    }
    top.parsed("name", values::PROJECT, values::project)
}

/// The services that run, each with its keys, and the names of those that are off.
fn sections<'a>(
    context: &Context<'a>,
    top: &Section<'a>,
) -> (Vec<(String, Section<'a>)>, BTreeSet<String>) {
    let mut off = BTreeSet::new();
    let Some(services) = top.get("services") else {
        top.value()
            .wrong("the key `services` is missing: what runs on the node");
        return (Vec::new(), off);
    };
    let mut on = Vec::new();
    for (name, value) in services.entries("a mapping of names to services") {
        networks::check_key(&value, &name);
        let section = value
            .at(&format!("service `{name}`"))
            .section("a mapping of keys such as `image`");
        if name != context.source.app && profiles::is_off(context, &section) {
            section.value().warn(
                "is off: nobody asked for one of its `profiles` (`COMPOSE_PROFILES` in the environment file does)",
            );
            off.insert(name);
        } else {
            on.push((name, section));
        }
    }
    on.sort_by(|(one, _), (other, _)| one.cmp(other));
    (on, off)
}

fn names(resources: &[Resource]) -> BTreeMap<String, String> {
    let resources = resources.iter();
    resources
        .map(|resource| (resource.key.clone(), resource.name.clone()))
        .collect()
}

fn at_top(problem: &str) -> Problem {
    Problem {
        line: 1,
        place: "top level".into(),
        problem: problem.into(),
    }
}

/// The part of the file that a line is in, as errors say it.
fn place_of(root: Option<&Node>, line: u64) -> String {
    let mut found = (0, "top level".to_owned());
    let Some(Kind::Map(sections)) = root.map(|root| &root.kind) else {
        return found.1;
    };
    for section in sections {
        let place = match &*section.key {
            "networks" | "volumes" => section.key.clone(),
            _ => "top level".into(),
        };
        let mut entries = vec![(section.line, place)];
        if let ("services", Kind::Map(services)) = (&*section.key, &Rc::as_ref(&section.value).kind)
        {
            let services = services.iter();
            entries.extend(services.map(|entry| (entry.line, format!("service `{}`", entry.key))));
        }
        for entry in entries {
            if entry.0 <= line && entry.0 >= found.0 {
                found = entry;
            }
        }
    }
    found.1
}
