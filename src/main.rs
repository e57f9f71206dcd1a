//! `kms-gateway`: parses the command line and calls it.

use std::process::ExitCode;

fn main() -> ExitCode {
    kms_gateway::commands::run(std::env::args_os())
}
