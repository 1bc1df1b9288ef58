//! A Caddy of the test's own, on ports that are free.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use tempfile::TempDir;
use togather_agent::traffic::{AdminEndpoint, Caddy};
use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    time::{sleep, timeout},
};

use crate::client::ask;

/// Made by `devfleet up`.
const IMAGE: &str = "togather-devfleet-node";
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, and the folder that it is in for as long as the tests run.
static PROGRAM: LazyLock<(PathBuf, Option<TempDir>)> = LazyLock::new(|| {
    if let Some(given) = std::env::var_os("CADDY") {
        return (given.into(), None);
    }
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("caddy");
    let made = docker(&["create", IMAGE]);
    let container = made.trim();
    let from = format!("{container}:/usr/bin/caddy");
    docker(&["cp", "--quiet", &from, program.to_str().unwrap()]);
    docker(&["rm", container]);
    (program, Some(folder))
});

fn docker(arguments: &[&str]) -> String {
    let ran = Command::new("docker").args(arguments).output().unwrap();
    assert!(
        ran.status.success(),
        "these tests need Docker and the image {IMAGE} (`make fleet-up` makes it), or CADDY=PROGRAM: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8(ran.stdout).unwrap()
}

pub(crate) struct Proxy {
    process: Child,
    folder: TempDir,
    admin: AdminEndpoint,
    /// Where it serves.
    pub(crate) port: u16,
}

impl Proxy {
    /// With the admin line that the installer writes for this Caddy.
    pub(crate) async fn on_a_socket() -> Self {
        let mode = if knows_modes() { "|0660" } else { "" };
        Self::start(
            |socket| format!("\"unix/{}{mode}\"", socket.display()),
            None,
        )
        .await
    }

    /// With the line that is for the other side of 2.7.
    pub(crate) async fn with_the_other_line() -> Self {
        let mode = if knows_modes() { "" } else { "|0660" };
        Self::start(
            |socket| format!("\"unix/{}{mode}\"", socket.display()),
            None,
        )
        .await
    }

    pub(crate) async fn on_an_address() -> Self {
        let address = format!("localhost:{}", free_port().await);
        let admin: AdminEndpoint = address.parse().unwrap();
        Self::start(|_| address, Some(admin)).await
    }

    async fn start(line: impl FnOnce(&Path) -> String, admin: Option<AdminEndpoint>) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("admin.sock");
        let port = free_port().await;
        fs::create_dir(folder.path().join("togather")).unwrap();
        let caddyfile = format!(
            "{{\n\tadmin {}\n}}\nhttp://127.0.0.1:{port} {{\n\troute {{\n\t\timport {}/togather/*.caddy\n\
             \t\trespond \"No release is deployed on this node yet.\" 503\n\t}}\n}}\n",
            line(&socket),
            folder.path().display()
        );
        fs::write(folder.path().join("Caddyfile"), caddyfile).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        // As the installer has it for the releases that take a socket's mode from there.
        let process = Command::new("sh")
            .args(["-c", "umask 0007 && exec \"$0\" run --config \"$1\""])
            .arg(&PROGRAM.0)
            .arg(folder.path().join("Caddyfile"))
            // What it keeps stays in the test's folder.
            .env("HOME", folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let proxy = Self {
            process,
            admin: admin.unwrap_or(AdminEndpoint::Socket(socket)),
            folder,
            port,
        };
        let serves = timeout(PATIENCE, proxy.serves()).await;
        serves.unwrap_or_else(|_| panic!("Caddy does not serve:\n{}", proxy.log()));
        proxy
    }

    /// Until both its site and its admin endpoint are there.
    async fn serves(&self) {
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err()
            || !self.admin_is_there().await
        {
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn admin_is_there(&self) -> bool {
        match &self.admin {
            AdminEndpoint::Loopback(address) => TcpStream::connect(address).await.is_ok(),
            AdminEndpoint::Socket(path) => {
                // Before 2.7 the mode is a part of the name.
                let misnamed = PathBuf::from(format!("{}|0660", path.display()));
                UnixStream::connect(path).await.is_ok()
                    || UnixStream::connect(misnamed).await.is_ok()
            }
        }
    }

    /// The agent's side of it.
    pub(crate) fn caddy(&self) -> Caddy {
        agents(self.admin.clone(), self.folder.path())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn knows_modes(&self) -> bool {
        knows_modes()
    }

    pub(crate) fn version(&self) -> String {
        version()
    }

    /// What a new client gets.
    pub(crate) async fn answer(&self) -> String {
        ask(self.port).await.unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The agent's side of the Caddy whose folder this is.
pub(crate) fn on_socket_in(folder: &Path) -> Caddy {
    agents(AdminEndpoint::Socket(folder.join("admin.sock")), folder)
}

fn agents(admin: AdminEndpoint, folder: &Path) -> Caddy {
    let snippet = folder.join("togather/slot.caddy");
    Caddy::new(admin, folder.join("Caddyfile"), snippet)
}

fn version() -> String {
    let said = Command::new(&PROGRAM.0).arg("version").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let word = said.split_whitespace().next().unwrap_or_default();
    word.trim_start_matches('v').to_owned()
}

/// From 2.7 on. One that does not know its version was built from its source just now.
fn knows_modes() -> bool {
    let version = version();
    let mut parts = version.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (2, 7),
        _ => true,
    }
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}
