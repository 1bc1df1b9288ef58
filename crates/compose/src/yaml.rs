//! YAML as a tree in which every node knows its line. Numbers and booleans stay the texts that they
//! were written as; anchors, aliases and `<<` are followed here, so nobody after this knows of them.
//!
//! An alias shares the node it names and copies nothing, so a file may have as many as it likes. The
//! parser bounds how deep nodes may stand in each other.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::{problem::Problem, scalars::is_no_text};

/// How deep nodes may stand in each other, those that aliases name included: far more than any file
/// needs, and too little to exhaust the stack.
const DEEPEST: u16 = 100;

/// What YAML calls the tags of its own types.
const CORE_TAGS: &str = "tag:yaml.org,2002:";

/// A node of the file.
#[derive(Debug)]
pub(crate) struct Node {
    /// The line it begins at, from 1.
    pub(crate) line: u64,
    pub(crate) kind: Kind,
    /// How many nodes stand in each other here, at most.
    depth: u16,
}

impl Node {
    fn new(line: u64, kind: Kind) -> Self {
        let children = match &kind {
            Kind::Nothing | Kind::Scalar { .. } => 0,
            Kind::List(items) => deepest(items.iter()),
            Kind::Map(entries) => deepest(entries.iter().map(|entry| &entry.value)),
        };
        let depth = children.saturating_add(1);
        Self { line, kind, depth }
    }

    /// A text that stands in quotes.
    pub(crate) fn text(line: u64, text: &str) -> Self {
        let (text, plain) = (text.to_owned(), false);
        Self::new(line, Kind::Scalar { text, plain })
    }
}

fn deepest<'a>(nodes: impl Iterator<Item = &'a Rc<Node>>) -> u16 {
    nodes.map(|node| node.depth).max().unwrap_or(0)
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// Nothing, `~` or `null`.
    Nothing,
    Scalar {
        text: String,
        /// Neither quoted nor a block: YAML may take it for a number or a boolean.
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The line of the key.
    pub(crate) line: u64,
    pub(crate) value: Rc<Node>,
}

/// Reads a text that holds one document. Problems that leave a tree to be read stand beside it.
pub(crate) fn read(text: &str) -> (Option<Rc<Node>>, Vec<Problem>) {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                let line = line_of(error.marker().line());
                builder.wrong(line, format!("this is not YAML: {}", error.info()));
                return (None, builder.problems);
            }
        }
    }
    (builder.root, builder.problems)
}

#[derive(Default)]
struct Builder {
    /// The collections that are open, outermost first.
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    problems: Vec<Problem>,
}

struct Open {
    line: u64,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map {
        entries: Vec<Entry>,
        /// What `<<` names, each with its line.
        merged: Vec<Rc<Node>>,
        key: Option<Key>,
    },
}

struct Key {
    text: String,
    line: u64,
    is_merge: bool,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) {
        let line = line_of(span.start.line());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = self.scalar(line, &text, style, tag.as_deref());
                self.complete(Node::new(line, kind), anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(line, tag.as_deref());
                self.begin(line, anchor, Content::List(Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(line, tag.as_deref());
                let content = Content::Map {
                    entries: Vec::new(),
                    merged: Vec::new(),
                    key: None,
                };
                self.begin(line, anchor, content);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => match self.anchors.get(&anchor).map(Rc::clone) {
                Some(node) => self.place(node, line),
                None => {
                    self.wrong(line, "an alias stands inside of what it names");
                    self.complete(nothing(line), 0);
                }
            },
            Event::DocumentStart(..) if self.root.is_some() => {
                self.problems.push(Problem {
                    line,
                    place: "top level".into(),
                    problem: "a second document begins here; expected one in a file".into(),
                });
            }
            Event::DocumentStart(..)
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::UnresolvedAlias(_)
            | _ => {}
        }
    }

    fn scalar(&mut self, line: u64, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Kind {
        let is_text = self.check_tag(line, tag) == Some("str");
        let plain = style == ScalarStyle::Plain && !is_text;
        if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            return Kind::Nothing;
        }
        Kind::Scalar {
            text: text.to_owned(),
            plain,
        }
    }

    /// The name of one of YAML's own types, if a tag says one.
    fn check_tag<'t>(&mut self, line: u64, tag: Option<&'t Tag>) -> Option<&'t str> {
        let tag = tag?;
        if tag.handle() == CORE_TAGS {
            return Some(tag.suffix());
        }
        self.wrong(
            line,
            "tags such as `!reset` and `!override` are for several files that Compose merges; the agent reads one file, so write what is meant",
        );
        None
    }

    fn begin(&mut self, line: u64, anchor: usize, content: Content) {
        self.open.push(Open {
            line,
            anchor,
            content,
        });
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else {
            return;
        };
        let kind = match open.content {
            Content::List(items) => Kind::List(items),
            Content::Map {
                entries, merged, ..
            } => Kind::Map(self.merge(entries, &merged)),
        };
        self.complete(Node::new(open.line, kind), open.anchor);
    }

    fn complete(&mut self, node: Node, anchor: usize) {
        let line = node.line;
        let node = if node.depth > DEEPEST {
            self.wrong(
                line,
                format!("more than {DEEPEST} lists and mappings stand in each other"),
            );
            nothing(line)
        } else {
            node
        };
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.place(node, line);
    }

    /// Puts a node where the parser is: into the list, as key or value into the mapping, or as the
    /// whole document.
    fn place(&mut self, node: Rc<Node>, line: u64) {
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map {
                entries,
                merged,
                key,
            } => match key.take() {
                None => match as_key(&node, line) {
                    Some(found) => *key = Some(found),
                    None => {
                        *key = Some(Key {
                            text: String::new(),
                            line,
                            is_merge: false,
                        });
                        self.wrong(
                            line,
                            "a key must be a text; put a number or boolean in quotes",
                        );
                    }
                },
                Some(Key { is_merge: true, .. }) => merged.push(node),
                Some(Key { text, line, .. }) => entries.push(Entry {
                    key: text,
                    line,
                    value: node,
                }),
            },
        }
    }

    /// A mapping's own entries, and those it takes from others where it has none of that name.
    fn merge(&mut self, own: Vec<Entry>, merged: &[Rc<Node>]) -> Vec<Entry> {
        let mut lines = BTreeMap::new();
        let mut entries = Vec::with_capacity(own.len());
        for entry in own {
            if let Some(first) = lines.get(&entry.key) {
                let problem = format!(
                    "the key `{}` is there twice, first in line {first}",
                    entry.key
                );
                self.wrong(entry.line, problem);
                continue;
            }
            lines.insert(entry.key.clone(), entry.line);
            entries.push(entry);
        }
        for source in merged.iter().flat_map(sources) {
            let Kind::Map(others) = &source.kind else {
                self.wrong(source.line, "`<<` takes a mapping, or a list of mappings");
                continue;
            };
            for entry in others {
                if lines.insert(entry.key.clone(), entry.line).is_none() {
                    entries.push(entry.clone());
                }
            }
        }
        entries
    }

    fn wrong(&mut self, line: u64, problem: impl Into<String>) {
        self.problems.push(Problem {
            line,
            place: String::new(),
            problem: problem.into(),
        });
    }
}

/// What `<<` names: one mapping, or those of a list.
fn sources(node: &Rc<Node>) -> &[Rc<Node>] {
    match &node.kind {
        Kind::List(nodes) => nodes,
        Kind::Map(_) | Kind::Scalar { .. } | Kind::Nothing => std::slice::from_ref(node),
    }
}

fn as_key(node: &Node, line: u64) -> Option<Key> {
    match &node.kind {
        Kind::Scalar { text, plain: true } if is_no_text(text) => None,
        Kind::Scalar { text, plain } => Some(Key {
            text: text.clone(),
            line,
            is_merge: *plain && text == "<<",
        }),
        Kind::Nothing | Kind::List(_) | Kind::Map(_) => None,
    }
}

fn nothing(line: u64) -> Node {
    Node::new(line, Kind::Nothing)
}

fn line_of(line: usize) -> u64 {
    u64::try_from(line).unwrap_or(u64::MAX)
}
