//! What a Compose file may say, what it comes to, and what is refused in which words.

mod keys;
mod mistakes;
mod properties;

use std::time::Duration;

use super::*;

/// The file that an operator installs.
const SHIPPED: &str = include_str!("../../../deploy/docker/docker-compose.yml");

fn environment() -> BTreeMap<String, String> {
    [
        ("POSTGRES_USER", "togather"),
        ("POSTGRES_PASSWORD", "p$ss: 'word'"),
        ("POSTGRES_DB", "togather"),
        ("SERVER_BASE_URL", "https://events.example.org"),
        ("JWT_SECRET", "a secret"),
        ("CORS_ALLOWED_ORIGINS", "https://events.example.org"),
        ("ADMIN_USERNAME", "admin"),
        ("ADMIN_PASSWORD", "admin's"),
        ("ADMIN_EMAIL", "admin@example.org"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// What the shipped file asks for.
fn filled_in() -> BTreeMap<String, String> {
    let mut environment = environment();
    environment.insert(
        "JWT_SECRET".to_owned(),
        "not-so-secret-and-yet-long-enough".to_owned(),
    );
    environment
}

fn load(text: &str) -> Result<Compose, ComposeError> {
    load_from(&source(text, &environment()))
}

fn load_from(source: &Source<'_>) -> Result<Compose, ComposeError> {
    Compose::parse(source)
}

/// A file `/etc/node/compose.yml`, beside which there is one other file, `extra.env`.
fn source<'a>(text: &'a str, environment: &'a BTreeMap<String, String>) -> Source<'a> {
    Source {
        path: Path::new("compose.yml"),
        folder: Path::new("/etc/node"),
        text,
        environment,
        app: "app",
        home: Some(Path::new("/var/lib/agent")),
        later: &["PROXY", "TOGATHER_PROXY_CIDRS"],
        files: &|path| match path.to_str() {
            Some("/etc/node/extra.env") => Ok("A=file\nB=${POSTGRES_USER}-${A}\n".into()),
            Some("/etc/node/bad.env") => Ok("A=1\nNAME ALONE\nB=${NOWHERE_AT_ALL}\n".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        },
    }
}

/// The error's text for a file with these lines in the service `db`, which begin at line 5.
fn refused(lines: &str) -> String {
    load(&with_db(lines)).unwrap_err().to_string()
}

fn with_db(lines: &str) -> String {
    let lines = lines.replace('\n', "\n    ");
    format!("name: node\nservices:\n  db:\n    image: a\n    {lines}\n  app: {{}}\n")
}

fn db(lines: &str) -> Service {
    let mut compose = load(&with_db(lines)).unwrap();
    compose.base.remove(0)
}

#[test]
fn the_shipped_file_is_understood() {
    let compose = load_from(&source(SHIPPED, &filled_in())).unwrap();
    assert_eq!(compose.project(), "togather");

    let db = &compose.base[0];
    assert_eq!(db.image.as_deref(), Some("togather-database:17"));
    assert_eq!(db.environment["POSTGRES_PASSWORD"], "p$ss: 'word'");
    assert_eq!(db.mounts, ["togather_db-data:/var/lib/postgresql/data"]);
    assert_eq!(db.networks, ["togather_togather"]);
    assert_eq!(db.ports[0].host, 5432);
    assert_eq!(db.shm_size, Some(256 << 20));
    assert_eq!(db.grace(), Duration::from_secs(60));
    let test = db.healthcheck.as_ref().unwrap().test.as_ref().unwrap();
    assert_eq!(
        test[1],
        "pg_isready --quiet --username togather --dbname togather --host 127.0.0.1"
    );

    let app = &compose.app;
    assert_eq!(
        app.environment["DATABASE_URL"],
        "postgres://togather:p%24ss%3A%20%27word%27@db:5432/togather?sslmode=disable"
    );
    assert_eq!(app.environment["ENVIRONMENT"], "production");
    // Only the proxy says for whom it asks; its address is known when the container is made.
    assert!(app.awaits().contains("TOGATHER_PROXY_CIDRS"));
    let mut made = app.clone();
    made.fill_in("TOGATHER_PROXY_CIDRS", "172.18.0.1/32");
    assert_eq!(made.environment["TRUSTED_PROXY_CIDRS"], "172.18.0.1/32");
    assert_eq!(app.restart, Restart::UnlessStopped);
    assert_eq!(app.mem_limit, Some(512 << 20));
    assert_eq!(app.logging.as_ref().unwrap().options["max-file"], "3");
}

#[test]
fn the_shipped_file_demands_secrets_that_the_server_takes() {
    let mut environment = filled_in();
    for name in ["JWT_SECRET", "CSRF_KEY"] {
        let right = environment.insert(name.to_owned(), "x".repeat(31));
        let error = load_from(&source(SHIPPED, &environment)).unwrap_err();
        let expected = format!("`{name}` must have at least 32 characters, and has 31");
        assert!(error.to_string().contains(&expected), "{error}");
        environment.insert(name.to_owned(), right.unwrap_or_default());
        load_from(&source(SHIPPED, &environment)).unwrap();
    }
}

#[test]
fn the_shipped_file_is_not_used_with_a_template_that_is_not_filled_in() {
    for name in [
        "POSTGRES_PASSWORD",
        "JWT_SECRET",
        "ADMIN_PASSWORD",
        "SERVER_BASE_URL",
    ] {
        let mut environment = filled_in();
        environment.insert(name.to_owned(), String::new());
        let error = load_from(&source(SHIPPED, &environment)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("`{name}`")), "{name}: {text}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?}", load_from(&source(SHIPPED, &filled_in())).unwrap());
    assert!(!shown.contains("p$ss"), "{shown}");
}

#[test]
fn both_ways_of_writing_a_list_or_a_mapping_mean_the_same() {
    let environment = |lines: &str| db(lines).environment;
    let expected = BTreeMap::from([
        ("A".to_owned(), "1".to_owned()),
        ("JWT_SECRET".to_owned(), "a secret".to_owned()),
    ]);
    assert_eq!(environment("environment: {A: 1, JWT_SECRET: }"), expected);
    assert_eq!(environment("environment: [A=1, JWT_SECRET]"), expected);
    let split = db(r#"command: serve --name "two words""#).command;
    assert_eq!(split, db(r#"command: [serve, --name, two words]"#).command);
    assert_eq!(db("tmpfs: /tmp:size=1m").tmpfs["/tmp"], "size=1m");
    assert_eq!(db("extra_hosts: {a: 10.0.0.1}").extra_hosts, ["a:10.0.0.1"]);
    assert_eq!(db("networks: [default]\n").networks, db("").networks);
}

#[test]
fn merge_keys_are_followed() {
    let service = db("environment: &e\n  A: 1\nlabels:\n  <<: *e\n  B: 2");
    assert_eq!(service.labels["A"], "1");
    assert_eq!(service.labels["B"], "2");
}

#[test]
fn a_service_without_networks_is_in_the_default_one() {
    let compose = load(&with_db("init: true")).unwrap();
    assert_eq!(compose.networks[0].name, "node_default");
    assert_eq!(compose.base[0].networks, ["node_default"]);
}

#[test]
fn services_start_after_what_they_depend_on() {
    let compose = load(
        "name: n\nservices:\n  a: {image: i, depends_on: {c: {condition: service_healthy}}}\n  b: {image: i}\n  c: {image: i, depends_on: [b]}\n  app: {depends_on: [a]}\n",
    )
    .unwrap();
    let names: Vec<_> = compose.base.iter().map(|service| &*service.name).collect();
    assert_eq!(names, ["b", "c", "a"]);
}

#[test]
fn the_fingerprint_changes_with_any_value() {
    let fingerprint = |lines: &str| db(lines).fingerprint().unwrap();
    let plain = fingerprint("environment: {A: 1}");
    assert_eq!(plain, fingerprint("environment: [A=1]"));
    assert_ne!(plain, fingerprint("environment: {A: 2}"));
}

#[test]
fn a_key_outside_the_subset_is_named_with_service_and_line() {
    let error = refused("init: true\nbuild: .");
    let expected = "compose.yml:6: service `db`: the key `build` is not one this agent knows";
    assert!(error.starts_with(expected), "{error}");
    let error = refused("healthcheck:\n  test: x\n  start_interval: 1s");
    assert!(
        error.contains("compose.yml:7: service `db`, `healthcheck`: the key `start_interval`"),
        "{error}"
    );
    let error = load("name: n\nsecrets: {}\nservices: {app: {}}\n").unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("compose.yml:2: top level: the key `secrets`"),
        "{error}"
    );
    let error = load("name: n\nservices: {app: {}}\nnetworks:\n  a:\n    mtu: 1\n").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("compose.yml:5: networks, `a`: the key `mtu`"),
        "{error}"
    );
}

#[test]
fn each_refusal_says_line_place_and_what_was_expected() {
    for (lines, expected) in [
        (
            "environment: {A: '${NOWHERE}'}",
            "compose.yml:5: service `db`, `environment`: `NOWHERE` has no value",
        ),
        (
            "environment:\n  - NOWHERE",
            "compose.yml:6: service `db`, `environment`: `NOWHERE` has no value",
        ),
        (
            "command: ['${5}']",
            "`command`: `${` begins no reference here",
        ),
        ("command: a 'b", "`command`: a quote is not closed"),
        (
            "ports: ['8080']",
            "`ports`: `8080` is not valid; expected `HOST:CONTAINER`",
        ),
        (
            "volumes:\n  - data:data",
            "compose.yml:6: service `db`, `volumes`: `data:data` is not valid",
        ),
        (
            "volumes: ['data:/data']",
            "the volume `data` is not declared",
        ),
        ("networks: [back]", "the network `back` is not declared"),
        (
            "depends_on: [cache]",
            "`depends_on`: there is no service `cache`",
        ),
        ("depends_on: [app]", "nothing can wait for it"),
        (
            "depends_on: {app: {condition: service_completed_successfully}}",
            "expected `service_started`",
        ),
        ("depends_on: [db]", "the services db wait for each other"),
        (
            "restart: sometimes",
            "expected `no`, `always`, `unless-stopped`",
        ),
        (
            "shm_size: lots",
            "`shm_size`: `lots` is not valid; expected a size such as `64m`",
        ),
        (
            "stop_grace_period: 10",
            "expected a span of time such as `30s`",
        ),
        ("read_only: perhaps", "expected `true` or `false`"),
        (
            "healthcheck: {test: [pg_isready]}",
            "a list begins with `CMD` and a program",
        ),
        ("healthcheck: {retries: few}", "expected a whole number"),
        (
            "image: b",
            "service `db`: the key `image` is there twice, first in line 4",
        ),
        ("environment: 5", "expected a list or a mapping"),
        (
            "user: [a]",
            "compose.yml:5: service `db`, `user`: expected a text, found a list",
        ),
    ] {
        let error = refused(lines);
        assert!(error.starts_with("compose.yml:"), "{error}");
        assert!(error.contains(expected), "{lines}\n{error}");
    }
}

#[test]
fn an_error_shows_what_is_written_and_not_the_value() {
    let error = refused("shm_size: ${JWT_SECRET}");
    assert!(error.contains("`${JWT_SECRET}` is not valid"), "{error}");
    assert!(!error.contains("a secret"), "{error}");
}

#[test]
fn the_app_must_fit_into_slots() {
    let with_app = |lines: &str| {
        let text = format!("name: n\nservices:\n  app:\n    image: x\n    {lines}\n");
        load(&text).unwrap_err().to_string()
    };
    let error = with_app("ports: ['8080:8080']");
    assert!(
        error.contains("compose.yml:5: service `app`, `ports`: the app must not publish"),
        "{error}"
    );
    for policy in ["always", "on-failure"] {
        let error = with_app(&format!("restart: {policy}"));
        assert!(
            error.contains("compose.yml:5: service `app`, `restart`: Docker would start"),
            "{error}"
        );
    }
    let error = load("name: n\nservices:\n  web: {image: a}\n").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the app's service `app` is not there"),
        "{error}"
    );
}

#[test]
fn base_services_need_an_image_and_a_name_of_their_own() {
    let error = load("name: n\nservices:\n  app: {}\n  db:\n    user: a\n").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("compose.yml:4: service `db`, `image`: the key is missing"),
        "{error}"
    );
    let error = load("name: togather\nservices:\n  app: {}\n  blue: {image: a}\n").unwrap_err();
    assert!(
        error.to_string().contains("`togather-blue`, as a slot"),
        "{error}"
    );
}

#[test]
fn what_is_not_yaml_is_refused_with_its_line() {
    for text in [
        "",
        "name: n\nservices: [\n",
        "name: n\n",
        "services:\n  app: {}\n",
        "name: A B\nservices: {app: {}}\n",
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.starts_with("compose.yml:"), "{text:?}: {error}");
    }
}
