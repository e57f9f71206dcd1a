//! Reads and changes main.cf and master.cf of one directory, only by postconf(1).

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::WiringError;

/// The configuration of a Postfix, or a copy of it.
#[derive(Clone, Debug)]
pub(super) struct Postconf {
    directory: PathBuf,
    /// Postfix's own directory, to which `$config_directory` and relative names refer.
    live: PathBuf,
}

/// Parameters and their values, each `$name` replaced.
pub(super) type Values = BTreeMap<String, String>;

/// A service of master.cf, with some of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) kind: String,
    /// `y`, `n`, or `-` for the default.
    pub(super) chroot: String,
    pub(super) program: String,
}

impl Service {
    /// Its name for postconf(1): `smtp/inet`.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.name, self.kind)
    }

    fn parse(line: &str) -> Option<Self> {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [name, kind, _, _, chroot, _, _, program, ..] = columns[..] else {
            return None;
        };
        Some(Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            chroot: chroot.to_owned(),
            program: program.to_owned(),
        })
    }
}

/// One change of main.cf or master.cf.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Set { parameter: String, value: String },
    Remove { parameter: String },
    SetService { key: String, entry: String },
    RemoveService { key: String },
}

impl Change {
    pub(super) fn set(parameter: &str, value: &str) -> Self {
        Self::Set {
            parameter: parameter.to_owned(),
            value: value.to_owned(),
        }
    }

    fn arguments(&self) -> [String; 2] {
        match self {
            Self::Set { parameter, value } => ["-e".to_owned(), format!("{parameter} = {value}")],
            Self::Remove { parameter } => ["-X".to_owned(), parameter.clone()],
            Self::SetService { key, entry } => ["-Me".to_owned(), format!("{key}={entry}")],
            Self::RemoveService { key } => ["-MX".to_owned(), key.clone()],
        }
    }

    /// The command that makes the change in `directory`, quoted for a shell.
    pub(super) fn typed(&self, directory: &Path) -> String {
        let directory = directory.display().to_string();
        let [option, what] = self.arguments();
        typed(&["postconf", "-c", &directory, &option, &what])
    }
}

impl Postconf {
    pub(super) fn at(directory: &Path) -> Self {
        Self::copied(directory, directory)
    }

    /// The copies in `directory` of the files in `live`.
    pub(super) fn copied(directory: &Path, live: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            live: live.to_owned(),
        }
    }

    /// A parameter's value as main.cf writes it, or its default.
    pub(super) fn written(&self, parameter: &str) -> Result<String, WiringError> {
        self.run(&["-h", parameter]).map(one_line)
    }

    /// A parameter's value with each `$name` replaced.
    pub(super) fn value(&self, parameter: &str) -> Result<String, WiringError> {
        self.run(&["-xh", parameter]).map(one_line)
    }

    /// A parameter's default.
    pub(super) fn default(&self, parameter: &str) -> Result<String, WiringError> {
        self.run(&["-dh", parameter]).map(one_line)
    }

    /// Whether main.cf sets a parameter.
    pub(super) fn sets(&self, parameter: &str) -> Result<bool, WiringError> {
        Ok(self.settings()?.contains_key(parameter))
    }

    /// The values of all parameters that Postfix knows.
    pub(super) fn values(&self) -> Result<Values, WiringError> {
        self.list(&["-x"])
    }

    /// The parameters that main.cf sets.
    pub(super) fn settings(&self) -> Result<Values, WiringError> {
        self.list(&["-nx"])
    }

    /// The services of master.cf.
    pub(super) fn services(&self) -> Result<Vec<Service>, WiringError> {
        let shown = self.run(&["-M"])?;
        Ok(shown.lines().filter_map(Service::parse).collect())
    }

    /// A service's entry on one line with single blanks; none if there is no such service.
    pub(super) fn entry(&self, key: &str) -> Result<Option<String>, WiringError> {
        let shown = self.run(&["-M", key])?;
        let line: Vec<&str> = shown.split_whitespace().collect();
        Ok((!line.is_empty()).then(|| line.join(" ")))
    }

    /// The parameters that services override with `-o`, by names such as
    /// `smtp/inet/smtpd_milters`, with each `$name` replaced. `which` is such a name or
    /// `*/*/*`.
    pub(super) fn overrides(&self, which: &str) -> Result<Values, WiringError> {
        self.list(&["-xP", which])
    }

    /// The parameters that one service overrides, by `KEY/parameter`, as master.cf writes them.
    pub(super) fn own_overrides(&self, key: &str) -> Result<Values, WiringError> {
        self.list(&["-P", &format!("{key}/*")])
    }

    pub(super) fn make(&self, change: &Change) -> Result<(), WiringError> {
        let [option, what] = change.arguments();
        self.run(&[&option, &what]).map(drop)
    }

    /// A map's entry for a key.
    pub(super) fn look_up(&self, map: &str, key: &str) -> Result<Option<String>, WiringError> {
        let directory = self.live.display().to_string();
        let arguments = ["-c", &directory, "-q", key, map];
        let output = start("postmap", &arguments)?;
        match output.status.code() {
            Some(0) => Ok(Some(one_line(text(&output.stdout)))),
            // postmap says nothing if the key is not found, and reports every error.
            Some(1) if output.stderr.is_empty() => Ok(None),
            _ => Err(failed("postmap", &arguments, &output)),
        }
    }

    /// The whole content of a map; an error if its type can't be listed.
    pub(super) fn content(&self, map: &str) -> Result<String, WiringError> {
        let directory = self.live.display().to_string();
        run_program("postmap", &["-c", &directory, "-s", map])
    }

    /// The lines `name = value` that postconf(1) prints.
    fn list(&self, arguments: &[&str]) -> Result<Values, WiringError> {
        let shown = self.run(arguments)?;
        Ok(shown.lines().filter_map(setting).collect())
    }

    fn run(&self, arguments: &[&str]) -> Result<String, WiringError> {
        let directory = self.directory.display().to_string();
        let words = [&["-c", directory.as_str()], arguments].concat();
        let shown = run_program("postconf", &words)?;
        Ok(shown.replace(&directory, &self.live.display().to_string()))
    }
}

/// A line `name = value`.
fn setting(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

fn one_line(shown: String) -> String {
    shown.trim_end_matches('\n').to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a program and returns what it prints.
pub(super) fn run_program(program: &str, arguments: &[&str]) -> Result<String, WiringError> {
    let output = start(program, arguments)?;
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(failed(program, arguments, &output)),
    }
}

fn start(program: &str, arguments: &[&str]) -> Result<Output, WiringError> {
    Command::new(program)
        .args(arguments)
        .env("PATH", path())
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| WiringError::Program {
            command: program.to_owned(),
            reason: match program {
                "postconf" | "postmap" => {
                    format!("{error}; install Postfix, or add its commands to the PATH")
                }
                _ => error.to_string(),
            },
        })
}

/// The PATH, with Debian's directories of Postfix's commands.
fn path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

fn failed(program: &str, arguments: &[&str], output: &Output) -> WiringError {
    WiringError::Program {
        command: typed(&[&[program], arguments].concat()),
        reason: match text(&output.stderr).trim() {
            "" => output.status.to_string(),
            said => said.replace('\n', "; "),
        },
    }
}

/// A command, quoted for a shell.
pub(super) fn typed(words: &[&str]) -> String {
    let is_plain = |word: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+-".contains(c);
        !word.is_empty() && word.chars().all(plain)
    };
    let quoted = words.iter().map(|word| match is_plain(word) {
        true => (*word).to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_quoted_as_a_shell_needs_it() {
        assert_eq!(typed(&["postconf", "-e", "a = b"]), "postconf -e 'a = b'");
        assert_eq!(typed(&["x", "it's", ""]), r"x 'it'\''s' ''");
    }

    #[test]
    fn a_service_has_its_columns() {
        let line = "smtp       inet  n       -       y       -       -       smtpd -o a=b";
        let service = Service::parse(line);
        assert_eq!(
            service.map(|service| (service.key(), service.chroot, service.program)),
            Some(("smtp/inet".to_owned(), "y".to_owned(), "smtpd".to_owned()))
        );
        assert_eq!(Service::parse("smtp inet n"), None);
    }
}
