//! `kms-gateway`: parses the command line and calls it.

use std::process::ExitCode;

use clap::Parser;
use kms_gateway::commands;

fn main() -> ExitCode {
    commands::run(commands::Arguments::parse())
}
