//! No text brings the reader down.

use proptest::prelude::*;

use super::*;

/// Pieces of Compose files, right and wrong.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("name: n\n".to_owned()),
        Just("services:\n".to_owned()),
        Just("  app:\n".to_owned()),
        Just("  db: &a {image: x, ports: ['1:1']}\n".to_owned()),
        Just("    environment: {A: ${JWT_SECRET}, B: }\n".to_owned()),
        Just("    <<: *a\n".to_owned()),
        Just("    - [*a, {b: *a}]\n".to_owned()),
        Just("    volumes: [./a:/b, ~:/c, {type: bind}]\n".to_owned()),
        Just("    networks: {default: {aliases: [x]}}\n".to_owned()),
        Just("    x-togather: {required: [A], min_length: {A: 3}}\n".to_owned()),
        "[ ]{0,6}[a-z_]{0,8}:? ?[\"'${}\\[\\]&*!|>#~-]{0,3}[a-z0-9./:]{0,6}\n",
    ]
}

proptest! {
    #[test]
    fn any_text_is_a_model_or_problems(text in any::<String>()) {
        let _ = load(&text);
    }

    #[test]
    fn any_pieces_are_a_model_or_problems(pieces in proptest::collection::vec(piece(), 0..20)) {
        if let Err(error) = load(&pieces.concat()) {
            prop_assert!(!error.problems.is_empty());
            prop_assert!(!error.to_string().contains("a secret"));
        }
    }
}

#[test]
fn a_real_files_aliases_are_followed() {
    let mut text = String::from(
        "name: t\nservices:\n  app: {}\n  db: &base\n    image: x\n    logging: &log {driver: json-file}\n    environment: &env {A: 1}\n",
    );
    for n in 0..500 {
        text.push_str(&format!(
            "  w{n}:\n    <<: *base\n    logging: *log\n    environment: {{<<: *env, B: 2}}\n"
        ));
    }
    let compose = load(&text).unwrap();
    assert_eq!(compose.base.len(), 501);
    assert_eq!(compose.base[500].environment.len(), 2);
}

#[test]
fn nesting_is_an_error_with_its_line_however_deep_it_is() {
    let depth = 100_000;
    let braces = format!("{}x{}", "${A:-".repeat(depth), "}".repeat(depth));
    let lists = format!("{}x{}", "[".repeat(depth), "]".repeat(depth));
    let mut aliases = String::from("x0: &a0 [x]\n");
    for n in 1..2000 {
        aliases.push_str(&format!("x{n}: &a{n} [*a{}]\n", n - 1));
    }
    let indented: String = (0..2000)
        .map(|n| format!("{}a:\n", " ".repeat(n)))
        .collect();
    for (text, expected) in [
        (
            format!("name: t\nservices:\n  app:\n    command: '{braces}'\n"),
            "compose.yml:4: service `app`, `command`: ",
        ),
        (
            format!("name: t\nservices:\n  app: {lists}\n"),
            "compose.yml:3: ",
        ),
        (
            format!("name: t\nservices: {{app: }}\n{aliases}"),
            "stand in each other",
        ),
        (indented, "compose.yml:"),
    ] {
        let told = load(&text).unwrap_err().to_string();
        assert!(told.contains(expected), "{}", &told[..told.len().min(500)]);
    }
}
