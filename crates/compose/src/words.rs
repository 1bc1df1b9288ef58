//! A `command` or `entrypoint` that is one text, split into words as Compose splits it. That is not
//! quite a shell's way: a backslash counts in double quotes before any character, and `#` begins no
//! comment.

/// Why a text cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordsError {
    #[error("a quote is not closed")]
    Unclosed,
    #[error("a backslash stands at the end, before nothing")]
    Escape,
    /// Compose drops it and all that follows, without a word.
    #[error(
        "`{0}` outside of quotes is for a shell, and none runs here: put it in quotes, or write `[\"sh\", \"-c\", \"…\"]`"
    )]
    Shell(char),
}

/// The words of a text.
pub(crate) fn split(text: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(c),
            (_, '\\') => {
                let escaped = characters.next().ok_or(WordsError::Escape)?;
                word.get_or_insert_default().push(escaped);
            }
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\r' | '\n') => words.extend(word.take()),
            (None, '`' | '(' | ')' | ';' | '&' | '|' | '<' | '>') => {
                return Err(WordsError::Shell(c));
            }
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(WordsError::Unclosed);
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_what_compose_makes_of_a_text() {
        for (text, expected) in [
            ("", &[][..]),
            ("  serve   --port 80\n", &["serve", "--port", "80"]),
            (
                r#"sh -c "echo 'a  b'" c"#,
                &["sh", "-c", "echo 'a  b'", "c"],
            ),
            (r#"a"b c"d '' """#, &["ab cd", "", ""]),
            (r#"a\ b \t\n \x "a\nb""#, &["a b", "tn", "x", "anb"]),
            (r#""a\"b\\\q" 'a\b'"#, &[r#"a"b\q"#, r"a\b"]),
            ("run # not", &["run", "#", "not"]),
            (r#""a;b|c" '$(d)' "`e`""#, &["a;b|c", "$(d)", "`e`"]),
        ] {
            assert_eq!(split(text).unwrap(), expected, "{text}");
        }
        assert_eq!(split("a 'b"), Err(WordsError::Unclosed));
        assert_eq!(split(r"a \"), Err(WordsError::Escape));
        for text in ["a; b", "a && b", "a | b", "a > b", "a $(b)", "a `b`"] {
            assert!(matches!(split(text), Err(WordsError::Shell(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_split_or_refused(text in any::<String>()) {
            if let Ok(words) = split(&text) {
                prop_assert!(words.iter().map(String::len).sum::<usize>() <= text.len());
            }
        }
    }
}
