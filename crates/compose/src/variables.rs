//! A service's environment: `environment`, `env_file`, and what `x-togather` demands of them; and
//! the mappings that are written alike.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use crate::{
    env,
    interpolate::{Content, pieces},
    mounts::resolve,
    reader::{MASK, Section, Value},
    values::{NUMBER, SWITCH, number, switch},
};

const QUOTE_IT: &str = "YAML takes this for a number, a boolean or a date, and Compose makes another text of it; put it in quotes to keep it as it is written";

type Variables = BTreeMap<String, String>;

/// Fills in a value.
type Fill<'a> = fn(&Value<'a>) -> Option<String>;

/// A name, and its text or the place where it stands without one.
type Pair<'a> = (String, Result<String, Value<'a>>);

/// What the container finds in its environment. Where the same name is in several places,
/// `environment` wins over `env_file`, and a later file over an earlier one.
pub(crate) fn environment(service: &Section<'_>, is_app: bool) -> Variables {
    let mut given = Variables::new();
    if let Some(value) = service.get("environment") {
        let value = value.that_knows_later(is_app);
        let fill = if is_app {
            Value::private_address
        } else {
            Value::private_text
        };
        for (name, text) in pairs(&value, "`NAME=value`, or `NAME` alone", fill) {
            let value = text.or_else(|entry| inherited(&entry, &name));
            given.extend(value.ok().map(|value| (name, value)));
        }
    }
    let mut variables = Variables::new();
    if let Some(files) = service.get("env_file") {
        env_files(&files, &given, &mut variables);
    }
    variables.extend(given);
    variables
}

/// The value of a name that stands alone: that of the environment file.
fn inherited(entry: &Value<'_>, name: &str) -> Result<String, ()> {
    entry.look_up(name, entry.context.masked).ok_or_else(|| {
        entry.wrong(format!(
            "`{}` has no value; give it one, or set it in the environment file",
            without_value(name)
        ));
    })
}

/// Labels are as variables, but one without a value is empty.
pub(crate) fn labels(service: &Section<'_>) -> Variables {
    let Some(value) = service.get("labels") else {
        return Variables::new();
    };
    let labels = pairs(&value, "`NAME=value`", Value::private_text);
    labels
        .into_iter()
        .map(|(name, text)| (name, text.unwrap_or_default()))
        .collect()
}

/// Names and texts, such as a driver's options.
pub(crate) fn options(value: &Value<'_>) -> Variables {
    let entries = value.entries("a mapping of names to texts");
    let options = entries.into_iter().filter_map(|(name, value)| {
        check_rewritten(&value);
        if matches!(value.as_written(), Some("true" | "false")) {
            value.must_be_text();
        }
        Some((name, value.private_text()?))
    });
    options.collect()
}

fn check_rewritten(value: &Value<'_>) {
    if value.is_rewritten() {
        value.wrong(QUOTE_IT);
    }
}

/// The pairs of a list or a mapping.
fn pairs<'a>(value: &Value<'a>, expected: &str, fill: Fill<'a>) -> Vec<Pair<'a>> {
    if value.is_map() {
        let entries = value.entries("a list or a mapping");
        let pairs = entries.into_iter().filter_map(|(name, value)| {
            if value.is_nothing() {
                return Some((name, Err(value)));
            }
            check_rewritten(&value);
            Some((name, Ok(fill(&value)?)))
        });
        return pairs.collect();
    }
    let items = value.items("a list or a mapping");
    let pairs = items.into_iter();
    pairs
        .filter_map(|item| pair(item, expected, fill))
        .collect()
}

/// `NAME=value`, or a name alone.
fn pair<'a>(item: Value<'a>, expected: &str, fill: Fill<'a>) -> Option<Pair<'a>> {
    let written = item.must_be_text().written(expected)?;
    let (name, text) = match end_of_name(written) {
        // The value may be a secret or an address, so it is filled in by itself.
        Some(end) => {
            let name = item.with_text(&written[..end]).text()?;
            (name, Some(fill(&item.with_text(&written[end + 1..]))?))
        }
        None => (item.text()?, None),
    };
    // As Compose has it, a `=` that was filled in ends the name too. What comes after it is of the
    // environment file.
    let (name, text) = match name.split_once('=') {
        Some((name, rest)) => {
            let text = text.map_or_else(|| rest.to_owned(), |text| format!("{rest}={text}"));
            let hidden = item.context.masked && !text.is_empty();
            (
                name.to_owned(),
                Some(if hidden { MASK.to_owned() } else { text }),
            )
        }
        None => (name, text),
    };
    // What was filled in may be a secret: a name is told only if it stands in the file.
    let is_written = item.written(expected)?.contains(&name);
    if name.is_empty() || name.ends_with(char::is_whitespace) || (text.is_none() && !is_written) {
        item.wrong(format!(
            "`{}` is not valid; expected {expected}",
            without_value(written)
        ));
        return None;
    }
    Some((name, text.ok_or(item)))
}

/// Where the first `=` stands that is of no reference.
fn end_of_name(written: &str) -> Option<usize> {
    pieces(written, &|_| None).find_map(|piece| match piece.content {
        Content::Plain(plain) => Some(piece.at + plain.find('=')?),
        Content::Reference { .. } => None,
    })
}

/// What may be shown of a pair as it is written: its value may be a secret, also one that was meant to be
/// one (`NAME: value`, `NAME value`). References show nothing.
fn without_value(written: &str) -> String {
    let end = pieces(written, &|_| None).find_map(|piece| match piece.content {
        Content::Plain(plain) => {
            let at = plain.find(|c: char| matches!(c, '=' | ':') || c.is_whitespace());
            Some(piece.at + at?)
        }
        Content::Reference { .. } => None,
    });
    end.map_or_else(|| written.to_owned(), |end| format!("{}…", &written[..end]))
}

/// `given` is what `environment` says.
fn env_files(files: &Value<'_>, given: &Variables, variables: &mut Variables) {
    const EXPECTED: &str = "a path, or a list of paths";
    if files.is_text() {
        return env_file(files, true, given, variables);
    }
    for item in files.items(EXPECTED) {
        if !item.is_map() {
            env_file(&item, true, given, variables);
            continue;
        }
        let section = item.section("a mapping with `path`");
        let required = section.parsed("required", SWITCH, switch).unwrap_or(true);
        section.parsed(
            "format",
            "no `format`: a file is read as `.env` files are",
            |_| None::<()>,
        );
        match section.get("path") {
            Some(path) => env_file(&path, required, given, variables),
            None => section.missing("path", "the key is missing: the file's path"),
        }
        section.finish();
    }
}

fn env_file(file: &Value<'_>, required: bool, given: &Variables, variables: &mut Variables) {
    let path = file.must_be_text().text();
    let path = path.and_then(|text| resolve(file, &text));
    let Some(path) = path.map(PathBuf::from) else {
        return;
    };
    // As it is written: what was filled in is not shown.
    let shown = file.as_written().unwrap_or_default();
    let text = match read(file, &path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return,
        Err(error) => return file.wrong(format!("cannot read `{shown}`: {error}")),
    };
    let before = variables.clone();
    // As Compose looks a name up: what the file sets itself comes last.
    let outside = |name: &str| {
        let found = file.context.value_of(name).map(str::to_owned);
        found.or_else(|| given.get(name).or_else(|| before.get(name)).cloned())
    };
    match env::parse_with(&text, &outside) {
        Ok(read) => {
            let read = read.into_values().into_iter();
            variables.extend(read.map(|(name, value)| {
                let hidden = file.context.masked && !value.is_empty();
                (name, if hidden { MASK.to_owned() } else { value })
            }));
        }
        Err(problems) => {
            for problem in problems {
                file.wrong(format!("in `{shown}`, {problem}"));
            }
        }
    }
}

fn read(file: &Value<'_>, path: &Path) -> io::Result<String> {
    (file.context.source.files)(path)
}

/// `x-togather`: names that must have a value, and how long it must be at least. `value_of` knows
/// them: of the service's environment, or of the environment file.
pub(crate) fn demands(of: &Section<'_>, value_of: &dyn Fn(&str) -> Option<String>) {
    let Some(value) = of.get("x-togather") else {
        return;
    };
    let section = value.section("a mapping with `required` and `min_length`");
    let required: Vec<_> = section
        .get("required")
        .map(|list| list.items("a list of names"))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|item| Some((item.text()?, item)))
        .collect();
    for (name, item) in &required {
        if value_of(name).unwrap_or_default().is_empty() {
            item.wrong(format!(
                "`{name}` must have a value; set it in the environment file"
            ));
        }
    }
    if let Some(shortest) = section.get("min_length") {
        for (name, value) in shortest.entries("a mapping of names to numbers") {
            let Some(length) = value.parsed(NUMBER, number::<usize>) else {
                continue;
            };
            let found = value_of(&name).unwrap_or_default().chars().count();
            // An empty one may be left out on purpose; `required` says if it may not.
            if (1..length).contains(&found) {
                value.wrong(format!(
                    "`{name}` must have at least {length} characters, and has {found}"
                ));
            }
        }
    }
    section.finish();
}
