//! The program as systemd and an operator meet it: its exit codes, its signs of life, its end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in tests, a panic is the report"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use togather_model::{Timestamp, Ulid};
use togather_trust::tls::Authority;

/// In every place that the sample leaves empty.
const SECRET: &str = "s3cret-of-more-than-32-characters";

/// A node's folder as `togather-ctl node add` and the operator leave it, but for Docker and Caddy,
/// which are not there.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let now = Timestamp::now();
        let (fleet, node) = (Ulid::generate(), Ulid::generate());
        let root = Authority::create("test", now).unwrap();
        let own = Authority::open(&root)
            .unwrap()
            .issue_node(&node.to_string(), now);
        fs::create_dir(folder.at("tls")).unwrap();
        own.unwrap()
            .write(&folder.at("tls/node.crt"), &folder.at("tls/node.key"))
            .unwrap();
        folder.write("tls/ca.crt", &root.certificate);
        folder.write(
            "agent.yml",
            &format!(
                "node: {{name: node-1, id: {node}}}\nfleet: {fleet}\nlisten: 127.0.0.1:0\nstate: state\n\
                 snapshots: {{store: \"file://{}\"}}\n",
                folder.at("snapshots").display()
            ),
        );
        let nowhere = folder.at("nowhere");
        let nowhere = nowhere.display();
        folder.write(
            "deployment.yml",
            &format!(
                "docker: {{socket: {nowhere}/docker.sock}}\n\
                 proxy: {{admin_socket: {nowhere}/admin.sock, caddyfile: {nowhere}/Caddyfile}}\n"
            ),
        );
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
        let compose = fs::read_to_string(samples.join("docker/docker-compose.yml")).unwrap();
        folder.write("docker-compose.yml", &compose);
        let environment =
            fs::read_to_string(samples.join("config/environments/production.env.example"));
        let filled_in = environment.unwrap().replace("=\n", &format!("={SECRET}\n"));
        let filled_in = filled_in.replace("CHANGE_ME", "events.example.org");
        folder.write(".env.production", &filled_in);
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(folder.at(".env.production"), private).unwrap();
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn program(&self, command: &str) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_togather-agent"));
        program
            .arg(command)
            .arg("--config")
            .arg(self.at("agent.yml"));
        program.env_remove("RUST_LOG").stdin(Stdio::null());
        program
    }

    fn check(&self) -> Output {
        self.program("check").output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_prints_every_value_in_effect_and_changes_nothing() {
    let folder = Folder::new();
    let checked = folder.check();
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let shown = text(&checked.stdout);
    for value in ["listen: 127.0.0.1:0", "health_timeout: 1m", "- JWT_SECRET"] {
        assert!(shown.contains(value), "`{value}` is not in {shown}");
    }
    assert!(shown.ends_with("# pg_dump and pg_restore run in the container of the service `db`\n"));
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(!folder.at("state").exists() && !folder.at("snapshots").exists());
}

#[test]
fn check_tells_what_is_perhaps_not_meant() {
    let folder = Folder::new();
    let environment = fs::read_to_string(folder.at(".env.production")).unwrap();
    let encoded = environment.replace("POSTGRES_PASSWORD=", "POSTGRES_PASSWORD=%2F");
    folder.write(".env.production", &encoded);
    let checked = folder.check();
    let shown = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(
        shown.contains("# warning: the value of `POSTGRES_PASSWORD` looks percent-encoded"),
        "{shown}"
    );
    assert!(!shown.contains("%2F"), "{shown}");
}

#[test]
fn check_says_where_the_programs_of_a_database_elsewhere_run() {
    let folder = Folder::new();
    folder.write("deployment.yml", "database: {service: null}\n");
    let checked = folder.check();
    let shown = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let expected = "a container of their own, of the image `postgres:17`\n";
    assert!(shown.ends_with(expected), "{shown}");
}

/// Each with exit code 10, one error that says where and what, and nothing begun.
#[test]
fn what_is_wrong_with_the_configuration_is_found_before_anything_starts() {
    for (file, content, told) in [
        ("agent.yml", "node: 7\n", "agent.yml:1: `node`"),
        (
            "deployment.yml",
            "strategy:\n  soak: soon\n",
            "deployment.yml:2: `strategy.soak`",
        ),
        (
            "deployment.yml",
            "database: {service: null, client_image: null}\n",
            "neither `service` nor `client_image`",
        ),
        (
            "deployment.yml",
            "database: {service: pg}\n",
            "`pg`, which is no base service in docker-compose.yml (there are: db)",
        ),
        (
            "deployment.yml",
            "database: {service: null, url: 'postgres://a@h/d?sslmode=verify-full'}\n",
            "`sslrootcert=FILE`",
        ),
        (
            "docker-compose.yml",
            "services: {app: {image: x, privileged: true}}\n",
            "privileged",
        ),
        ("allowed_signers", "alice ssh-rsa AAAA\n", "line 1"),
        ("roles.yml", "operators: {alice: emperor}\n", "roles.yml"),
        ("tls/node.crt", "no certificate\n", "certificate"),
        (".env.production", "A=b\nnonsense\n", ".env.production:2"),
    ] {
        let folder = Folder::new();
        folder.write(file, content);
        for command in ["check", "run"] {
            let ended = folder.program(command).output().unwrap();
            let stderr = text(&ended.stderr);
            assert_eq!(ended.status.code(), Some(10), "{file}: {stderr}");
            assert!(
                stderr.contains(told),
                "{file}: expected `{told}` in {stderr}"
            );
            assert!(!folder.at("state").exists(), "{file}");
        }
    }
}

/// Starts it, waits until it says that it is ready, and ends it. Returns what it logged until then.
fn start(folder: &Folder) -> String {
    let service = folder.program("run").stderr(Stdio::piped()).spawn();
    let mut service = Running(service.unwrap());
    let mut log = BufReader::new(service.0.stderr.take().unwrap());
    let mut logged = String::new();
    loop {
        assert!(
            log.read_line(&mut logged).unwrap() > 0,
            "it never got ready: {logged}"
        );
        if logged.lines().last().unwrap().contains(" ready ") {
            return logged;
        }
    }
}

#[test]
fn files_that_were_edited_into_nonsense_do_not_keep_the_agent_from_starting() {
    let folder = Folder::new();
    let unusable = "until they can be used again";
    let logged = start(&folder);
    assert!(!logged.contains(unusable), "{logged}");
    for file in ["deployment.yml", "docker-compose.yml", ".env.production"] {
        let right = fs::read_to_string(folder.at(file)).unwrap();
        folder.write(file, "A=b\nnonsense\n");
        assert_eq!(folder.check().status.code(), Some(10), "{file}");
        let logged = start(&folder);
        assert!(
            logged.contains(unusable) && logged.contains(file),
            "{logged}"
        );
        folder.write(file, &right);
    }
    let agent = fs::read_to_string(folder.at("agent.yml")).unwrap();
    folder.write("agent.yml", "node: 7\n");
    let ended = folder.program("run").output().unwrap();
    assert_eq!(ended.status.code(), Some(10), "{}", text(&ended.stderr));
    folder.write("agent.yml", &agent);
    start(&folder);
}

#[test]
fn check_asks_the_store_only_when_it_is_told_to() {
    let folder = Folder::new();
    let looked = folder.program("check").arg("--store").output().unwrap();
    let (shown, stderr) = (text(&looked.stdout), text(&looked.stderr));
    assert_eq!(looked.status.code(), Some(0), "{stderr}");
    assert!(shown.contains("conditional_writes: \"yes\""), "{shown}");
    assert!(!folder.at("snapshots").exists());
    let without = text(&folder.check().stdout);
    assert!(!without.contains("conditional_writes"), "{without}");

    // Where the folder should be there is a file.
    folder.write("snapshots", "");
    let looked = folder.program("check").arg("--store").output().unwrap();
    let stderr = text(&looked.stderr);
    assert_eq!(looked.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("`snapshots.store` in agent.yml"),
        "{stderr}"
    );
}

#[test]
fn metrics_are_told_where_they_are_wanted() {
    let folder = Folder::new();
    let listen = |address: &str| {
        let agent = fs::read_to_string(folder.at("agent.yml")).unwrap();
        let agent = agent.split("metrics:").next().unwrap().to_owned();
        folder.write(
            "agent.yml",
            &format!("{agent}metrics: {{listen: \"{address}\"}}\n"),
        );
    };
    listen("somewhere");
    let ended = folder.program("run").output().unwrap();
    assert_eq!(ended.status.code(), Some(10));
    let told = text(&ended.stderr);
    assert!(told.contains("`metrics"), "{told}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    listen(&taken.local_addr().unwrap().to_string());
    let ended = folder.program("run").output().unwrap();
    let told = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(
        told.contains("for metrics") && told.contains("`metrics.listen`"),
        "{told}"
    );

    listen("127.0.0.1:0");
    let service = folder.program("run").stderr(Stdio::piped()).spawn();
    let mut service = Running(service.unwrap());
    let log = BufReader::new(service.0.stderr.take().unwrap());
    let address = log
        .lines()
        .map(Result::unwrap)
        .find_map(|line| Some(line.split_once("metrics address=")?.1.trim().to_owned()))
        .unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("togather_agent_build_info{"), "{answer}");
}

#[test]
fn an_unknown_flag_is_a_wrong_command_line() {
    let ended = Folder::new()
        .program("check")
        .arg("--confg")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2));
}

/// Ends the program however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_service_announces_itself_shows_that_it_lives_and_stops_when_told() {
    let folder = Folder::new();
    let systemd = UnixDatagram::bind(folder.at("notify")).unwrap();
    systemd
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let hears = |expected: &str| {
        let mut message = [0; 256];
        loop {
            let length = systemd.recv(&mut message).expect(expected);
            if text(&message[..length])
                .lines()
                .any(|line| line == expected)
            {
                return;
            }
        }
    };
    let service = folder
        .program("run")
        .env("NOTIFY_SOCKET", folder.at("notify"))
        .env("WATCHDOG_USEC", "300000")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut service = Running(service);
    hears("READY=1");
    for _ in 0..3 {
        hears("WATCHDOG=1");
    }
    let id = Pid::from_raw(service.0.id().try_into().unwrap());
    kill(id, Signal::SIGTERM).unwrap();
    hears("STOPPING=1");
    assert_eq!(service.0.wait().unwrap().code(), Some(0));
}
