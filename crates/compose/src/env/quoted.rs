//! A value in quotes: where it ends, and what its escapes mean.

use super::statement::is_break;

/// A value in quotes, its escapes undone.
pub(super) struct Quoted {
    pub(super) value: String,
    /// Where the line breaks of the file lie in `value`, so that a place in it can be told by its line.
    pub(super) breaks: Vec<usize>,
    /// How many bytes it takes in the file, quotes and all.
    pub(super) length: usize,
}

/// Reads the value that the text begins with; `None`: its quote is never closed.
///
/// In both kinds of quotes a backslash keeps the quote from ending the value. In double quotes a
/// dollar sign that it stands before becomes `$$`, which is filled in as a dollar sign later.
pub(super) fn read(text: &str) -> Option<Quoted> {
    let quote = text.chars().next()?;
    let mut value = String::new();
    let mut breaks = Vec::new();
    let mut at = quote.len_utf8();
    loop {
        let rest = &text[at..];
        let c = rest.chars().next()?;
        if c == quote {
            let length = at + c.len_utf8();
            return Some(Quoted {
                value,
                breaks,
                length,
            });
        }
        if c == '\\' {
            at += escape(rest, quote, &mut value)?;
            continue;
        }
        if is_break(c) {
            breaks.push(value.len());
        }
        value.push(c);
        at += c.len_utf8();
    }
}

/// Undoes the escape that the text begins with. Returns how many bytes it takes.
fn escape(text: &str, quote: char, value: &mut String) -> Option<usize> {
    let c = text.chars().nth(1)?;
    let length = 1 + c.len_utf8();
    let meant = match c {
        _ if c == quote => quote,
        _ if quote == '\'' => return Some(kept(c, value, length)),
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        '$' => {
            value.push_str("$$");
            return Some(length);
        }
        '0' => return Some(octal(text, value)),
        _ => return Some(kept(c, value, length)),
    };
    value.push(meant);
    Some(length)
}

/// A backslash before anything else stays.
fn kept(c: char, value: &mut String, length: usize) -> usize {
    value.extend(['\\', c]);
    length
}

/// `\0` and up to three digits: the character of that octal number. What is none loses its `0`, as in
/// Compose.
fn octal(text: &str, value: &mut String) -> usize {
    let prefix = "\\0".len();
    let digits = text[prefix..].bytes().take(3);
    let count = digits.take_while(u8::is_ascii_digit).count();
    let digits = &text[prefix..prefix + count];
    match u8::from_str_radix(digits, 8) {
        Ok(code) if count == 3 => value.push(char::from(code)),
        _ => {
            value.push('\\');
            value.push_str(digits);
        }
    }
    prefix + count
}
