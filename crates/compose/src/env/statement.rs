//! The statements of an environment file, one after another.

use super::{Env, quoted};
use crate::{
    Problem,
    interpolate::{Content, InterpolateError, pieces},
};

/// Reads every statement into `env`. What cannot be read is a problem, and the reading goes on after it.
pub(super) fn read(
    text: &str,
    outside: &dyn Fn(&str) -> Option<String>,
    env: &mut Env,
) -> Vec<Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut file = File {
        text,
        breaks: text.match_indices('\n').map(|(at, _)| at).collect(),
        outside,
        env,
        problems: Vec::new(),
        last_quoted: None,
    };
    let mut at = 0;
    while let Some(start) = file.next_statement(at) {
        at = file.statement(start);
    }
    file.problems
}

struct File<'a> {
    text: &'a str,
    /// Where each line ends.
    breaks: Vec<usize>,
    outside: &'a dyn Fn(&str) -> Option<String>,
    env: &'a mut Env,
    problems: Vec<Problem>,
    last_quoted: Option<LastQuoted<'a>>,
}

/// The value in quotes that was read last: what does not fit behind it is most likely its own fault.
struct LastQuoted<'a> {
    name: &'a str,
    opened: usize,
    closed: usize,
}

impl<'a> File<'a> {
    /// The line of a place, from 1.
    fn line(&self, at: usize) -> u64 {
        let before = self.breaks.partition_point(|&end| end < at);
        u64::try_from(before + 1).unwrap_or(u64::MAX)
    }

    /// Where the line after the one of this place begins.
    fn next_line(&self, at: usize) -> usize {
        let end = self.text[at..].find('\n');
        end.map_or(self.text.len(), |end| at + end + 1)
    }

    /// Where the next statement begins: after blanks and comments.
    fn next_statement(&self, mut at: usize) -> Option<usize> {
        loop {
            let rest = &self.text[at..];
            at += rest.find(|c: char| !c.is_whitespace())?;
            if !self.text[at..].starts_with('#') {
                return Some(at);
            }
            at = self.next_line(at);
        }
    }

    fn problem(&mut self, at: usize, name: &str, problem: impl Into<String>) {
        let line = self.line(at);
        self.problems.push(Problem::at(line, name, problem));
    }

    /// Reads the statement that begins here. Returns where the reading goes on.
    fn statement(&mut self, start: usize) -> usize {
        let name_at = self.after_export(start);
        let rest = &self.text[name_at..];
        let end = rest.find(|c| !belongs_to_a_name(c)).unwrap_or(rest.len());
        let name = rest[..end].trim_end();
        match rest[end..].chars().next() {
            None | Some('\n') => self.name_alone(start, name, name_at + end),
            Some('=' | ':') if name.is_empty() => self.no_statement(start, "", "there is no name"),
            Some('=' | ':') if name.contains(is_blank) => {
                self.no_statement(start, "", "a name has no blanks")
            }
            Some('=' | ':') => self.value(name, name_at + end + 1),
            Some(_) => self.no_statement(
                start,
                "",
                "a name has letters, digits, `_`, `.` and `-`, and a value of several lines stands \
                 in quotes",
            ),
        }
    }

    fn after_export(&self, start: usize) -> usize {
        let rest = &self.text[start..];
        match rest.strip_prefix("export") {
            Some(after) if after.starts_with(['\t', '\n', '\u{c}', '\r', ' ']) => {
                let after = after.trim_start_matches(is_blank);
                self.text.len() - after.len()
            }
            _ => start,
        }
    }

    /// A name without a value: taken from outside, where there is an outside.
    fn name_alone(&mut self, start: usize, name: &str, end: usize) -> usize {
        if let Some(value) = (self.outside)(name) {
            let line = self.line(start);
            self.env.set(name, value, line);
            return end;
        }
        // Anything else may be a line of somebody's key.
        let shown = if is_conventional(name) { name } else { "" };
        self.no_statement(
            start,
            shown,
            "a name alone takes its value from nowhere (an empty value is written `NAME=`, and one \
             of several lines stands in quotes)",
        )
    }

    fn no_statement(&mut self, start: usize, name: &str, why: &str) -> usize {
        if let Some(resume) = self.after_quotes(start) {
            return resume;
        }
        self.problem(start, name, format!("expected `NAME=value`; {why}"));
        self.next_line(start)
    }

    /// If what does not fit stands right behind a value in quotes, that is told instead.
    fn after_quotes(&mut self, start: usize) -> Option<usize> {
        let last = self.last_quoted.take()?;
        let (opened, closed) = (self.line(last.opened), self.line(last.closed));
        if closed != self.line(start) {
            return None;
        }
        if opened == closed {
            let problem = "something follows its closing quote; only a comment may";
            self.problem(last.opened, last.name, problem);
            return Some(self.next_line(start));
        }
        let problem = format!(
            "its quote is closed by the next one, in line {closed}, and something follows it there: \
             a quote is missing, or one is in the value (quote that with the other kind)"
        );
        self.problem(last.opened, last.name, problem);
        Some(self.after_torn(last.opened))
    }

    /// Where to go on after a value whose quotes are wrong: at the first line that looks like a
    /// statement, because the lines before it may well have been meant as a part of the value.
    fn after_torn(&self, opened: usize) -> usize {
        let mut at = self.next_line(opened);
        while at < self.text.len() {
            let next = self.next_line(at);
            if looks_like_a_statement(&self.text[at..next]) {
                break;
            }
            at = next;
        }
        at
    }

    fn value(&mut self, name: &'a str, after_separator: usize) -> usize {
        let rest = self.text[after_separator..].trim_start_matches(is_blank);
        let at = self.text.len() - rest.len();
        if rest.starts_with(['"', '\'']) {
            return self.quoted(name, at);
        }
        let end = rest.find('\n').unwrap_or(rest.len());
        let line = &rest[..end];
        let value = line.find(" #").map_or(line, |comment| &line[..comment]);
        let value = value.trim_end();
        let before = self.text[..at].ends_with(is_blank);
        if before && value.starts_with('#') || has_blank_before_hash(value) {
            self.problem(
                at,
                name,
                "the `#` begins no comment here, Compose takes it for a part of the value; put the \
                 comment on a line of its own, or the value in quotes",
            );
        }
        self.set(name, value, at, &[]);
        at + end
    }

    fn quoted(&mut self, name: &'a str, at: usize) -> usize {
        let Some(quoted) = quoted::read(&self.text[at..]) else {
            let problem = "the quote that begins its value is never closed";
            self.problem(at, name, problem);
            return self.after_torn(at);
        };
        let end = at + quoted.length;
        self.last_quoted = Some(LastQuoted {
            name,
            opened: at,
            closed: end,
        });
        if self.text[at..].starts_with('\'') {
            let line = self.line(at);
            self.env.set(name, quoted.value, line);
        } else {
            self.set(name, &quoted.value, at, &quoted.breaks);
        }
        end
    }

    /// Fills in the references of a value that begins at this place, and sets it. A value that has a
    /// problem is set all the same, so that what refers to it has none of its own.
    fn set(&mut self, name: &str, value: &str, at: usize, breaks: &[usize]) {
        let line = self.line(at);
        let mut filled = String::with_capacity(value.len());
        let env = &*self.env;
        let lookup = |name: &str| (self.outside)(name).or_else(|| env.get(name).map(str::to_owned));
        for piece in pieces(value, &lookup) {
            match piece.content {
                Content::Plain(plain) => filled.push_str(plain),
                Content::Reference {
                    value: Ok(value), ..
                } => filled.push_str(&value),
                Content::Reference {
                    value: Err(error), ..
                } => {
                    let lines_before = breaks.partition_point(|&end| end < piece.at);
                    let line = line + u64::try_from(lines_before).unwrap_or_default();
                    self.problems
                        .push(Problem::at(line, name, told(error, self.text)));
                }
            }
        }
        self.env.set(name, filled, line);
    }
}

/// An error in a value, without a word of what may be a secret.
fn told(error: InterpolateError, file: &str) -> String {
    match error {
        InterpolateError::Unset { name, braced: true } if sets(file, &name) => format!(
            "refers to `{name}`, which only a later line sets; a reference sees the lines above it"
        ),
        InterpolateError::Unset { name, braced: true } => format!(
            "refers to `{name}`, which no line above sets; set it there, or give a default: \
             `${{{name}:-default}}`"
        ),
        InterpolateError::Unset { braced: false, .. } => {
            "has a `$` that refers to a name which no \
             line above sets; a dollar sign itself is written `$$`, or the value stands in single \
             quotes"
                .to_owned()
        }
        InterpolateError::Required { .. }
        | InterpolateError::Malformed
        | InterpolateError::TooDeep => error.to_string(),
    }
}

/// Whether some line of the file looks as if it set this name.
fn sets(file: &str, name: &str) -> bool {
    file.lines().any(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let after = line.strip_prefix(name).map(str::trim_start);
        after.is_some_and(|after| after.starts_with(['=', ':']))
    })
}

/// As names are usually written, and parts of keys and passwords are not.
pub(super) fn is_conventional(name: &str) -> bool {
    let all = |c: char| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit();
    (1..=48).contains(&name.len()) && name.chars().all(all)
}

fn looks_like_a_statement(line: &str) -> bool {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return true;
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let Some((name, value)) = line.split_once('=') else {
        return false;
    };
    let name = name.trim();
    let is_a_name = name.chars().all(|c| belongs_to_a_name(c) && !is_blank(c));
    // `==` is how a key in base64 ends.
    !name.is_empty() && is_a_name && !value.starts_with('=')
}

/// Blanks too, so that one in a name is told as what it is.
fn belongs_to_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']') || is_blank(c)
}

fn has_blank_before_hash(value: &str) -> bool {
    let mut hashes = value.match_indices('#');
    hashes.any(|(at, _)| value[..at].ends_with(char::is_whitespace))
}

/// A blank that does not end a line.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}'
    )
}

/// Only this ends a line: of `\r\n`, the `\r` is a blank at its end.
pub(super) fn is_break(c: char) -> bool {
    c == '\n'
}
