//! Copies of the files, changed in the files' stead, and put into their places when
//! all changes are known to be possible.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    Report, WiringError,
    kept::Changed,
    postconf::{Change, Postconf, typed},
};
use crate::{config::Config, new_file};

/// The copies. They go when the run ends.
pub(super) struct Stage {
    /// Postfix's own directory.
    postfix: PathBuf,
    /// The gateway's configuration file.
    gateway: PathBuf,
    copies: PathBuf,
    /// What keeps the copies is removed too, if it is empty.
    keeper: Option<PathBuf>,
    changes: usize,
    pub(super) report: Report,
}

impl Stage {
    /// Copies the files: into the directory `keeper`, or, for a dry run, to a
    /// place of their own.
    pub(super) fn new(
        postfix: &Path,
        gateway: &Path,
        keeper: Option<&Path>,
    ) -> Result<Self, WiringError> {
        let directory = match keeper {
            Some(keeper) => {
                make_private(keeper)?;
                let directory = keeper.join("staged");
                remove(&directory)?;
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

    /// A service's entry as postconf(1) writes it, so that it can be compared.
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

    /// How many changes there are.
    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    /// One more change, which is none of the three files'.
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

    /// Says what changes, and makes the change on the copies.
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

    /// The same of a key of gateway.toml.
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

    /// The copy becomes what the file was when somebody kept it.
    pub(super) fn restore(&self, file: Changed, original: &Path) -> Result<(), WiringError> {
        let staged = self.staged(file);
        fs::copy(original, &staged)
            .map(drop)
            .map_err(WiringError::file(&staged, "written"))?;
        self.settle()
    }

    /// Puts the copy into the file's place. Owner and mode stay the file's.
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
                "{} was changed while this ran; nothing of that is lost: run this again",
                live.display()
            ));
        }
        new_file::replace(&live, &beside(&live), &new).map_err(WiringError::file(&live, "replaced"))
    }

    fn copy(&self, file: Changed, to: &Path) -> Result<(), WiringError> {
        let from = self.live(file);
        match fs::copy(&from, to) {
            // check says so where it matters.
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

/// Makes main.cf and master.cf a minute old. Postfix's programs read a file that was
/// changed this moment again and again, for seconds, until it has settled.
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
        // A refusal leaves nothing behind; a directory that holds more stays.
        let _ = fs::remove_dir_all(&self.copies);
        if let Some(keeper) = &self.keeper {
            let _ = fs::remove_dir(keeper);
        }
    }
}

/// Ends the last line of a copy. postconf(1) would write on that line otherwise.
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

/// The name under which a file's new content is written first.
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

fn remove(directory: &Path) -> Result<(), WiringError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(WiringError::file(directory, "removed")(error))
        }
        _ => Ok(()),
    }
}

/// A new directory for this process alone.
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
