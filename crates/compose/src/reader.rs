//! Reads the nodes of a Compose file: fills in values, and notes every problem with its place, so that
//! an operator learns of all of them at once.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use crate::{
    ComposeError, Source, address,
    env::UNFILLED,
    hints::unknown,
    interpolate::{InterpolateError, interpolate},
    problem::Problem,
    yaml::{Entry, Kind, Node},
};

/// In the model that is to be shown, what stands for a value of the environment file.
pub(crate) const MASK: &str = "***";

/// The same in the user part of an address.
const ENCODED_MASK: &str = "%2A%2A%2A";

/// The keys behind which nothing may stand, as for Compose.
const MAY_BE_NOTHING: [&str; 6] = [
    "command",
    "entrypoint",
    "networks",
    "volumes",
    "services",
    "x-togather",
];

/// What is read, and what was found wrong with it so far.
pub(crate) struct Context<'a> {
    pub(crate) source: &'a Source<'a>,
    /// Whether texts that may hold secrets are to be filled in with [`MASK`].
    pub(crate) masked: bool,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(source: &'a Source<'a>, masked: bool) -> Self {
        Self {
            source,
            masked,
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(crate) fn wrong(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(crate) fn warn(&self, warning: Problem) {
        self.warnings.borrow_mut().push(warning);
    }

    /// A value of the environment file.
    pub(crate) fn value_of(&self, name: &str) -> Option<&'a str> {
        self.source.environment.get(name).map(String::as_str)
    }

    /// The warnings, or every problem in the order of their lines.
    pub(crate) fn finish(self) -> Result<Vec<Problem>, ComposeError> {
        let in_order = |problems: RefCell<Vec<Problem>>| {
            let mut problems = problems.into_inner();
            problems.sort_by_key(|problem| problem.line);
            // A mapping that several services share has its problems once a service.
            problems.dedup();
            problems
        };
        let problems = in_order(self.problems);
        if problems.is_empty() {
            return Ok(in_order(self.warnings));
        }
        Err(ComposeError {
            path: self.source.path.to_owned(),
            problems,
        })
    }
}

/// A node and its place: ``service `db`, `ports` ``.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) node: Rc<Node>,
    /// Where it is told: its own line, or that of the key it belongs to.
    pub(crate) line: u64,
    place: Rc<str>,
    /// Whether it may name what is known only when the container is made.
    knows_later: bool,
}

impl<'a> Value<'a> {
    pub(crate) fn new(context: &'a Context<'a>, node: Rc<Node>, place: &str) -> Self {
        Self {
            context,
            line: node.line,
            node,
            place: place.into(),
            knows_later: false,
        }
    }

    /// The same, where names that are known later may stand.
    pub(crate) fn that_knows_later(&self, knows_later: bool) -> Self {
        Self {
            knows_later,
            ..self.clone()
        }
    }

    /// The same, told at this place.
    pub(crate) fn at(&self, place: &str) -> Self {
        Self {
            place: place.into(),
            ..self.clone()
        }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// An item of this list, a value of this mapping.
    fn inner(&self, node: &Rc<Node>, line: u64) -> Self {
        Self {
            node: Rc::clone(node),
            line,
            ..self.clone()
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self.node.kind, Kind::Nothing)
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.node.kind, Kind::Scalar { .. })
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    pub(crate) fn wrong(&self, problem: impl Into<String>) {
        self.context.wrong(self.problem(problem));
    }

    pub(crate) fn warn(&self, problem: impl Into<String>) {
        self.context.warn(self.problem(problem));
    }

    fn problem(&self, problem: impl Into<String>) -> Problem {
        Problem {
            line: self.line,
            place: self.place.to_string(),
            problem: problem.into(),
        }
    }

    /// The text as it is written. It may be shown: what is filled in may not.
    pub(crate) fn written(&self, expected: &str) -> Option<&str> {
        match &self.node.kind {
            Kind::Scalar { text, .. } => return Some(text),
            Kind::Nothing => self.wrong(format!("a value is missing here; expected {expected}")),
            Kind::List(_) => self.wrong(format!("expected {expected}, found a list")),
            Kind::Map(_) => self.wrong(format!("expected {expected}, found a mapping")),
        }
        None
    }

    /// The same, where there is a text.
    pub(crate) fn as_written(&self) -> Option<&str> {
        match &self.node.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::Nothing | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// Whether this holds nothing, or a list or mapping without items.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.node.kind {
            Kind::Nothing => true,
            Kind::Scalar { .. } => false,
            Kind::List(items) => items.is_empty(),
            Kind::Map(entries) => entries.is_empty(),
        }
    }

    /// A part of this text, told at the same place.
    pub(crate) fn with_text(&self, text: &str) -> Self {
        Self {
            node: Rc::new(Node::text(self.node.line, text)),
            ..self.clone()
        }
    }

    /// Whether YAML takes a text for a number, boolean or date that Compose then writes differently.
    pub(crate) fn is_rewritten(&self) -> bool {
        match &self.node.kind {
            Kind::Scalar { text, plain: true } => crate::scalars::is_rewritten(text),
            Kind::Scalar { .. } | Kind::Nothing | Kind::List(_) | Kind::Map(_) => false,
        }
    }

    /// Notes it where Compose asks for a text, and YAML takes what stands here for something else.
    pub(crate) fn must_be_text(&self) -> &Self {
        if let Kind::Scalar { text, plain: true } = &self.node.kind
            && crate::scalars::is_no_text(text)
        {
            self.wrong(
                "YAML takes this for a number, a boolean or a date, and a text is expected; put it in quotes",
            );
        }
        self
    }

    /// Notes it where Compose asks for a number, and a text stands here.
    pub(crate) fn must_be_number(&self) -> &Self {
        if matches!(self.node.kind, Kind::Scalar { plain: false, .. }) {
            self.wrong("a number is expected; write it without quotes");
        }
        self
    }

    /// A text with its values filled in.
    pub(crate) fn text(&self) -> Option<String> {
        self.filled("a text", false)
    }

    /// The same for a text that is nobody's business.
    pub(crate) fn private_text(&self) -> Option<String> {
        self.filled("a text", self.context.masked)
    }

    fn filled(&self, expected: &str, masked: bool) -> Option<String> {
        let written = self.written(expected)?;
        let lookup = |name: &str| self.look_up(name, masked);
        match interpolate(written, &lookup) {
            Ok(text) => self.usable(text),
            Err(error) => {
                self.not_filled_in(&error);
                None
            }
        }
    }

    /// A text that may be an address: what a reference puts into its user part is encoded.
    pub(crate) fn private_address(&self) -> Option<String> {
        let written = self.written("a text")?;
        let lookup = |name: &str| self.look_up(name, self.context.masked);
        match address::fill_in(written, &lookup) {
            Ok(filled) => {
                for name in &filled.encoded_twice {
                    self.warn(format!(
                        "`{name}` looks percent-encoded already, and is encoded once more here; write it plainly in the environment file"
                    ));
                }
                let is_masked = self.context.masked;
                self.usable(match is_masked {
                    true => filled.text.replace(ENCODED_MASK, MASK),
                    false => filled.text,
                })
            }
            Err(error) => {
                self.not_filled_in(&error);
                None
            }
        }
    }

    /// A name's value: of the environment file, or what stands for one that is known later.
    pub(crate) fn look_up(&self, name: &str, masked: bool) -> Option<String> {
        match self.context.value_of(name) {
            // Whether it is empty decides between a value and its default.
            Some(value) if masked && !value.is_empty() => Some(MASK.to_owned()),
            Some(value) => Some(value.to_owned()),
            None if self.knows_later && self.is_known_later(name) => {
                Some(crate::service::awaiting(name))
            }
            None => None,
        }
    }

    fn is_known_later(&self, name: &str) -> bool {
        self.context.source.later.contains(&name)
    }

    fn usable(&self, text: String) -> Option<String> {
        if text.contains(UNFILLED) {
            self.wrong(format!(
                "still says `{UNFILLED}`, as a template does; give it a value"
            ));
            return None;
        }
        if text.contains('\0') && !self.knows_later {
            self.wrong("a text cannot hold a NUL character");
            return None;
        }
        Some(text)
    }

    fn not_filled_in(&self, error: &InterpolateError) {
        match error {
            InterpolateError::Unset { name, .. } if self.is_known_later(name) => {
                self.wrong(format!(
                    "`{name}` is known only when the app's container is made; it can be used in the app's `environment` and nowhere else"
                ));
            }
            InterpolateError::Unset { .. }
            | InterpolateError::Required { .. }
            | InterpolateError::Malformed
            | InterpolateError::TooDeep => self.wrong(error.to_string()),
        }
    }

    /// A text in one of the notations of [`values`](crate::values). The error shows the text as it is
    /// written, not what was filled in: that may be a secret.
    pub(crate) fn parsed<T>(
        &self,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let filled = self.filled(expected, false)?;
        let parsed = parse(&filled);
        if parsed.is_none() {
            self.invalid(expected);
        }
        parsed
    }

    /// Notes that this text is not what was expected.
    pub(crate) fn invalid(&self, expected: &str) {
        if let Some(written) = self.written(expected) {
            self.wrong(format!("`{written}` is not valid; expected {expected}"));
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self, expected: &str) -> Vec<Self> {
        match &self.node.kind {
            Kind::List(items) => items
                .iter()
                .map(|item| self.inner(item, item.line))
                .filter(|item| {
                    if item.is_nothing() {
                        item.wrong("an item is empty; remove its `-`, or write something after it");
                    }
                    !item.is_nothing()
                })
                .collect(),
            Kind::Nothing => Vec::new(),
            Kind::Scalar { .. } => {
                self.wrong(format!("expected {expected}, found a text"));
                Vec::new()
            }
            Kind::Map(_) => {
                self.wrong(format!("expected {expected}, found a mapping"));
                Vec::new()
            }
        }
    }

    /// The texts of a list.
    pub(crate) fn texts(&self) -> Vec<String> {
        let items = self.items("a list of texts");
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item.must_be_text().text() {
                // What is there twice is there once, as for Compose.
                Some(text) if texts.contains(&text) => {}
                text => texts.extend(text),
            }
        }
        texts
    }

    /// The keys and values of a mapping.
    pub(crate) fn entries(&self, expected: &str) -> Vec<(String, Self)> {
        match &self.node.kind {
            Kind::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), self.inner(&entry.value, entry.line)))
                .collect(),
            Kind::Nothing => Vec::new(),
            Kind::Scalar { .. } => {
                self.wrong(format!("expected {expected}, found a text"));
                Vec::new()
            }
            Kind::List(_) => {
                self.wrong(format!("expected {expected}, found a list"));
                Vec::new()
            }
        }
    }

    /// A mapping with keys that are known.
    pub(crate) fn section(&self, expected: &str) -> Section<'a> {
        let entries = match &self.node.kind {
            Kind::Map(entries) => entries.clone(),
            Kind::Nothing => Vec::new(),
            Kind::Scalar { .. } => {
                self.wrong(format!("expected {expected}, found a text"));
                Vec::new()
            }
            Kind::List(_) => {
                self.wrong(format!("expected {expected}, found a list"));
                Vec::new()
            }
        };
        Section {
            value: self.clone(),
            entries: entries
                .into_iter()
                .map(|entry| (entry.key.clone(), entry))
                .collect(),
            known: RefCell::default(),
        }
    }
}

/// A mapping whose keys are asked for one by one; [`Section::finish`] tells of those that nobody
/// asked for.
pub(crate) struct Section<'a> {
    value: Value<'a>,
    entries: BTreeMap<String, Entry>,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    pub(crate) fn value(&self) -> &Value<'a> {
        &self.value
    }

    /// The value of a key; `None` without the key, and where nothing stands after it.
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().insert(key);
        let entry = self.entries.get(key)?;
        let value = self.key(key, &entry.value, entry.line);
        if value.is_nothing() && !MAY_BE_NOTHING.contains(&key) {
            value.wrong("nothing stands after this key; remove it, or give it a value");
        }
        (!value.is_nothing()).then_some(value)
    }

    /// Whether the key is there, with whatever value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Takes keys that change nothing on a node.
    pub(crate) fn ignore(&self, keys: &[&'static str]) {
        self.known.borrow_mut().extend(keys);
    }

    fn key(&self, key: &str, node: &Rc<Node>, line: u64) -> Value<'a> {
        let of = &self.value.place;
        // A scalar or a list on lines of its own is told where it begins, not where its key stands.
        let line = match node.kind {
            Kind::Scalar { .. } => node.line.max(line),
            Kind::Nothing | Kind::List(_) | Kind::Map(_) => line,
        };
        Value {
            context: self.value.context,
            node: Rc::clone(node),
            line,
            place: format!("{of}, `{key}`").into(),
            knows_later: self.value.knows_later,
        }
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<String> {
        self.get(key)?.must_be_text().text()
    }

    /// The same, in one of the notations that are texts for Compose.
    pub(crate) fn parsed_text<T>(
        &self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.get(key)?.must_be_text().parsed(expected, parse)
    }

    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.get(key)?.parsed(expected, parse)
    }

    pub(crate) fn texts(&self, key: &'static str) -> Vec<String> {
        self.get(key).map(|value| value.texts()).unwrap_or_default()
    }

    /// Notes a problem with a key that is not there.
    pub(crate) fn missing(&self, key: &str, problem: &str) {
        let of = self.value.place();
        self.value.at(&format!("{of}, `{key}`")).wrong(problem);
    }

    /// Tells of every key that nobody asked for. `x-…` is for others, and for anchors.
    pub(crate) fn finish(&self) {
        let known = self.known.borrow();
        for (key, entry) in &self.entries {
            if !known.contains(key.as_str()) && !key.starts_with("x-") {
                let value = Value {
                    line: entry.line,
                    ..self.value.clone()
                };
                value.wrong(unknown(key, &known));
            }
        }
    }
}
