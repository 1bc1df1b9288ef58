//! The statements of a file, told apart as PostgreSQL's own tools do. Nothing is run by this: a file
//! is sent whole. It is for saying where an error was, and what a file can have left behind.

/// How much of a line an error shows, in characters.
const EXCERPT: usize = 100;

/// A file's statements, in order.
#[derive(Debug)]
pub(crate) struct Statements<'a> {
    file: &'a str,
    /// Where each begins and ends, without the spaces and comments before it.
    spans: Vec<(usize, usize)>,
}

impl<'a> Statements<'a> {
    /// Splits the file at the semicolons that end statements.
    pub(crate) fn of(file: &'a str) -> Self {
        let mut spans = Vec::new();
        let mut scanner = Scanner { file, at: 0 };
        let mut begin = None;
        let mut nesting = Nesting::default();
        loop {
            let token_begin = scanner.at;
            match scanner.next() {
                None => break,
                Some(Token::Blank) => {}
                Some(Token::Semicolon) if nesting.is_outside() => {
                    spans.extend(begin.take().map(|begin| (begin, token_begin)));
                    nesting = Nesting::default();
                }
                Some(token) => {
                    begin.get_or_insert(token_begin);
                    nesting.note(&token);
                }
            }
        }
        spans.extend(begin.map(|begin| (begin, file.len())));
        Self { file, spans }
    }

    /// Line and excerpt of the statement with this number, counted from 0.
    pub(super) fn nth(&self, number: usize) -> Option<(usize, String)> {
        let &(begin, _) = self.spans.get(number)?;
        Some(self.line_at(begin))
    }

    /// Line and excerpt around this character of the file, counted from 1.
    pub(super) fn at_character(&self, position: usize) -> Option<(usize, String)> {
        let mut characters = self.file.char_indices().map(|(at, _)| at);
        Some(self.line_at(characters.nth(position.checked_sub(1)?)?))
    }

    fn line_at(&self, byte: usize) -> (usize, String) {
        let before = &self.file[..byte];
        let number = before.matches('\n').count() + 1;
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.file[begin..].lines().next().unwrap_or_default().trim();
        let mut excerpt: String = line.chars().take(EXCERPT).collect();
        if excerpt.len() < line.len() {
            excerpt.push('…');
        }
        (number, excerpt)
    }

    /// Each statement, without the semicolon that ends it.
    pub(crate) fn texts(&self) -> impl ExactSizeIterator<Item = &'a str> {
        self.spans
            .iter()
            .map(|&(begin, end)| &self.file[begin..end])
    }

    /// Whether something of the file can be committed although a later part of it fails. PostgreSQL
    /// runs a file of several statements as one transaction, unless it ends transactions itself.
    pub(super) fn may_commit_before_its_end(&self) -> bool {
        let alone = self.spans.len() == 1;
        self.texts().any(|text| match first_word(text).as_str() {
            "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "prepare" | "call" => {
                true
            }
            "do" => alone && text.to_ascii_lowercase().contains("commit"),
            _ => false,
        })
    }

    /// Whether the file only defines things, so that what it did can be seen in the catalogue, or
    /// can be done once more without harm.
    pub(super) fn only_defines(&self) -> bool {
        self.texts().all(|text| match first_word(text).as_str() {
            "create" | "drop" | "comment" | "grant" | "revoke" | "set" => true,
            // With TYPE … USING every row gets a new value, perhaps of the type it had.
            "alter" => {
                let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
                let mut words = words.iter().skip_while(|w| !w.eq_ignore_ascii_case("type"));
                !words.any(|word| word.eq_ignore_ascii_case("using"))
            }
            _ => false,
        })
    }
}

fn first_word(statement: &str) -> String {
    let end = statement.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    statement[..end.unwrap_or(statement.len())].to_ascii_lowercase()
}

/// Semicolons inside parentheses, and inside bodies in standard SQL (`BEGIN ATOMIC … END`), end no
/// statement.
#[derive(Debug, Default)]
struct Nesting {
    parentheses: usize,
    bodies: usize,
    last_word: String,
}

impl Nesting {
    fn is_outside(&self) -> bool {
        self.parentheses == 0 && self.bodies == 0
    }

    fn note(&mut self, token: &Token<'_>) {
        match token {
            Token::Open => self.parentheses += 1,
            Token::Close => self.parentheses = self.parentheses.saturating_sub(1),
            Token::Word(word) => {
                let word = word.to_ascii_lowercase();
                match word.as_str() {
                    "atomic" if self.last_word == "begin" => self.bodies += 1,
                    "case" if self.bodies > 0 => self.bodies += 1,
                    "end" => self.bodies = self.bodies.saturating_sub(1),
                    _ => {}
                }
                self.last_word = word;
            }
            Token::Semicolon | Token::Blank | Token::Other => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    /// Space or comment.
    Blank,
    Semicolon,
    Open,
    Close,
    Word(&'a str),
    /// A string, a quoted name, an operator.
    Other,
}

struct Scanner<'a> {
    file: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Steps over one token. What is not closed goes on to the end of the file.
    fn next(&mut self) -> Option<Token<'a>> {
        let rest = &self.file[self.at..];
        let first = rest.chars().next()?;
        let (length, token) = match first {
            ';' => (1, Token::Semicolon),
            '(' => (1, Token::Open),
            ')' => (1, Token::Close),
            '-' if rest.starts_with("--") => (until(rest, "\n"), Token::Blank),
            '/' if rest.starts_with("/*") => (comment(rest), Token::Blank),
            '\'' => (string(rest, '\'', false), Token::Other),
            '"' => (string(rest, '"', false), Token::Other),
            'e' | 'E' if rest[1..].starts_with('\'') => {
                (1 + string(&rest[1..], '\'', true), Token::Other)
            }
            '$' => (dollar_quoted(rest), Token::Other),
            c if c.is_whitespace() => (c.len_utf8(), Token::Blank),
            c if c.is_alphanumeric() || c == '_' => {
                let in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                let length = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
                (length, Token::Word(&rest[..length]))
            }
            c => (c.len_utf8(), Token::Other),
        };
        self.at += length;
        Some(token)
    }
}

fn until(rest: &str, end: &str) -> usize {
    rest.find(end).map_or(rest.len(), |at| at + end.len())
}

/// Comments nest.
fn comment(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// A doubled quote is none; nor is one behind a backslash, where backslashes escape.
fn string(rest: &str, quote: char, escapes: bool) -> usize {
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if escapes && c == '\\' {
            characters.next();
        } else if c == quote && characters.next_if(|&(_, next)| next == quote).is_none() {
            return at + 1;
        }
    }
    rest.len()
}

/// `$tag$ … $tag$`; a dollar that opens nothing (a parameter) is one character.
fn dollar_quoted(rest: &str) -> usize {
    let Some(tag) = rest[1..].find('$').map(|end| &rest[..end + 2]) else {
        return 1;
    };
    let name = &tag[1..tag.len() - 1];
    let is_tag = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !is_tag {
        return 1;
    }
    tag.len() + until(&rest[tag.len()..], tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(file: &str) -> Vec<&str> {
        Statements::of(file).texts().collect()
    }

    #[test]
    fn semicolons_in_strings_comments_and_bodies_end_nothing() {
        let function =
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$ BEGIN; END; $$;$$ $body$";
        let atomic = "CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END";
        let rule = "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2)";
        let strings = r#"SELECT 'it''s; ', E'\';', ";", $1 /* ; /* ; */ ; */"#;
        let file = format!("-- a; b\n{function};\n\n;{atomic};{rule};\n{strings};SELECT 5 -- ;");
        assert_eq!(
            split(&file),
            [function, atomic, rule, strings, "SELECT 5 -- ;"]
        );
    }

    #[test]
    fn an_unclosed_string_goes_on_to_the_end() {
        assert_eq!(
            split("SELECT 1; SELECT '; SELECT 2;"),
            ["SELECT 1", "SELECT '; SELECT 2;"]
        );
        assert_eq!(split("/* only ; a comment"), Vec::<&str>::new());
        assert_eq!(split(""), Vec::<&str>::new());
    }

    #[test]
    fn places_are_found_by_statement_and_by_character() {
        let file = "-- é\nSELECT 1;\n  SELECT\n  2;";
        let statements = Statements::of(file);
        assert_eq!(statements.nth(1), Some((3, "SELECT".into())));
        assert_eq!(statements.at_character(6), Some((2, "SELECT 1;".into())));
        assert_eq!(statements.at_character(999), None);
        assert_eq!(statements.at_character(0), None);
        assert_eq!(statements.nth(2), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(file: String) {
            let statements = Statements::of(&file);
            for position in 0..file.chars().count() {
                statements.at_character(position);
            }
            for text in statements.texts() {
                first_word(text);
            }
        }
    }
}
