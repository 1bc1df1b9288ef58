//! The agent's hand on a real Caddy: switches under a client over each kind of admin endpoint, and what
//! is said of a socket that shuts the agent out. `CADDY` names the program; without it, it is the one of
//! the node's image, Debian's 2.6.2. (`make peers` has 2.11.)

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test a panic is the report, in its helpers as well; the counts are to be seen"
)]

mod client;
mod proxy;
mod slots;

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

use client::Clients;
use nix::unistd::Uid;
use proxy::Proxy;
use slots::Slots;
use togather_agent::traffic::{Traffic, TrafficError};
use togather_model::Slot;
use tokio::sync::Mutex;

/// The slots' ports are one pair for the whole machine.
static SLOTS: LazyLock<Mutex<()>> = LazyLock::new(|| Mutex::new(()));
const SWITCHES: usize = 20;
const CLIENTS: usize = 4;
/// Who has no part in anything.
const NOBODY: u32 = 65534;
/// Where the test as nobody finds the proxy's folder.
const FOLDER: &str = "TOGATHER_TEST_PROXY";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_switches_over_the_socket() {
    let socket = Proxy::on_a_socket().await;
    socket.caddy().look().await.unwrap();
    switches(&socket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_switches_over_a_loopback_address() {
    let address = Proxy::on_an_address().await;
    let warning = address.caddy().warning().unwrap();
    assert!(warning.contains("every user of this machine"), "{warning}");
    switches(&address).await;
}

async fn switches(proxy: &Proxy) {
    let _slots = SLOTS.lock().await;
    let slots = Slots::listen().await;
    let caddy = proxy.caddy();
    caddy.ready().await.unwrap();
    caddy.switch(Some(Slot::Blue)).await.unwrap();
    assert_eq!(proxy.answer().await, "blue");
    let clients = Clients::start(CLIENTS, proxy.port);
    for at in 0..SWITCHES {
        let to = if at % 2 == 0 { Slot::Green } else { Slot::Blue };
        caddy.ready().await.unwrap();
        caddy.switch(Some(to)).await.unwrap();
        // When it returns, Caddy serves by it.
        assert_eq!(proxy.answer().await, to.to_string(), "switch {at}");
        assert_eq!(caddy.live().await.unwrap(), Some(to));
        let left = caddy.drained(to.other(), Duration::from_secs(10)).await;
        assert_eq!(left.unwrap(), 0, "switch {at}");
        tokio::time::timeout(Duration::from_secs(10), clients.some_more(50))
            .await
            .unwrap();
    }
    let counted = clients.stop().await;
    eprintln!("{}: {SWITCHES} switches, {counted:?}", proxy.version());
    assert!(counted.answered > SWITCHES * 50, "{counted:?}");
    assert_eq!(counted.wrong, 0, "{counted:?}");
    // A request on a connection that Caddy closes at that moment is lost; a client sends it again.
    assert!(counted.lost <= CLIENTS * SWITCHES, "{counted:?}");
    slots.close().await;
}

/// What an upgrade from 2.6 to 2.11 leaves behind: the admin line that fitted, and a socket for Caddy alone.
#[tokio::test]
async fn a_socket_that_shuts_the_agent_out_is_told_with_the_line_to_write() {
    let proxy = Proxy::with_the_other_line().await;
    let told = proxy.caddy().look().await.unwrap_err();
    if proxy.knows_modes() {
        assert!(
            matches!(told, TrafficError::SocketMode { mode: 0o200, .. }),
            "{told:?}"
        );
        let text = told.to_string();
        assert!(text.contains("has mode 0200"), "{text}");
        assert!(text.contains("|0660\"` in "), "{text}");
        assert!(text.contains("systemctl restart caddy"), "{text}");
        refused_as_nobody(&proxy);
    } else {
        assert!(matches!(told, TrafficError::SocketName { .. }), "{told:?}");
        let ready = proxy.caddy().ready().await.unwrap_err();
        assert!(
            matches!(ready, TrafficError::SocketName { .. }),
            "{ready:?}"
        );
    }
}

/// Who is root gets in by any socket, so what preflight meets is tried as somebody else.
fn refused_as_nobody(proxy: &Proxy) {
    if !Uid::effective().is_root() {
        return;
    }
    let program = proxy.folder().join("as-nobody");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    // The mode of the socket is all that is to be in its way.
    for folder in [proxy.folder().to_owned(), proxy.folder().join("togather")] {
        fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    }
    let ran = Command::new(program)
        .args(["--exact", "preflight_as_nobody", "--ignored", "--nocapture"])
        .env(FOLDER, proxy.folder())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[tokio::test]
#[ignore = "run as nobody by the test above"]
async fn preflight_as_nobody() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let error = proxy::on_socket_in(folder.as_ref()).ready().await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, TrafficError::SocketMode { mode: 0o200, .. }),
        "{error:?}"
    );
}
