//! What operators get wrong: all of it told at once, with its place, in their words, and no secret.

use super::*;

/// Every problem of a file, a line each.
fn told(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_their_lines() {
    let told = told(
        "name: n\nservices:\n  db:\n    image: Postgres\n    restart: sometimes\n    envirnoment: {A: 1}\n    \
         ports: ['80']\n  app:\n    build: .\n    mem_limit: ${NOWHERE}\nvolumes: {a: {driver: [x]}}\n",
    );
    let lines: Vec<_> = told
        .lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    let expected = [4, 5, 6, 7, 9, 10, 11].map(|line| format!("compose.yml:{line}"));
    assert_eq!(lines, expected, "{told}");
    assert!(told.contains("did you mean `environment`?"), "{told}");
    assert!(told.contains("volumes, `a`, `driver`: expected a text, found a list"));
}

#[test]
fn a_problem_that_services_share_is_told_once_a_service() {
    let told = told(
        "name: n\nx-all: &all\n  image: a\n  cpus: many\nservices:\n  a: *all\n  b: {<<: *all}\n  app: {}\n",
    );
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(
        told.contains("compose.yml:4: service `b`, `cpus`: `many`"),
        "{told}"
    );
}

#[test]
fn each_mistake_names_its_key_and_what_was_expected() {
    for (text, expected) in [
        (
            "name: t\nservices:\n  app: {}\n  db:\n    image: x\n    ports:\n    - target: 80\n",
            "compose.yml:7: service `db`, `ports`: the key `published` is missing; a port has `target` (in the container) and `published` (on the host), or is written in short as `HOST:CONTAINER`",
        ),
        (
            "name: t\nservices:\n  db: {image: x}\n  app:\n    environment:\n    -\n",
            "compose.yml:6: service `app`, `environment`: an item is empty; remove its `-`, or write something after it",
        ),
        (
            "services:\n  db:\n    image: x\n    volumes:\n    - d:/d\n  app: {}\nvolumes:\n  d:\n",
            "compose.yml:1: top level: the key `name` is missing; write for example `name: togather`",
        ),
        (
            "name: t\nservices:\n  db: {image: x}\n  app:\n    environment:\n    - ${JWT_SECRET}\n",
            "compose.yml:6: service `app`, `environment`: `${JWT_SECRET}` is not valid; expected `NAME=value`, or `NAME` alone",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: ghcr.io/Foo/bar:1}\n",
            "compose.yml:4: service `db`, `image`: `ghcr.io/Foo/bar:1` is not an image reference: `Foo` must be in lower case",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: '${NOWHERE:-}'}\n",
            "`image`: `${NOWHERE:-}` is not valid; expected an image such as",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: 'https://ghcr.io/a/b'}\n",
            "leave `https://` out",
        ),
        (
            "name: t\nservices:\n  app: {environment: {JWT_SECRET: CHANGE_ME_PLEASE}}\n",
            "`environment`: still says `CHANGE_ME`, as a template does",
        ),
        (
            "name: t\nservices:\n  app: {environment: {A: '${NOWHERE:?see the wiki}'}}\n",
            "`environment`: `NOWHERE` has no value: see the wiki",
        ),
        (
            "name: t\nservices:\n  app: {environment: {A: 010}}\n",
            "YAML takes this for a number, a boolean or a date, and Compose makes another text of it; put it in quotes",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: a, ports: ['8081:80']}\n",
            "`ports`: 8081 is the port of a slot of the app",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: a, ports: ['127.0.0.1:80:80']}\n  dc: {image: a, ports: ['80:81']}\n",
            "service `dc`, `ports`: the host's port 80 is published by the service `db` already",
        ),
        (
            "name: t\nservices:\n  app: {container_name: mine}\n",
            "`container_name`: the agent names the app's two containers",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: a, container_name: togather-green}\n",
            "would be called `togather-green`, as a slot of the app is",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: a, volumes: ['/data']}\n",
            "a volume without a name is lost with its container",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: a, volumes: ['./a:/d', './b:/d/']}\n",
            "something is mounted at this path already, in line 4",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: a, command: 'a; b'}\n",
            "`;` outside of quotes is for a shell",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: a, env_file: bad.env}\n",
            "`env_file`: in `bad.env`, line 2: ",
        ),
        (
            "name: t\nservices:\n  app: {}\n  db: {image: a, env_file: none.env}\n",
            "`env_file`: cannot read `none.env`: ",
        ),
        (
            "name: t\nservices:\n  app: {}\nnetworks: {a: !reset {}}\n",
            "tags such as `!reset` and `!override` are for several files",
        ),
        (
            "name: t\nservices: {app: {}}\n---\nname: u\n",
            "compose.yml:3: top level: a second document begins here",
        ),
        (
            "name: t\nservices: {app: {}}\nx: *nowhere\n",
            "this is not YAML",
        ),
        ("- a\n", "expected a Compose file"),
    ] {
        let told = told(text);
        assert!(
            told.contains(expected),
            "{text}\nexpected: {expected}\ntold: {told}"
        );
    }
}

#[test]
fn hints_help_where_compose_takes_more() {
    for key in [
        "build: .",
        "extends: a",
        "secrets: [a]",
        "configs: [a]",
        "deploy: {}",
    ] {
        let told = refused(key);
        assert!(told.contains("nothing is left out silently. "), "{told}");
    }
    let told = told("name: n\ninclude: [a.yml]\nservices: {app: {}}\n");
    assert!(
        told.contains("copy the services of the others into it"),
        "{told}"
    );
}

#[test]
fn no_problem_repeats_a_value_that_was_filled_in() {
    for lines in [
        "image: ${JWT_SECRET}",
        "image: a\n    environment: ['${JWT_SECRET}']",
        "image: a\n    mem_limit: ${JWT_SECRET}",
        "image: a\n    volumes: ['${JWT_SECRET}']",
        "image: a\n    ports: ['${JWT_SECRET}:80']",
        "image: a\n    networks: ['${JWT_SECRET}']",
        "image: a\n    depends_on: ['${JWT_SECRET}']",
        "image: a\n    env_file: ['${JWT_SECRET}']",
        "image: a\n    extra_hosts: ['${JWT_SECRET}']",
        "image: a\n    command: '${JWT_SECRET} ;'",
        "image: a\n    volumes: ['${JWT_SECRET}:/a']",
        "image: a\n    volumes: [{type: volume, source: '${JWT_SECRET}', target: /a}]",
        "image: a\n    volumes: ['./a:/${JWT_SECRET}', './b:/${JWT_SECRET}']",
        "image: a\n    container_name: '${JWT_SECRET}'",
    ] {
        let told = told(&format!(
            "name: n\nservices:\n  app: {{}}\n  db:\n    {lines}\n"
        ));
        assert!(!told.contains("a secret"), "{told}");
    }
}

#[test]
fn what_a_template_demands_must_be_filled_in() {
    let told = told(
        "name: n\nx-togather: {required: [JWT_SECRET, NOWHERE], min_length: {JWT_SECRET: 32}}\nservices:\n  \
         app:\n    environment: {A: '', B: short}\n    x-togather: {required: [A], min_length: {B: 6}}\n",
    );
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 4, "{told}");
    assert!(
        lines[1].contains("`JWT_SECRET` must have at least 32 characters, and has 8"),
        "{told}"
    );
    assert!(lines[0].contains("`NOWHERE` must have a value"), "{told}");
    assert!(
        lines[2].contains("service `app`, `x-togather`, `required`: `A` must"),
        "{told}"
    );
    assert!(lines[3].contains("`B` must have at least 6"), "{told}");
    // Other values may be empty.
    assert!(load("name: n\nservices: {app: {environment: {SMTP_PASSWORD: }}}\n").is_err());
    assert!(load("name: n\nservices: {app: {environment: {SMTP_PASSWORD: ''}}}\n").is_ok());
}
