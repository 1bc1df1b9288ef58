//! Compiles `proto/` for crates/proto, with no system protoc: protox parses, tonic-prost-build generates.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let files = ["command", "deployment", "snapshot", "node"]
        .map(|name| root.join(format!("togather/fleet/v1/{name}.proto")));
    println!("cargo::rerun-if-changed={}", root.display());

    let descriptors = protox::compile(&files, [&root])?;
    let descriptor_path = PathBuf::from(env::var("OUT_DIR")?).join("togather.fleet.v1.fds");
    std::fs::write(
        &descriptor_path,
        prost::Message::encode_to_vec(&descriptors),
    )?;

    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
