//! The machine that was measured, in a line.

use std::{fmt, fs};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::process::docker;

/// What figures depend on.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    processor: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    docker: String,
    storage_driver: String,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} cores, {} GiB, Linux {}, Docker {} on {}",
            self.processor,
            self.cores,
            self.memory_gib,
            self.kernel,
            self.docker,
            self.storage_driver
        )
    }
}

pub(super) async fn describe() -> Result<Machine> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = value(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
    let kib: u64 = memory
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .context("/proc/meminfo does not tell the memory")?;
    let facts = docker(["info", "--format", "{{.ServerVersion}}|{{.Driver}}"])
        .run()
        .await?;
    let (version, driver) = facts.split_once('|').unwrap_or((facts.as_str(), ""));
    Ok(Machine {
        // Not every architecture names its processor there.
        processor: value(&read("/proc/cpuinfo")?, "model name")
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: std::thread::available_parallelism()?.get(),
        memory_gib: kib >> 20,
        kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        docker: version.to_owned(),
        storage_driver: driver.to_owned(),
    })
}
