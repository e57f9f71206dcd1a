//! Copies of the files. All changes are made on the copies first, which replace the files
//! once every change has succeeded.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    Report, WiringError,
    kept::{Changed, remove_directory},
    postconf::{Change, Postconf, typed},
};
use crate::{config::Config, new_file};

/// The copies. They are removed when the run ends.
pub(super) struct Stage {
    /// Postfix's own directory.
    postfix: PathBuf,
    /// The gateway's configuration file.
    gateway: PathBuf,
    copies: PathBuf,
    /// The parent of `copies`, removed too if it is empty.
    keeper: Option<PathBuf>,
    changes: usize,
    pub(super) report: Report,
}

impl Stage {
    /// Copies the files into the directory `keeper`, or into a temporary one for a dry run.
    pub(super) fn new(
        postfix: &Path,
        gateway: &Path,
        keeper: Option<&Path>,
    ) -> Result<Self, WiringError> {
        let directory = match keeper {
            Some(keeper) => {
                make_private(keeper)?;
                let directory = keeper.join("staged");
                remove_directory(&directory)?;
                make_private(&directory)?;
                directory
            }
            None => private_directory()?,
        };
        let stage = Self {
            postfix: postfix.to_owned(),
            gateway: gateway.to_owned(),
            copies: directory,
            keeper: keeper.map(Path::to_owned),
            changes: 0,
            report: Report::default(),
        };
        for place in [stage.copies.clone(), stage.before_directory()] {
            fs::create_dir_all(&place).map_err(WiringError::file(&place, "made"))?;
            for file in Changed::ALL {
                stage.copy(file, &place.join(file.name()))?;
            }
        }
        for file in [Changed::Main, Changed::Master] {
            end_last_line(&stage.staged(file))?;
        }
        stage.settle()?;
        Ok(stage)
    }

    /// main.cf and master.cf as they will be.
    pub(super) fn postconf(&self) -> Postconf {
        Postconf::copied(&self.copies, &self.postfix)
    }

    /// main.cf and master.cf as they were when the run began.
    pub(super) fn before(&self) -> Postconf {
        Postconf::copied(&self.before_directory(), &self.postfix)
    }

    /// Refuses a main.cf that postconf(1) can't read.
    pub(super) fn require_readable(&self) -> Result<(), WiringError> {
        match self.postconf().settings() {
            Ok(_) => Ok(()),
            Err(error) => WiringError::refused(format!(
                "{}/main.cf can't be read: {error}; mend it first",
                self.postfix.display()
            )),
        }
    }

    /// Postfix's own directory.
    pub(super) fn postfix(&self) -> &Path {
        &self.postfix
    }

    /// A service's entry in postconf(1)'s spelling, so that it can be compared.
    pub(super) fn normal(&self, key: &str, entry: &str) -> Result<String, WiringError> {
        let directory = self.copies.join("normal");
        for file in [Changed::Main, Changed::Master] {
            let path = directory.join(file.name());
            fs::create_dir_all(&directory)
                .and_then(|()| fs::write(&path, ""))
                .map_err(WiringError::file(&path, "written"))?;
        }
        settle(&directory)?;
        let postconf = Postconf::at(&directory);
        postconf.make(&Change::SetService {
            key: key.to_owned(),
            entry: entry.to_owned(),
        })?;
        settle(&directory)?;
        Ok(postconf.entry(key)?.unwrap_or_default())
    }

    /// The number of changes.
    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    /// Counts a change outside the three files.
    pub(super) fn count(&mut self) {
        self.changes += 1;
    }

    pub(super) fn live(&self, file: Changed) -> PathBuf {
        match file {
            Changed::Gateway => self.gateway.clone(),
            _ => self.postfix.join(file.name()),
        }
    }

    pub(super) fn staged(&self, file: Changed) -> PathBuf {
        self.copies.join(file.name())
    }

    /// Reports a change, and makes it on the copies.
    pub(super) fn change(
        &mut self,
        words: impl Into<String>,
        change: &Change,
    ) -> Result<(), WiringError> {
        self.report.say(words);
        self.report
            .say(format!("    {}", change.typed(&self.postfix)));
        self.postconf().make(change)?;
        self.changes += 1;
        self.settle()
    }

    /// Reports a change of a key of gateway.toml, and makes it on the copy.
    pub(super) fn change_gateway(
        &mut self,
        words: impl Into<String>,
        key: &str,
        value: &str,
    ) -> Result<(), WiringError> {
        let config = self.gateway.display().to_string();
        let command = [
            "kms-gateway",
            "--config",
            &config,
            "config",
            "set",
            key,
            value,
        ];
        self.report.say(words);
        self.report.say(format!("    {}", typed(&command)));
        Config::set(&self.staged(Changed::Gateway), key, &[value.to_owned()])?;
        self.changes += 1;
        Ok(())
    }

    /// Replaces a copy by the original file.
    pub(super) fn restore(&self, file: Changed, original: &Path) -> Result<(), WiringError> {
        let staged = self.staged(file);
        fs::copy(original, &staged)
            .map(drop)
            .map_err(WiringError::file(&staged, "written"))?;
        self.settle()
    }

    /// Replaces a file by its copy. The file keeps its owner and mode.
    pub(super) fn put(&self, file: Changed) -> Result<(), WiringError> {
        let live = self.live(file);
        let read = |path: &Path| fs::read(path).map_err(WiringError::file(path, "read"));
        let new = read(&self.staged(file))?;
        let present = read(&live)?;
        if present == new {
            return Ok(());
        }
        if present != read(&self.before_directory().join(file.name()))? {
            return WiringError::refused(format!(
                "{} was changed during this run, and that change is kept; run this again",
                live.display()
            ));
        }
        new_file::replace(&live, &beside(&live), &new).map_err(WiringError::file(&live, "replaced"))
    }

    fn copy(&self, file: Changed, to: &Path) -> Result<(), WiringError> {
        let from = self.live(file);
        match fs::copy(&from, to) {
            // `check` reports a missing gateway.toml.
            Err(error) if file == Changed::Gateway && error.kind() == io::ErrorKind::NotFound => {
                Ok(())
            }
            copied => copied.map(drop).map_err(WiringError::file(&from, "copied")),
        }
    }

    fn before_directory(&self) -> PathBuf {
        self.copies.join("before")
    }

    fn settle(&self) -> Result<(), WiringError> {
        settle(&self.copies)?;
        settle(&self.before_directory())
    }
}

/// Sets the time of main.cf and master.cf a minute back. Postfix's programs wait for
/// seconds until a file that was just changed has settled.
fn settle(directory: &Path) -> Result<(), WiringError> {
    let then = SystemTime::now() - Duration::from_mins(1);
    for file in [Changed::Main, Changed::Master] {
        let path = directory.join(file.name());
        OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_modified(then))
            .map_err(WiringError::file(&path, "given another time"))?;
    }
    Ok(())
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A refusal leaves nothing behind. A directory with other content stays.
        let _ = fs::remove_dir_all(&self.copies);
        if let Some(keeper) = &self.keeper {
            let _ = fs::remove_dir(keeper);
        }
    }
}

/// Adds a missing newline at the end. Otherwise postconf(1) would append to the last line.
fn end_last_line(path: &Path) -> Result<(), WiringError> {
    let content = fs::read(path).map_err(WiringError::file(path, "read"))?;
    if content.is_empty() || content.ends_with(b"\n") {
        return Ok(());
    }
    OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(b"\n"))
        .map_err(WiringError::file(path, "written"))
}

/// The temporary file beside a file, for its new content.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".kms-gateway");
    PathBuf::from(name)
}

fn make_private(directory: &Path) -> Result<(), WiringError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(WiringError::file(directory, "made"))
}

/// Makes a directory that only this process's user can read.
fn private_directory() -> Result<PathBuf, WiringError> {
    let parent = std::env::temp_dir();
    for number in 0..100 {
        let directory = parent.join(format!(
            "kms-gateway-wiring-{}-{number}",
            std::process::id()
        ));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                return made
                    .map(|()| directory.clone())
                    .map_err(WiringError::file(&directory, "made"));
            }
        }
    }
    WiringError::refused(format!(
        "{}: no directory for copies can be made there; remove old kms-gateway-wiring-* in it",
        parent.display()
    ))
}
