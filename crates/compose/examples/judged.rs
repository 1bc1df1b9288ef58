//! Our readers, to be judged by Compose's own (`make peers`): a file as a line of JSON in, what it was
//! taken for, or its problems, as a line of JSON out.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
};

use serde::{Deserialize, Serialize};
use togather_compose::{Problem, env};

/// One file.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    /// An environment file.
    Env(String),
}

/// What became of it.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// What it says.
    Values(BTreeMap<String, String>),
    /// Why it was refused.
    Problems(Vec<String>),
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Question::Env(text) => of_env(&text),
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
        Err(problems) => Answer::Problems(problems.iter().map(Problem::to_string).collect()),
    }
}
