//! Our readers, to be judged by Compose's own (`make peers`): a file as a line of JSON in, what it was
//! taken for, or its problems, as a line of JSON out.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use togather_compose::{Compose, Problem, Source, env};

/// One file.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    /// An environment file.
    Env(String),
    /// A Compose file.
    File(File),
}

/// A Compose file, and what it is read with.
#[derive(Deserialize)]
struct File {
    text: String,
    environment: BTreeMap<String, String>,
    /// Where it stands.
    folder: PathBuf,
    /// What `~` stands for.
    home: PathBuf,
}

/// What became of it.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// What an environment file says.
    Values(BTreeMap<String, String>),
    /// What a Compose file means.
    Model(Box<Compose>),
    /// Why it was refused.
    Problems(Vec<String>),
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Question::Env(text) => of_env(&text),
            Question::File(file) => of_file(&file),
        };
        serde_json::to_writer(&mut out, &answer)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

fn of_env(text: &str) -> Answer {
    match env::parse(text) {
        Ok(env) => Answer::Values(env.into_values()),
        Err(problems) => Answer::Problems(told(&problems)),
    }
}

fn of_file(file: &File) -> Answer {
    let source = Source {
        path: Path::new("docker-compose.yml"),
        folder: &file.folder,
        text: &file.text,
        environment: &file.environment,
        app: "app",
        home: Some(&file.home),
        later: &[],
        files: &|path| fs::read_to_string(path),
    };
    match Compose::parse(&source) {
        Ok(compose) => Answer::Model(Box::new(compose)),
        Err(error) => Answer::Problems(told(&error.problems)),
    }
}

fn told(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}
