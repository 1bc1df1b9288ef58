//! `deploy/packaging/install.sh` in containers of the node's own image, which has Docker and Caddy
//! already: what it writes, what it leaves alone, and what it says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test a panic is the report, in its helpers as well"
)]

use std::{fs, path::Path, process::Stdio, time::Duration};

use fleet_tests::program::checkout;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// Made by `devfleet up`.
const IMAGE: &str = "togather-devfleet-node";
/// More than any run takes here: nothing is fetched.
const LONGEST: Duration = Duration::from_secs(120);

/// A machine on which nothing was installed yet but the packages.
struct Machine {
    container: String,
}

impl Machine {
    async fn new(name: &str) -> Self {
        let container = format!("fleet-tests-install-{}-{name}", std::process::id());
        let machine = Self { container };
        let mut run = vec!["run", "--detach", "--rm", "--network", "none"];
        run.extend(["--name", &machine.container, IMAGE, "sleep", "600"]);
        let started = docker(&run, "").await;
        started.unwrap_or_else(|e| {
            panic!("these tests need Docker and the image {IMAGE} (`make fleet-up` makes it): {e}")
        });
        let deploy = checkout().join("deploy");
        let to = format!("{}:/deploy", machine.container);
        let copied = docker(&["cp", "--quiet", deploy.to_str().unwrap(), &to], "").await;
        copied.unwrap();
        // What the image was made with, and files as an operator carries them to a node.
        machine
            .sh(r"
                rm -rf /etc/togather /etc/caddy/togather /etc/systemd/system/caddy.service.d
                rm -f /etc/caddy/Caddyfile* /etc/sysctl.d/60-togather.conf
                rm -f /etc/systemd/system/togather-agent.service
                mkdir -p /given/bundle/tls && cd /given
                cp /deploy/docker/docker-compose.yml compose.yml
                printf 'POSTGRES_USER=togather\nPOSTGRES_PASSWORD=first-secret\n' > env
                echo program > agent
                for file in agent.yml deployment.yml allowed_signers roles.yml tls/ca.crt tls/node.crt tls/node.key
                do echo \# $file > bundle/$file; done")
            .await;
        machine
    }

    /// Runs this as root; its output, both streams in one.
    async fn sh(&self, script: &str) -> String {
        let all = format!("exec 2>&1; set -eu\n{script}\n");
        let ran = docker(&["exec", "--interactive", &self.container, "sh"], &all).await;
        ran.unwrap_or_else(|said| panic!("{script}\nfailed:\n{said}"))
    }

    /// Installs all that was given, with these options too.
    async fn install(&self, options: &str) -> String {
        let all = "--binary agent --bundle bundle --compose compose.yml --env env";
        let install = "sh /deploy/packaging/install.sh";
        self.sh(&format!("cd /given && {install} {all} {options}"))
            .await
    }

    async fn read(&self, path: &str) -> String {
        self.sh(&format!("cat {path}")).await
    }

    /// Puts a program of this name before the one there is.
    async fn fake(&self, name: &str, script: &str) {
        let path = format!("/usr/local/sbin/{name}");
        let make = format!("cat > {path} << 'END'\n#!/bin/sh\n{script}\nEND\nchmod 755 {path}");
        self.sh(&make).await;
    }

    async fn exists(&self, path: &str) -> bool {
        let found = format!("if [ -e {path} ]; then echo yes; fi");
        self.sh(&found).await.trim() == "yes"
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let remove = ["rm", "--force", &self.container];
        let removed = std::process::Command::new("docker").args(remove).output();
        drop(removed);
    }
}

/// What a call of `docker` prints; what it says when it fails.
async fn docker(arguments: &[&str], stdin: &str) -> Result<String, String> {
    let mut child = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("docker could not be run: {e}"))?;
    let mut input = child.stdin.take().unwrap();
    input.write_all(stdin.as_bytes()).await.unwrap();
    drop(input);
    let ran = timeout(LONGEST, child.wait_with_output()).await;
    let ran = ran
        .map_err(|_| format!("no end within {LONGEST:?}"))?
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    match ran.status.success() {
        true => Ok(said),
        false => Err(said + &String::from_utf8_lossy(&ran.stderr)),
    }
}

#[tokio::test]
async fn what_was_edited_stays_and_what_was_not_is_renewed() {
    let machine = Machine::new("edited").await;
    let first = machine.install("").await;
    assert!(
        first.contains("writing /etc/togather/docker-compose.yml"),
        "{first}"
    );
    assert!(!first.contains("keeping"), "{first}");
    machine
        .sh("sha256sum --check --quiet /etc/togather/.installed")
        .await;
    let again = machine.install("").await;
    assert!(
        !again.contains("writing") && !again.contains("keeping"),
        "{again}"
    );

    // Here an operator changes two files; elsewhere all four become new ones.
    machine
        .sh(r"
            echo '# mine' >> /etc/togather/docker-compose.yml
            sed -i 's/^POSTGRES_PASSWORD=.*/POSTGRES_PASSWORD=my-own-secret/' /etc/togather/.env.production
            cd /given
            echo '# theirs' >> compose.yml
            printf 'POSTGRES_USER=togather\nPOSTGRES_PASSWORD=their-secret\nNEW_KEY=1\n' > env
            echo '# renewed' >> bundle/deployment.yml
            echo renewed > agent")
        .await;
    let said = machine.install("").await;
    for part in [
        "keeping /etc/togather/docker-compose.yml",
        "    -# mine",
        "    +# theirs",
        "keeping /etc/togather/.env.production",
        "    differs: POSTGRES_PASSWORD",
        "    differs: NEW_KEY",
        "writing /etc/togather/deployment.yml",
        "writing /usr/bin/togather-agent",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    assert!(!said.contains("secret"), "{said}");
    assert!(!said.contains("differs: POSTGRES_USER"), "{said}");
    let own = machine.read("/etc/togather/docker-compose.yml").await;
    assert!(own.ends_with("# mine\n"), "{own}");
    let own = machine.read("/etc/togather/.env.production").await;
    assert!(own.contains("my-own-secret"), "{own}");
    let stat = "stat --format='%a %U' /etc/togather/.env.production.new";
    assert_eq!(machine.sh(stat).await, "600 togather\n");

    // The new one is taken, and from then on it is no edit any more.
    machine
        .sh(r"
            cd /etc/togather && mv docker-compose.yml.new docker-compose.yml
            echo '# theirs again' >> /given/compose.yml")
        .await;
    let said = machine.install("").await;
    assert!(
        said.contains("writing /etc/togather/docker-compose.yml"),
        "{said}"
    );
    assert!(!machine.exists("/etc/togather/docker-compose.yml.new").await);

    // Asked to, it takes the edited one's place, and keeps it.
    let said = machine.install("--overwrite").await;
    assert!(
        said.contains("writing /etc/togather/.env.production"),
        "{said}"
    );
    let new = machine.read("/etc/togather/.env.production").await;
    assert!(new.contains("their-secret"), "{new}");
    let old = machine.read("/etc/togather/.env.production.old").await;
    assert!(old.contains("my-own-secret"), "{old}");
    assert!(!machine.exists("/etc/togather/.env.production.new").await);
}

#[tokio::test]
async fn what_was_kept_is_never_overwritten() {
    let machine = Machine::new("kept").await;
    let caddyfile = "/etc/caddy/Caddyfile";
    machine
        .sh("ln -s /srv/Caddyfile /etc/caddy/Caddyfile")
        .await;
    machine
        .sh("printf 'first.example.org {\n}\n' > /etc/caddy/Caddyfile")
        .await;
    machine.install("--replace-caddyfile").await;
    for (edit, kept) in [("second", "old.1"), ("third", "old.2")] {
        machine.sh(&format!("echo '# {edit}' >> {caddyfile}")).await;
        let said = machine.install("--overwrite").await;
        let expected = format!("the old {caddyfile} is kept as {caddyfile}.{kept}");
        assert!(said.contains(&expected), "{said}");
        let old = machine.read(&format!("{caddyfile}.{kept}")).await;
        assert!(old.ends_with(&format!("# {edit}\n")), "{old}");
    }
    let link = machine.sh(&format!("readlink {caddyfile}")).await;
    assert_eq!(link, "/srv/Caddyfile\n");
    let first = machine.read("/etc/caddy/Caddyfile.old").await;
    assert!(first.starts_with("first.example.org"), "{first}");
}

#[tokio::test]
async fn a_link_stays_a_link() {
    let machine = Machine::new("link").await;
    machine
        .sh(r"
            mkdir -p /srv/config /etc/togather
            cp /given/compose.yml /srv/config/compose.yml
            ln -s /srv/config/compose.yml /etc/togather/docker-compose.yml")
        .await;
    let is_link = "readlink /etc/togather/docker-compose.yml";
    machine.install("").await;
    assert_eq!(machine.sh(is_link).await, "/srv/config/compose.yml\n");
    machine.sh("echo '# renewed' >> /given/compose.yml").await;
    machine.install("").await;
    assert_eq!(machine.sh(is_link).await, "/srv/config/compose.yml\n");
    let text = machine.read("/srv/config/compose.yml").await;
    assert!(text.ends_with("# renewed\n"), "{text}");
}

#[tokio::test]
async fn no_line_of_a_key_is_taken_for_a_name() {
    let machine = Machine::new("lines").await;
    machine.install("").await;
    machine
        .sh(r#"
            printf 'SIGNING_KEY="-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC==\nIDAQAB==\n-----END PRIVATE KEY-----"\n' \
                >> /etc/togather/.env.production
            echo CHANGED=1 >> /given/env"#)
        .await;
    let said = machine.install("").await;
    for name in ["SIGNING_KEY", "CHANGED"] {
        assert!(said.contains(&format!("differs: {name}\n")), "{said}");
    }
    assert!(
        !said.contains("MIIEv") && !said.contains("IDAQAB"),
        "{said}"
    );
}

#[tokio::test]
async fn the_admin_line_fits_the_caddy_that_is_there() {
    let machine = Machine::new("caddy").await;
    let caddyfile = "/etc/caddy/Caddyfile";
    let (bare, with_mode) = (
        "admin \"unix//run/caddy/admin.sock\"\n",
        "admin \"unix//run/caddy/admin.sock|0660\"\n",
    );
    machine.fake("caddy", "echo 2.6.2").await;
    machine.install("").await;
    assert!(machine.read(caddyfile).await.contains(bare));
    // Caddy's own packages, over Debian's.
    machine.fake("caddy", "echo v2.11.9 h1:abc").await;
    let said = machine.install("").await;
    assert!(said.contains("writing /etc/caddy/Caddyfile"), "{said}");
    assert!(machine.read(caddyfile).await.contains(with_mode));
    for (version, line) in [
        ("v2.7.0 h1:x", with_mode),
        ("unknown", with_mode),
        ("2.6.9", bare),
    ] {
        machine.fake("caddy", &format!("echo {version}")).await;
        machine.install("").await;
        let text = machine.read(caddyfile).await;
        assert!(text.contains(line), "{version}: {text}");
    }

    // One that was edited is kept, and what is wrong with it is told.
    machine.sh("echo '# mine' >> /etc/caddy/Caddyfile").await;
    machine.fake("caddy", "echo v2.11.9 h1:abc").await;
    let said = machine.install("").await;
    for part in [
        "keeping /etc/caddy/Caddyfile",
        "for Caddy v2.11.9:   admin \"unix//run/caddy/admin.sock|0660\"",
        "then run: systemctl restart caddy",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[tokio::test]
async fn a_caddyfile_of_ones_own_stays_and_hears_what_it_lacks() {
    let machine = Machine::new("own").await;
    let own = "{\n\tadmin localhost:2019\n}\nevents.example.org {\n\timport /etc/caddy/togather/*.caddy\n}\n";
    machine
        .sh(&format!("printf '%s' '{own}' > /etc/caddy/Caddyfile"))
        .await;
    let said = machine.install("").await;
    assert_eq!(machine.read("/etc/caddy/Caddyfile").await, own);
    for part in [
        "in the global block at the top:   admin \"unix//run/caddy/admin.sock",
        "admin: localhost:2019",
        "public_url: https://events.example.org",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    machine
        .sh(r"printf 'proxy:\n  public_url: https://events.example.org\n  admin: localhost:2019\n' > /etc/togather/deployment.yml")
        .await;
    let said = machine.install("").await;
    assert!(!said.contains("is left as it is"), "{said}");
    assert!(!said.contains("for https"), "{said}");
    assert!(
        said.contains("every user of this machine can change what Caddy serves"),
        "{said}"
    );

    let said = machine.install("--replace-caddyfile").await;
    assert!(said.contains("kept as /etc/caddy/Caddyfile.old"), "{said}");
    assert_eq!(machine.read("/etc/caddy/Caddyfile.old").await, own);
    let text = machine.read("/etc/caddy/Caddyfile").await;
    assert!(
        text.contains("import /etc/caddy/togather/*.caddy"),
        "{text}"
    );
}

/// From Debian 13 on, docker.io only recommends the package that has the `docker` command.
#[tokio::test]
async fn the_docker_command_is_installed_where_it_is_a_package_of_its_own() {
    let machine = Machine::new("docker-cli").await;
    machine.sh("mv \"$(command -v docker)\" /root/docker").await;
    machine.fake("apt-get", "echo \"$*\" >> /apt-get").await;
    machine
        .fake("apt-cache", "[ \"$*\" = 'show docker-cli' ]")
        .await;
    machine.install("").await;
    let asked = machine.read("/apt-get").await;
    let expected = "update\ninstall -y --no-install-recommends docker-cli\n";
    assert_eq!(asked, expected);

    // Debian 12: no such package, the command comes with docker.io.
    machine.fake("apt-cache", "exit 100").await;
    machine.sh("rm /apt-get").await;
    machine.install("").await;
    assert_eq!(machine.read("/apt-get").await, "update\n");
}

#[test]
fn the_sample_is_the_line_that_install_sh_replaces() {
    let text = fs::read_to_string(checkout().join(Path::new("deploy/caddy/Caddyfile"))).unwrap();
    assert!(
        text.lines()
            .any(|line| line == "\tadmin unix//run/caddy/admin.sock"),
        "{text}"
    );
}
