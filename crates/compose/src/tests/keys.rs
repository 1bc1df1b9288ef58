//! Each key and form that files have besides the shipped one's.

use super::*;
use crate::service::{PullPolicy, Ulimit};

fn app(lines: &str) -> Service {
    let lines = lines.replace('\n', "\n    ");
    let text = format!("name: node\nservices:\n  app:\n    {lines}\nnetworks: {{back: }}\n");
    load(&text).unwrap_or_else(|error| panic!("{error}")).app
}

#[test]
fn what_says_nothing_is_passed_over() {
    let text = "version: '3.8'\nname: n\nx-log: &log {driver: json-file}\nservices:\n  \
                db: {image: a, logging: *log, expose: [5432], x-any: {deep: [1]}, healthcheck: {x-b: 1}}\n  \
                app: {}\nnetworks: {a: {x-c: 1}}\n";
    let compose = load(text).unwrap();
    assert_eq!(
        compose.base[0].logging.as_ref().unwrap().driver.as_deref(),
        Some("json-file")
    );
}

#[test]
fn sources_are_relative_to_the_file_or_the_agents_home() {
    let mounts = |written: &str| db(&format!("volumes: ['{written}']")).mounts.remove(0);
    for (written, expected) in [
        ("./init:/init", "/etc/node/init:/init"),
        ("../x/./y:/d/", "/etc/x/y:/d"),
        (".:/here:ro", "/etc/node:/here:ro"),
        ("~/data:/d:z", "/var/lib/agent/data:/d:z"),
        ("~:/d", "/var/lib/agent:/d"),
        ("/srv/a:/d:ro,Z", "/srv/a:/d:ro,Z"),
        ("/srv/a:/d:rw", "/srv/a:/d"),
    ] {
        assert_eq!(mounts(written), expected);
    }
    let error = refused("volumes: ['~bob/data:/d']");
    assert!(error.contains("home folder of another user"), "{error}");
    let environment = environment();
    let text = with_db("volumes: ['~/d:/d']");
    let homeless = Source {
        home: None,
        ..source(&text, &environment)
    };
    let error = load_from(&homeless).unwrap_err().to_string();
    assert!(error.contains("write the path in full"), "{error}");
}

#[test]
fn volumes_in_their_long_form_mean_the_same() {
    let lines = "volumes:\n  - {type: bind, source: ./a, target: /a, read_only: true, bind: {selinux: z}}\n  \
         - {type: volume, source: data, target: /b, volume: {nocopy: true}}\n  \
         - {type: tmpfs, target: /c, tmpfs: {size: 64m, mode: 0o1777}}\n  - data:/e";
    let text = format!("{}volumes: {{data: }}\n", with_db(lines));
    let service = load(&text).unwrap().base.remove(0);
    assert_eq!(
        service.mounts,
        ["/etc/node/a:/a:ro,z", "node_data:/b:nocopy", "node_data:/e"]
    );
    assert_eq!(service.tmpfs["/c"], "size=67108864,mode=1777");
    let error = refused("volumes: [{type: bind, target: /a}]");
    assert!(error.contains("the key `source` is missing"), "{error}");
    let error =
        refused("volumes: [{type: bind, source: /a, target: /a, bind: {create_host_path: false}}]");
    assert!(error.contains("expected `true`"), "{error}");
}

#[test]
fn ports_in_their_long_form_mean_the_same() {
    let short = db("ports: ['127.0.0.1:5432:5432', '53:53/udp']").ports;
    let long = db("ports:\n  - {target: 5432, published: '5432', host_ip: 127.0.0.1, mode: host, name: pg}\n  \
                   - {target: 53, published: 53, protocol: udp}").ports;
    assert_eq!(short, long);
}

#[test]
fn environment_goes_before_env_files() {
    let values = |lines: &str| app(lines).environment;
    let expected = BTreeMap::from([
        ("A".to_owned(), "file".to_owned()),
        ("B".to_owned(), "togather-file".to_owned()),
    ]);
    assert_eq!(values("env_file: extra.env"), expected);
    assert_eq!(
        values("env_file: [{path: ./extra.env}, {path: no.env, required: false}]"),
        expected
    );
    assert_eq!(
        values("env_file: [extra.env]\nenvironment: {A: own}")["A"],
        "own"
    );
}

#[test]
fn networks_may_be_a_mapping_with_aliases() {
    let service = app("networks:\n  default: {aliases: [x, y]}\n  back:");
    assert_eq!(service.networks, ["node_default", "node_back"]);
    assert_eq!(service.aliases["node_default"], ["x", "y"]);
    let text = "name: n\nservices: {app: {networks: {a: {aliases: [x]}}}}\nnetworks: {a: {internal: true}, b: {external: {name: theirs}}}\n";
    let compose = load(text).unwrap();
    assert!(compose.networks[0].internal);
    assert_eq!(
        (&*compose.networks[1].name, compose.networks[1].external),
        ("theirs", true)
    );
    assert_eq!(compose.networks.len(), 2);
    assert!(compose.warnings[0].problem.contains("both slots"));
}

#[test]
fn limits_names_and_platforms_are_taken() {
    let service = db(
        "ulimits: {nofile: 65536, NPROC: {soft: 10, hard: -1}}\npids_limit: -1\nhostname: h\n\
                      container_name: pg\nplatform: linux/arm64\npull_policy: never",
    );
    assert_eq!(
        service.ulimits["nofile"],
        Ulimit {
            soft: 65536,
            hard: 65536
        }
    );
    assert_eq!(service.ulimits["nproc"], Ulimit { soft: 10, hard: -1 });
    assert_eq!(
        (service.pids_limit, service.hostname.as_deref()),
        (Some(-1), Some("h"))
    );
    assert_eq!(service.container("node"), "pg");
    assert_eq!(service.platform.as_deref(), Some("linux/arm64"));
    assert_eq!(service.pull_policy, PullPolicy::Never);
    assert_eq!(db("").container("node"), "node-db");
    assert_eq!(db("platform: ${PLATFORM:-}").platform, None);
}

#[test]
fn a_profile_is_off_until_it_is_asked_for() {
    let text = "name: n\nservices:\n  app: {}\n  admin: {build: ., profiles: [tools]}\n";
    let compose = load(text).unwrap();
    assert_eq!(compose.base_services().count(), 0);
    assert!(
        compose.warnings[0]
            .to_string()
            .contains("service `admin`: is off")
    );
    let mut environment = environment();
    environment.insert("COMPOSE_PROFILES".into(), "debug, tools".into());
    let error = load_from(&source(text, &environment))
        .unwrap_err()
        .to_string();
    assert!(error.contains("the key `build`"), "{error}");
    let error =
        load("name: n\nservices:\n  app: {depends_on: [a]}\n  a: {image: a, profiles: [b]}\n");
    assert!(error.unwrap_err().to_string().contains("`a` is off"));
}

#[test]
fn what_is_known_later_is_filled_in_then() {
    let mut service = app("environment: {A: 'x,${PROXY}', B: '${PROXY:-none}', PROXY: , C: c}");
    assert_eq!(service.awaits(), ["PROXY"].into());
    let before = service.fingerprint().unwrap();
    assert_eq!(
        before,
        app("environment: [C=c, 'A=x,${PROXY}', 'B=${PROXY}', PROXY]")
            .fingerprint()
            .unwrap()
    );
    service.fill_in("PROXY", "172.18.0.1/32");
    assert!(service.awaits().is_empty());
    assert_eq!(service.environment["A"], "x,172.18.0.1/32");
    assert_eq!(service.environment["B"], "172.18.0.1/32");
    assert_eq!(service.environment["PROXY"], "172.18.0.1/32");
    for lines in ["environment: {A: '${PROXY}'}", "command: '${PROXY}'"] {
        let error = refused(lines);
        assert!(
            error.contains("known only when the app's container is made"),
            "{error}"
        );
    }
    let mut environment = environment();
    environment.insert("PROXY".into(), "10.0.0.0/8".into());
    let text = "name: n\nservices: {app: {environment: {A: '${PROXY}'}}}\n";
    let compose = load_from(&source(text, &environment)).unwrap();
    assert_eq!(compose.app.environment["A"], "10.0.0.0/8");
}

/// Of a service that has none of the newer keys: or every container that is there would differ.
#[test]
fn a_fingerprint_is_made_of_what_it_always_was() {
    let json = serde_json::to_string(&db("environment: {A: 1}")).unwrap();
    assert_eq!(
        json,
        r#"{"name":"db","image":"a","command":null,"entrypoint":null,"environment":{"A":"1"},"mounts":[],"ports":[],"networks":["node_default"],"depends_on":[],"healthcheck":null,"restart":"No","shm_size":null,"mem_limit":null,"nano_cpus":null,"stop_grace_period":null,"stop_signal":null,"user":null,"working_dir":null,"logging":null,"labels":{},"read_only":false,"tmpfs":{},"cap_add":[],"cap_drop":[],"security_opt":[],"extra_hosts":[],"init":null}"#
    );
}

#[test]
fn what_is_shown_of_the_whole_hides_secrets() {
    let text = "name: n\nservices:\n  db:\n    image: '${POSTGRES_USER}/x'\n    env_file: extra.env\n    \
         healthcheck: {test: 'check ${POSTGRES_PASSWORD}'}\n    command: run ${JWT_SECRET}\n  app:\n    \
         environment: {URL: 'postgres://u:${POSTGRES_PASSWORD}@db/x', OTHER: 'http://me:literal@h/p', \
         API_KEY: literal, LEVEL: info, EMPTY: '', CIDRS: '${PROXY}'}\n";
    let environment = environment();
    let shown = Compose::resolved(&source(text, &environment)).unwrap();
    for secret in ["p$ss", "p%24ss", "a secret", "literal", "file"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    for told in [
        "togather/x",
        "LEVEL: info",
        "${PROXY}",
        "http://me:***@h/p",
        "postgres://u:***@db/x",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    assert!(Compose::resolved(&source("name: n\n", &environment)).is_err());
}

#[test]
fn what_is_shown_hides_values_whose_names_are_filled_in_and_short_words_for_passwords() {
    let mut environment = environment();
    environment.insert("LINE".into(), "WHOLE=of the file".into());
    environment.insert("PREFIX".into(), "DB".into());
    let text = "name: n\nservices:\n  app:\n    environment:\n      - ${PREFIX}_LOGIN=${POSTGRES_PASSWORD}\n      \
         - ${PREFIX}_URL=postgres://u:${POSTGRES_PASSWORD}@db/x\n      - ${LINE}\n      - ${LINE}_MORE=1\n      \
         - SMTP_PASS=literal\n      - ${NONE:-A=B}=C\n";
    let of = source(text, &environment);
    let shown = Compose::resolved(&of).unwrap();
    for secret in ["p$ss", "p%24ss", "literal", "of the file", "%2A"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    for told in ["DB_LOGIN:", "DB_URL: postgres://u:***@db/x", "SMTP_PASS:"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    // Nothing but what is shown differs: an address is encoded, all else is as Compose has it.
    let run = Compose::parse(&of).unwrap().app.environment;
    assert_eq!(run["DB_LOGIN"], environment["POSTGRES_PASSWORD"]);
    assert!(run["DB_URL"].contains("p%24ss"), "{}", run["DB_URL"]);
    assert_eq!(run["WHOLE"], "of the file_MORE=1");
    assert_eq!(run["A"], "B=C");
}

#[test]
fn no_error_and_no_debug_shows_a_value_that_stands_in_the_file() {
    for wrong in [
        "POSTGRES_PASSWORD = hunter2",
        "POSTGRES_PASSWORD hunter2",
        "POSTGRES_PASSWORD:hunter2",
        "=hunter2",
        "'POSTGRES_PASSWORD : hunter2'",
        "${NONE:-X} = hunter2",
    ] {
        let text = format!("name: n\nservices: {{app: {{environment: [\"{wrong}\"]}}}}\n");
        let environment = BTreeMap::new();
        let error = load_from(&source(&text, &environment))
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("…` "), "{error}");
    }
    let text = "name: n\nservices:\n  app:\n    healthcheck: {test: curl hunter2}\n    \
         logging: {driver: splunk, options: {splunk-token: hunter2}}\n\
         volumes: {data: {driver_opts: {o: 'password=hunter2'}}}\n";
    let compose = load(text).unwrap();
    let shown = format!(
        "{compose:?} {:?} {:?}",
        compose.app.healthcheck, compose.app.logging
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// What `make peers` found to be taken otherwise than Compose takes it.
#[test]
fn names_are_looked_up_where_compose_looks_first() {
    let environment = BTreeMap::from([("A".to_owned(), "node".to_owned())]);
    let text = "name: n\nservices:\n  app:\n    env_file: [one.env, two.env]\n    environment: {B: given}\n";
    let files = Source {
        files: &|path| match path.to_str() {
            Some("/etc/node/one.env") => Ok("A=one\nC=one\nX=$A-${B}\n".into()),
            _ => Ok("A=two\nY=$A-$B-$C\n".into()),
        },
        ..source(text, &environment)
    };
    let read = load_from(&files).unwrap().app.environment;
    // The node's environment file, then `environment`, then the files before, then the file itself.
    assert_eq!((&*read["X"], &*read["Y"]), ("node-given", "node-given-one"));
    assert_eq!((&*read["A"], &*read["B"]), ("two", "given"));
}

#[test]
fn the_last_of_two_ways_to_mount_counts() {
    let mounts = |written: &str| db(&format!("volumes: ['{written}']")).mounts.remove(0);
    assert_eq!(mounts("/a:/b:ro,rw"), "/a:/b");
    assert_eq!(mounts("/a:/b:rw,ro"), "/a:/b:ro");
}

#[test]
fn two_names_of_one_network_share_their_aliases() {
    let text = "name: n\nservices:\n  app:\n    networks:\n      a: {aliases: [x]}\n      b: {aliases: [y]}\n\
                networks: {a: {name: same}, b: {name: same}}\n";
    let app = load(text).unwrap().app;
    assert_eq!(app.networks, ["same"]);
    assert_eq!(app.aliases["same"], ["x", "y"]);
}

#[test]
fn a_host_may_have_several_addresses() {
    let hosts = db("extra_hosts: {a: [10.0.0.1, '::1'], b: 10.0.0.2}").extra_hosts;
    assert_eq!(hosts, ["a:10.0.0.1", "a:::1", "b:10.0.0.2"]);
}

#[test]
fn what_is_there_twice_is_there_once_or_refused_as_by_compose() {
    assert_eq!(db("cap_add: [A, B, A]").cap_add, ["A", "B"]);
    for list in [
        "security_opt: [a, a]",
        "extra_hosts: ['a:1', 'a:1']",
        "networks: [default, default]",
    ] {
        let error = refused(list);
        assert!(error.contains("twice"), "{list}: {error}");
    }
}

#[test]
fn an_empty_profile_is_not_asked_for_by_an_empty_variable() {
    let environment = BTreeMap::from([("COMPOSE_PROFILES".to_owned(), String::new())]);
    let text = with_db("profiles: ['']");
    let compose = load_from(&source(&text, &environment)).unwrap();
    assert!(compose.base.is_empty());
}

#[test]
fn where_compose_wants_a_text_a_number_is_refused() {
    for lines in [
        "command: [a, 5]",
        "command: true",
        "user: 1000",
        "hostname: 5",
        "restart: false",
        "labels: [5]",
        "stop_grace_period: 5",
        "healthcheck: {test: true}",
        "healthcheck: {test: [CMD, 2026-11-25]}",
        "networks: [5]",
    ] {
        let error = refused(lines);
        assert!(
            error.contains("YAML takes this for a number"),
            "{lines}: {error}"
        );
    }
    for lines in ["labels: {5: a}", "logging: {options: {a: true}}"] {
        assert!(refused(lines).contains("quotes"), "{lines}");
    }
    assert_eq!(
        db("command: ['5', \"true\", a5]").command.unwrap(),
        ["5", "true", "a5"]
    );
    let error = refused("volumes: [{type: tmpfs, target: /a, tmpfs: {mode: '0755'}}]");
    assert!(error.contains("without quotes"), "{error}");
}

#[test]
fn a_key_with_nothing_behind_it_is_refused_as_by_compose() {
    for key in [
        "restart",
        "environment",
        "tmpfs",
        "healthcheck",
        "depends_on",
        "init",
    ] {
        let error = refused(&format!("{key}:"));
        assert!(
            error.contains("nothing stands after this key"),
            "{key}: {error}"
        );
    }
    assert_eq!(db("command:").command, None);
    assert!(!db("networks:").networks.is_empty());
}

#[test]
fn names_that_compose_does_not_take_are_refused() {
    let error =
        load("name: n\nservices: {app: {}, 'a b': {image: a}}\nnetworks: {'b\u{e4}ck': }\n")
            .unwrap_err()
            .to_string();
    assert_eq!(error.matches("a name has letters").count(), 2, "{error}");
}

#[test]
fn the_app_does_not_wait_for_itself() {
    let error = load("name: n\nservices: {app: {depends_on: [app]}}\n").unwrap_err();
    assert!(
        error.to_string().contains("cannot wait for itself"),
        "{error}"
    );
}

#[test]
fn a_dependency_that_may_be_missing_must_be_declared_all_the_same() {
    let one = "depends_on: {gone: {condition: service_started, required: false}}";
    assert!(refused(one).contains("there is no service `gone`"));
    let text = format!(
        "{}  off: {{image: a, profiles: [x]}}\n",
        with_db("depends_on: {off: {condition: service_started, required: false}}")
    );
    assert!(load(&text).unwrap().base[0].depends_on.is_empty());
}
