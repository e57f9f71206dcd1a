//! Man pages and shell completions, made from the command line, the example
//! configuration, the installer's help and the tables of rules, services and
//! result codes. Says nothing that one of those could say.

mod command;
mod configuration;
mod installer;
mod page;
mod policy;

use std::{fs, io, path::Path};

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use kms_gateway::commands::Arguments;

/// The program, as its users type it.
const PROGRAM: &str = "kms-gateway";

/// Writes every document, by the name that it is installed under.
///
/// # Errors
/// As the file system tells.
pub(super) fn write_to(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for page in [
        command::page(),
        configuration::page(),
        policy::page(),
        installer::page(),
    ] {
        fs::write(directory.join(page.file_name()), page.to_roff())?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Arguments::command(), PROGRAM, directory)?;
    }
    mend_bash_completion(directory)
}

/// clap_complete writes a hyphen in the program's name in two ways, so that its
/// bash completion knows no command's options (clap-rs/clap issue 6421).
fn mend_bash_completion(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!("{PROGRAM}.bash"));
    let (one, other) = ("kms__subcmd__gateway__", "kms__gateway__");
    let script = fs::read_to_string(&path)?;
    fs::write(path, script.replace(one, other))
}
