//! What an environment file may say, what it comes to, and what is refused in which words.

use proptest::prelude::*;

use super::*;

fn values(text: &str) -> Vec<(String, String)> {
    let env = parse(text).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
    let pairs = env.iter();
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn value(text: &str) -> String {
    let values = values(text);
    assert_eq!(values.len(), 1, "{text}: {values:?}");
    values[0].1.clone()
}

/// The problems of a text, each as people see it.
fn refused(text: &str) -> Vec<String> {
    let problems = parse(text).expect_err(text);
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn values_are_read_as_compose_reads_them() {
    for (line, expected) in [
        ("A=", ""),
        ("A=b", "b"),
        ("A = b", "b"),
        ("A: b", "b"),
        ("A:b=c", "b=c"),
        ("export A=b", "b"),
        ("export\tA = b", "b"),
        ("  A=b  ", "b"),
        ("exported=b", "b"),
        ("A=My Site", "My Site"),
        // Quotes count only around the whole value.
        (r#"A={"a":"b"}"#, r#"{"a":"b"}"#),
        ("A=a'b'cd", "a'b'cd"),
        ("A=it's", "it's"),
        ("A='b c'", "b c"),
        ("A=\"b 'c'\"", "b 'c'"),
        ("A='{\"a\": 1}'", "{\"a\": 1}"),
        ("A=''", ""),
        // A backslash is one, except in double quotes.
        (r"A=C:\dir\new", r"C:\dir\new"),
        (r"A='a\nb'", r"a\nb"),
        (r"A='it\'s'", "it's"),
        (r#"A="a\nb\tc""#, "a\nb\tc"),
        (r#"A="\\ \" \q \c""#, r#"\ " \q \c"#),
        (r#"A="\0123 \012 \0777 \089""#, r"S \12 \777 \89"),
        // Comments end with their line, and begin after a blank.
        ("A=b # don't", "b"),
        ("A=b #c # d", "b"),
        ("A=b#c", "b#c"),
        ("A=#Summer", "#Summer"),
        ("A='b # c' # d", "b # c"),
        ("A=\"b\"# c", "b"),
        ("# it's a comment\nA=b", "b"),
        ("A=b\n  # KEPT=1\n\n", "b"),
        // Dollar signs.
        ("A=secret$", "secret$"),
        ("A=pa$$word", "pa$word"),
        ("A='pa$word'", "pa$word"),
        (r#"A="pa\$word""#, "pa$word"),
        ("A=$5", "$5"),
        ("A=${B:-d}", "d"),
        ("A=${B:-${C:-d e}}/f", "d e/f"),
        // Whatever ends the lines, and whatever Windows puts in front.
        ("\u{feff}A=b", "b"),
        ("A=b\r\n", "b"),
        ("A='b'\r\n", "b"),
        // Several lines.
        ("A='b\nc=d'", "b\nc=d"),
        ("A=\"b\r\nc\"\n", "b\r\nc"),
        // A later line counts.
        ("A=1\nA=2", "2"),
    ] {
        assert_eq!(value(line), expected, "{line}");
    }
    for name in ["a.b", "A-B", "A_1", "1A", "a[0]"] {
        assert_eq!(values(&format!("{name}=x"))[0].0, name);
    }
}

#[test]
fn references_see_the_lines_above() {
    let text =
        "ROOT=/srv/state\nA=foo\nQUOTED=\"$A\"\nPATH_=${ROOT:?error}/data\nA=bar\nLATER=$A\n";
    let env = parse(text).unwrap();
    assert_eq!(env.get("QUOTED"), Some("foo"));
    assert_eq!(env.get("PATH_"), Some("/srv/state/data"));
    assert_eq!(env.get("LATER"), Some("bar"));
    assert_eq!((env.line("ROOT"), env.line("A")), (Some(1), Some(5)));
}

/// What the process has in its own environment is no business of the file.
#[test]
fn the_environment_of_the_process_is_not_seen() {
    assert!(std::env::var("PATH").is_ok());
    assert_eq!(value("A=${PATH:-from the file}"), "from the file");
    assert_eq!(values("PATH=/from/file\nA=$PATH")[0].1, "/from/file");
    assert_eq!(
        refused("A=$PATH"),
        refused("A=$NOBODY_SETS_THIS"),
        "a name that the process has is as unknown as any other"
    );
}

#[test]
fn a_comment_swallows_nothing() {
    let values = values("FIRST=1  # don't raise\nKEPT=2\nLAST=3  # it's fine\n");
    let values: Vec<_> = values.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["1", "2", "3"]);
}

#[test]
fn every_problem_is_told_at_once_with_its_line_and_name() {
    let text = "# first\nA=pa$word\nBARE\n\nB=${NOWHERE}/x\nC=${LATER}\nLATER=1\nD=\"a\nb\n${GONE} $GONE\"\nE=${F:?must be set}\nG=${\nmy key=1\n=2\nH= # nothing\nI=CHANGE_ME\nexport\n";
    let told = refused(text);
    for (told, expected) in told.iter().zip([
        "line 2: `A`: has a `$` that refers to a name which no line above sets",
        "line 3: `BARE`: expected `NAME=value`; a name alone takes its value from nowhere",
        "line 5: `B`: refers to `NOWHERE`, which no line above sets",
        "line 6: `C`: refers to `LATER`, which only a later line sets",
        "line 10: `D`: refers to `GONE`, which no line above sets",
        "line 10: `D`: has a `$`",
        "line 11: `E`: `F` has no value: must be set",
        "line 12: `G`: `${` begins no reference here",
        "line 13: expected `NAME=value`; a name has no blanks",
        "line 14: expected `NAME=value`; there is no name",
        "line 15: `H`: the `#` begins no comment here",
        "line 16: `I`: still says `CHANGE_ME`",
        "line 17: expected `NAME=value`; a name alone",
    ]) {
        assert!(
            told.starts_with(expected),
            "expected {expected}\ngot {told}"
        );
    }
    assert_eq!(told.len(), 13, "{told:#?}");
}

#[test]
fn one_mistake_of_a_line_is_told_once() {
    assert_eq!(refused("A=$argon2id$v=19$m\nB=1\n").len(), 1);
}

#[test]
fn a_lost_quote_is_told_where_it_was_lost() {
    for (text, expected) in [
        // Closed by the next one, lines later.
        (
            "A=1\nB='two\nC='three'\nD=4\n",
            vec!["line 2: `B`: its quote is closed by the next one, in line 3"],
        ),
        (
            "A='don't'\n",
            vec!["line 1: `A`: something follows its closing quote"],
        ),
        (
            "A='x'y\n",
            vec!["line 1: `A`: something follows its closing quote"],
        ),
        (
            "A=\"x\n\nB=1\n",
            vec!["line 1: `A`: the quote that begins its value is never closed"],
        ),
        // The lines of a value that was never closed are not each an error.
        (
            "KEY=\"-----BEGIN\nMIIE+vQ/IB\nAxY==\n-----END\nB=$X\n",
            vec!["line 1: `KEY`: the quote that", "line 5: `B`: has a `$`"],
        ),
        (
            "A='{\n \"a\": 1\n}' x\nB=$X\n",
            vec!["line 1: `A`: its quote is closed", "line 4: `B`: has a `$`"],
        ),
    ] {
        let told = refused(text);
        assert_eq!(told.len(), expected.len(), "{text}{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{text}{told}");
        }
    }
}

#[test]
fn what_begins_like_a_comment_and_is_none_is_refused() {
    for text in ["A= # b", "A=\t#b", "A: #b", "A=b\t# c", "A=\u{a0}#b"] {
        let told = refused(text);
        assert!(
            told[0].contains("begins no comment here"),
            "{text}: {told:?}"
        );
    }
}

/// The value of `pa$word` may be a password whose end is `word`; the text of a line that fits nowhere
/// may be a part of a key.
#[test]
fn no_problem_repeats_a_value() {
    for text in [
        "A=pa$hunter2",
        "A='hunter2",
        "A='x'hunter2",
        "A=hunter2${",
        "A=CHANGE_MEhunter2",
        "A=\"\\0000hunter2\"",
        "A=\"\nhunter2\n",
        "hunter2/x",
        "hunter2",
        "hunter2 hunter2=",
        "A= #hunter2",
        "B=hunter2\nA=${C:?set ${B} well}",
    ] {
        let told = refused(text).join("\n");
        assert!(!told.contains("hunter2"), "{text}: {told}");
    }
    let env = parse("A=hunter2").unwrap();
    assert_eq!(format!("{env:?}"), "{\"A\"}");
}

#[test]
fn what_is_outside_goes_before_what_is_inside() {
    let outside = |name: &str| (name == "OUT").then(|| "outside".to_owned());
    let env = parse_with("OUT=inside\nA=$OUT\nOUT\nB=${IN:-b}\n", &outside).unwrap();
    assert_eq!(env.get("A"), Some("outside"));
    assert_eq!(env.get("OUT"), Some("outside"));
    assert_eq!(env.get("B"), Some("b"));
    assert!(parse_with("IN\n", &outside).is_err());
}

#[test]
fn a_deep_nest_is_a_problem_and_no_crash() {
    let text = format!("A={}", "${A:-".repeat(200_000) + &"}".repeat(200_000));
    assert!(refused(&text)[0].contains("deep"));
}

/// The templates of deploy/config/environments, as they are shipped.
const TEMPLATES: [&str; 3] = [
    include_str!("../../../../deploy/config/environments/development.env.example"),
    include_str!("../../../../deploy/config/environments/staging.env.example"),
    include_str!("../../../../deploy/config/environments/production.env.example"),
];

/// The keys of a template, those that are comments (and so have the server's default) included.
fn keys(template: &str) -> Vec<&str> {
    let lines = template.lines();
    let names = lines.filter_map(|line| line.strip_prefix("# ").unwrap_or(line).split_once('='));
    names
        .map(|(name, _)| name)
        .filter(|name| statement::is_conventional(name))
        .collect()
}

#[test]
fn a_template_is_refused_only_for_what_is_still_to_be_filled_in() {
    for template in TEMPLATES {
        for told in parse(template).err().unwrap_or_default() {
            assert!(told.problem.contains(UNFILLED), "{told}");
        }
        let env = parse(&template.replace(UNFILLED, "example.org")).unwrap();
        for secret in [
            "POSTGRES_PASSWORD",
            "JWT_SECRET",
            "CSRF_KEY",
            "ADMIN_PASSWORD",
        ] {
            assert_eq!(
                env.get(secret),
                Some(""),
                "each node has a {secret} of its own"
            );
        }
    }
}

/// A key that the Compose file does not hand on would have no effect, and one that no template explains
/// would never be found.
#[test]
fn the_templates_and_the_compose_file_know_the_same_keys() {
    let compose = include_str!("../../../../deploy/docker/docker-compose.yml");
    for template in TEMPLATES {
        let keys = keys(template);
        assert!(keys.len() > 80, "{keys:?}");
        for key in &keys {
            let is_read = ["}", ":"].map(|end| compose.contains(&format!("${{{key}{end}")));
            assert!(is_read.contains(&true), "{key} is read by nobody");
        }
        let references = compose.split("${").skip(1);
        for name in references.filter_map(|rest| rest.split([':', '}']).next()) {
            let set_otherwise = [
                "VALUES",
                "VALUE",
                "APP_IMAGE",
                "TRUSTED_PROXY_CIDRS",
                "TOGATHER_PROXY_CIDRS",
            ];
            assert!(
                keys.contains(&name) || set_otherwise.contains(&name),
                "{name} is not explained"
            );
        }
    }
}

proptest! {
    /// Any text is read or refused; its problems have lines that exist, in order.
    #[test]
    fn any_text_is_read_or_refused(text in "([A-C=:# \t\r\n'\"\\\\${}?+a-]|export |\\$\\{A:-)*") {
        if let Err(problems) = parse(&text) {
            let lines = text.lines().count() as u64 + 1;
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
            prop_assert!(problems.is_sorted_by_key(|problem| problem.line));
        }
    }

    /// In single quotes everything but a quote and a backslash stands for itself.
    #[test]
    fn single_quotes_keep_a_value(value in "[^'\\\\\0]*") {
        prop_assume!(!value.contains(UNFILLED));
        let env = parse(&format!("A='{value}'\nB=1\n")).unwrap();
        prop_assert_eq!(env.get("A"), Some(value.as_str()));
        prop_assert_eq!(env.get("B"), Some("1"));
    }

    /// Which line ends a file has changes no value of one line.
    #[test]
    fn line_ends_make_no_difference(lines in prop::collection::vec("[A-C]=[a-z #$:]*", 0..8)) {
        let (unix, windows) = (lines.join("\n"), lines.join("\r\n"));
        prop_assert_eq!(parse(&unix), parse(&windows));
    }
}
