//! The machine and the programs that are measured.

use std::{fs, process::Command};

/// A sentence on the machine and the versions.
pub fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = first_line(Command::new("uname").arg("-sr"));
    let postfix = first_line(Command::new("postconf").args(["-dh", "mail_version"]));
    let packages = ["opendkim", "python3-milter"].map(|package| {
        let version = first_line(Command::new("dpkg-query").args([
            "--show",
            "--showformat=${Version}",
            package,
        ]));
        format!("{package} {version}")
    });
    let build = if cfg!(debug_assertions) {
        "not optimised"
    } else {
        "as released"
    };
    format!(
        "{cores} cores of {}, {kernel}; Postfix {postfix}, {}; the gateway {build}.",
        processor(),
        packages.join(", ")
    )
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": "));
    name.map_or_else(|| "a processor".to_owned(), |(_, name)| name.to_owned())
}

fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return "unknown".to_owned();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().unwrap_or("unknown").to_owned()
}
