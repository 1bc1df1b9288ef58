//! `togather-ctl`, the operator's command line. Everything it does is in the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    togather_ctl::run(std::env::args_os()).await
}
