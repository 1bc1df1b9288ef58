//! The command line, and the one place where errors become exit codes.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    commands::{self, Context},
    error::Error,
    ui::{Output, Ui},
};

/// Rolls releases across a fleet of Togather nodes, and shows how the nodes are.
#[derive(Parser)]
#[command(name = "togather-ctl", version, after_long_help = MORE_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const MORE_HELP: &str = "\
Exit codes:
  0   done
  1   failed for another reason
  2   the command line is wrong
  3   refused: another deployment, rollout, restore or job holds the node
  4   the new version was not healthy; the node went back
  5   a migration failed
  6   a node could not be reached
  7   refused: not signed by, or not allowed to, this operator
  8   stuck: an undo failed and a human is needed
  10  the configuration is wrong
  130 interrupted; nodes that are in the middle of a deployment finish on their own

Environment:
  TOGATHER_FLEET  the fleet file, if --fleet does not name one
  SSH_AUTH_SOCK   ssh-agent, which signs for keys that it holds
  NO_COLOR        no colours, whatever the terminal can do

Data goes to standard output, everything else to standard error. With --output json, standard
output is one JSON document (or JSON lines, while a rollout, a rollback, a redeploy or a job on snapshots
runs)
and nothing else; each document's `schema` field names its form. Questions are asked on a terminal
only; without one, --yes is needed, for a restore --yes-restore, and for `schema set` --confirm.";

#[derive(Args)]
struct Global {
    /// The fleet file [default: ./fleet.yml, then togather/fleet.yml in your configuration folder]
    #[arg(long, global = true, env = "TOGATHER_FLEET", value_name = "PATH")]
    fleet: Option<PathBuf>,
    /// The form of what goes to standard output
    #[arg(long, global = true, value_enum, default_value = "table")]
    output: Output,
    /// The SSH key that signs commands: a private key, or a .pub whose other half ssh-agent has
    /// [default: the one the fleet file names]
    #[arg(long, global = true, value_name = "KEY")]
    identity: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    Init(commands::init::Init),
    #[command(subcommand)]
    Node(commands::node::Node),
    #[command(subcommand)]
    Release(commands::release::Release),
    Rollout(commands::rollout::Rollout),
    Rollback(commands::rollback::Rollback),
    Redeploy(commands::redeploy::Redeploy),
    Status(commands::status::Status),
    #[command(subcommand)]
    Schema(commands::schema::Schema),
    #[command(subcommand)]
    Snapshot(commands::snapshot::Snapshot),
    History(commands::history::History),
    #[command(subcommand)]
    Lock(commands::lock::Lock),
}

/// Runs the controller with these arguments, the program's name first. Whatever goes wrong has been
/// said on standard error when this returns.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are such answers too, with exit code 0.
            let _ = answer.print();
            return u8::try_from(answer.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let ui = Ui::new(cli.global.output);
    let context = Context {
        ui,
        fleet: cli.global.fleet,
        identity: cli.global.identity,
    };
    match Box::pin(carry_out(cli.command, &context)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

async fn carry_out(command: Command, context: &Context) -> Result<(), Error> {
    match command {
        Command::Init(init) => init.run(context),
        Command::Node(node) => node.run(context),
        Command::Release(release) => release.run(context).await,
        Command::Rollout(rollout) => rollout.run(context).await,
        Command::Rollback(rollback) => rollback.run(context).await,
        Command::Redeploy(redeploy) => redeploy.run(context).await,
        Command::Status(status) => status.run(context).await,
        Command::Schema(schema) => schema.run(context).await,
        Command::Snapshot(snapshot) => snapshot.run(context).await,
        Command::History(history) => history.run(context).await,
        Command::Lock(lock) => lock.run(context).await,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

    use super::Cli;

    /// What these need only whoever makes a release or enrols a node can know.
    const ONLY_NAMED: [&str; 2] = ["release create", "node add"];

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// The sources of everything that gives advice.
    fn sources() -> Vec<PathBuf> {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut folders: Vec<PathBuf> = ["agent", "ctl", "model", "trust"]
            .map(|name| crates.join(name).join("src"))
            .into();
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    // This test's own words are no advice.
                    false if path.ends_with("ctl/src/cli.rs") => {}
                    false => files.push(path),
                }
            }
        }
        files
    }

    /// The commands in a source file's messages, with something in the place of each value.
    fn advice(source: &str) -> Vec<String> {
        let is_comment = |line: &&str| line.trim_start().starts_with("//");
        let code: Vec<&str> = source.lines().filter(|line| !is_comment(line)).collect();
        // A text that goes on in the next line.
        let code = code.join("\n").replace("\\\n", "");
        let commands = code.split("`togather-ctl ").skip(1);
        let commands = commands.filter_map(|rest| rest.split_once('`'));
        commands.map(|(command, _)| filled_in(command)).collect()
    }

    fn filled_in(command: &str) -> String {
        let word = |word: &str| match word {
            "HOST:PORT" => "host:7443".to_owned(),
            "NAME" => "node-1".to_owned(),
            "N" | "{version}" | "{before}" => "1".to_owned(),
            value if value == "ID" || value.contains(['{', '…']) => {
                "01jzzzzzzzzzzzzzzzzzzzzzzz".to_owned()
            }
            other => other.to_owned(),
        };
        let words: Vec<String> = command.split_whitespace().map(word).collect();
        words.join(" ")
    }

    #[test]
    fn every_command_that_a_message_names_is_one() {
        let mut found = 0;
        for file in sources() {
            for command in advice(&fs::read_to_string(&file).unwrap()) {
                found += 1;
                let arguments = ["togather-ctl"].into_iter().chain(command.split(' '));
                let Err(error) = Cli::try_parse_from(arguments) else {
                    continue;
                };
                let is_only_named = error.kind() == ErrorKind::MissingRequiredArgument
                    && ONLY_NAMED.iter().any(|name| command.starts_with(name));
                let file = file.display();
                assert!(is_only_named, "{file}: `togather-ctl {command}`: {error}");
            }
        }
        assert!(found > 20, "only {found} are found");
    }
}
