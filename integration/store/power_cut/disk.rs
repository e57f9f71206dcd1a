//! A disk that loses its power: from what a program did to its files, and the
//! moment of the cut, a state that the files may be in afterwards. What was
//! synced is there. Of what wasn't, any part may be.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::Write,
    os::unix::{
        ffi::OsStringExt,
        fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use fastrand::Rng;

use crate::harness::Call;

/// A disk writes a sector whole or not at all, if it keeps its promises.
const SECTOR: usize = 512;

/// The changes of a program to the files below a directory.
pub struct Disk {
    root: PathBuf,
    /// The files, by their numbers.
    files: Vec<Content>,
    /// The names and the changes of them. A file system keeps their order.
    names: Vec<Named>,
    names_before: BTreeMap<PathBuf, Name>,
    syncs_of_names: Vec<(PathBuf, Sync)>,
    /// The names as they are after the last call that was seen.
    now: BTreeMap<PathBuf, Name>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    File(usize),
    Directory,
}

#[derive(Default)]
struct Content {
    before: Vec<u8>,
    changes: Vec<Change>,
    syncs: Vec<Sync>,
    /// How much was written without saying where.
    appended: usize,
}

/// When something was asked for and done, in lines of strace's output.
#[derive(Clone, Copy)]
struct Times {
    began: usize,
    ended: usize,
}

type Sync = Times;

impl Times {
    fn is_begun_by(self, cut: usize) -> bool {
        self.began < cut
    }

    /// Whether it was done before the newest sync began that was done itself.
    fn is_synced_by(self, newest_sync: usize) -> bool {
        self.ended < newest_sync
    }
}

/// When the newest of these syncs began that was done before the cut; 0 for none.
fn newest_sync<'a>(cut: usize, syncs: impl IntoIterator<Item = &'a Sync>) -> usize {
    let done = syncs.into_iter().filter(|sync| sync.ended < cut);
    done.map(|sync| sync.began).max().unwrap_or(0)
}

struct Change {
    times: Times,
    what: What,
}

enum What {
    Written { at: usize, bytes: Vec<u8> },
    Cut { length: usize },
}

struct Named {
    times: Times,
    directory: PathBuf,
    what: Naming,
}

enum Naming {
    Made(PathBuf, Name),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Name>) {
        match self {
            Self::Made(path, name) => drop(names.insert(path.clone(), *name)),
            Self::Renamed(from, to) => {
                if let Some(name) = names.remove(from) {
                    names.insert(to.clone(), name);
                }
            }
            Self::Removed(path) => drop(names.remove(path)),
        }
    }
}

/// How likely each write that is not synced is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Luck(pub f64);

/// Files and directories after a cut.
pub struct State {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    directories: BTreeSet<PathBuf>,
}

impl Disk {
    /// The files below `root` as they are now, all of them synced.
    pub fn new(root: &Path) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            files: Vec::new(),
            names: Vec::new(),
            names_before: BTreeMap::new(),
            syncs_of_names: Vec::new(),
            now: BTreeMap::new(),
        };
        disk.read(root);
        disk.names_before = disk.now.clone();
        disk
    }

    fn read(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                self.now.insert(path.clone(), Name::Directory);
                self.read(&path);
            } else if self.counts(&path) {
                self.now.insert(path.clone(), Name::File(self.files.len()));
                self.files.push(Content {
                    before: fs::read(&path).expect("a file"),
                    ..Content::default()
                });
            }
        }
    }

    /// SQLite shares memory by one of its files and never reads that after a
    /// crash; the logs are the test's.
    fn counts(&self, path: &Path) -> bool {
        let ignored = ["-shm", ".log", ".trace"];
        let name = path.to_str().expect("a path in UTF-8");
        path.starts_with(&self.root) && !ignored.iter().any(|end| name.ends_with(end))
    }

    /// Takes in what a call did.
    pub fn see(&mut self, call: &Call<'_>) {
        let times = Times {
            began: call.began,
            ended: call.ended,
        };
        if call.result().is_none_or(|result| result < 0) {
            return;
        }
        match call.name {
            "openat" => self.see_open(call, times),
            "mkdir" => self.see_name(Naming::Made(path(call, 0), Name::Directory), times),
            "rename" | "renameat" | "renameat2" => {
                self.see_name(Naming::Renamed(path(call, 0), path(call, 1)), times);
            }
            "unlink" | "unlinkat" | "rmdir" => {
                self.see_name(Naming::Removed(path(call, 0)), times);
            }
            "pwrite64" | "ftruncate" | "fdatasync" | "fsync" | "write" => {
                self.see_content(call, times);
            }
            "read" => {}
            other => {
                let is_ours = call.file().is_some_and(|file| self.counts(Path::new(file)));
                assert!(!is_ours, "{other} is not understood here");
            }
        }
    }

    fn see_open(&mut self, call: &Call<'_>, times: Times) {
        let path = path(call, 0);
        let (_, flags) = call.strings();
        if !self.counts(&path) || !flags.contains("O_CREAT") {
            return;
        }
        assert!(!flags.contains("O_TRUNC"), "not understood here");
        if !self.now.contains_key(&path) {
            self.see_name(Naming::Made(path, Name::File(self.files.len())), times);
            self.files.push(Content::default());
        }
    }

    fn see_name(&mut self, what: Naming, times: Times) {
        let (Naming::Made(path, _) | Naming::Renamed(path, _) | Naming::Removed(path)) = &what;
        if !self.counts(path) {
            return;
        }
        let directory = path.parent().expect("a directory").to_owned();
        what.apply(&mut self.now);
        self.names.push(Named {
            times,
            directory,
            what,
        });
    }

    fn see_content(&mut self, call: &Call<'_>, times: Times) {
        let Some(path) = call.file().map(PathBuf::from) else {
            return;
        };
        let name = self.now.get(&path);
        let is_sync = matches!(call.name, "fdatasync" | "fsync");
        if is_sync && (path == self.root || name == Some(&Name::Directory)) {
            return self.syncs_of_names.push((path, times));
        }
        // Nobody finds a file again that has no name any more.
        let Some(Name::File(number)) = name else {
            return;
        };
        let file = &mut self.files[*number];
        let what = match call.name {
            _ if is_sync => return file.syncs.push(times),
            "ftruncate" => What::Cut {
                length: last_number(call),
            },
            "pwrite64" => What::Written {
                at: last_number(call),
                bytes: written(call),
            },
            _ => What::Written {
                at: file.appended,
                bytes: written(call),
            },
        };
        if let ("write", What::Written { bytes, .. }) = (call.name, &what) {
            file.appended += bytes.len();
        }
        file.changes.push(Change { times, what });
    }

    /// The lines after those at which a name was made or changed.
    pub fn changes_of_names(&self) -> Vec<usize> {
        let after = self.names.iter().map(|named| named.times.ended + 1);
        after.collect()
    }

    /// The lines after those at which a file of this ending was made longer.
    pub fn growth(&self, ending: &str) -> Vec<usize> {
        let mut growth = Vec::new();
        for (path, name) in &self.now {
            let Name::File(number) = name else { continue };
            if !path.to_str().is_some_and(|path| path.ends_with(ending)) {
                continue;
            }
            let file = &self.files[*number];
            let mut length = file.before.len();
            for change in &file.changes {
                let end = change.what.end(length);
                if end > length && matches!(change.what, What::Written { .. }) {
                    growth.push(change.times.ended + 1);
                }
                length = end;
            }
        }
        growth
    }

    /// A state after a cut before this line.
    pub fn state(&self, cut: usize, luck: Luck, rng: &mut Rng) -> State {
        let mut state = State {
            files: BTreeMap::new(),
            directories: BTreeSet::new(),
        };
        for (path, name) in self.names_at(cut, luck, rng) {
            match name {
                Name::Directory => drop(state.directories.insert(path)),
                Name::File(number) => {
                    let content = self.files[number].at(cut, luck, rng);
                    state.files.insert(path, content);
                }
            }
        }
        state
    }

    /// Those of the changes that are synced, and some of those that follow.
    fn names_at(&self, cut: usize, luck: Luck, rng: &mut Rng) -> BTreeMap<PathBuf, Name> {
        let is_synced = |named: &Named| {
            let own = |(directory, _): &&(PathBuf, Sync)| *directory == named.directory;
            let syncs = self.syncs_of_names.iter().filter(own);
            let newest_sync = newest_sync(cut, syncs.map(|(_, sync)| sync));
            named.times.is_synced_by(newest_sync)
        };
        let is_begun = |named: &&Named| named.times.is_begun_by(cut);
        let synced = self
            .names
            .iter()
            .rposition(is_synced)
            .map_or(0, |last| last + 1);
        let begun = self.names.iter().take_while(is_begun).count().max(synced);
        let mut kept = synced;
        while kept < begun && rng.f64() < luck.0 {
            kept += 1;
        }
        let mut names = self.names_before.clone();
        self.names[..kept]
            .iter()
            .for_each(|named| named.what.apply(&mut names));
        names
    }
}

impl Content {
    /// The newest write is the one that a cut tears most likely.
    fn at(&self, cut: usize, luck: Luck, rng: &mut Rng) -> Vec<u8> {
        let mut content = self.before.clone();
        let is_begun = |change: &&Change| change.times.is_begun_by(cut);
        let begun: Vec<&Change> = self.changes.iter().filter(is_begun).collect();
        let newest = begun.len().saturating_sub(1);
        let newest_sync = newest_sync(cut, &self.syncs);
        for (number, change) in begun.into_iter().enumerate() {
            if change.times.is_synced_by(newest_sync) {
                change.what.apply_whole(&mut content);
            } else if number == newest && rng.bool() {
                change.what.apply_torn(&mut content, rng);
            } else if rng.f64() < luck.0 {
                change.what.apply_whole(&mut content);
            } else {
                change.what.apply_torn(&mut content, rng);
            }
        }
        content
    }
}

impl What {
    /// The file's length after it.
    fn end(&self, length: usize) -> usize {
        match self {
            Self::Written { at, bytes } => length.max(at + bytes.len()),
            Self::Cut { length } => *length,
        }
    }

    fn apply_whole(&self, content: &mut Vec<u8>) {
        content.resize(self.end(content.len()), 0);
        if let Self::Written { at, bytes } = self {
            content[*at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Lost, or a part of it is written: up to a byte, up to a sector, sectors
    /// anywhere, or the length alone.
    fn apply_torn(&self, content: &mut Vec<u8>, rng: &mut Rng) {
        let Self::Written { at, bytes } = self else {
            return;
        };
        let mut put = |from: usize, to: usize| {
            let end = content.len().max(at + to);
            content.resize(end, 0);
            content[at + from..at + to].copy_from_slice(&bytes[from..to]);
        };
        let length = bytes.len();
        match rng.u8(..6) {
            0 => {}
            1 | 2 => put(0, rng.usize(..=length)),
            3 => put(0, rng.usize(..=length / SECTOR) * SECTOR),
            4 => {
                for from in (0..length).step_by(SECTOR) {
                    if rng.bool() {
                        put(from, length.min(from + SECTOR));
                    }
                }
            }
            _ => put(length, length),
        }
    }
}

impl State {
    /// Puts the files in the place of whatever is below this directory; `root`
    /// is where they were.
    pub fn write(&self, root: &Path, to: &Path) {
        let _ = fs::remove_dir_all(to);
        make_directory(to);
        let moved = |path: &Path| to.join(path.strip_prefix(root).expect("below the root"));
        for directory in &self.directories {
            make_directory(&moved(directory));
        }
        for (path, content) in &self.files {
            // Its directory may be lost while its own name isn't.
            if let Ok(mut file) = new_file(&moved(path)) {
                file.write_all(content).expect("a file");
            }
        }
    }
}

fn new_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

fn make_directory(path: &Path) {
    fs::create_dir(path).expect("a directory");
    fs::set_permissions(path, Permissions::from_mode(0o700)).expect("its mode");
}

/// A path among the strings of a call.
fn path(call: &Call<'_>, place: usize) -> PathBuf {
    let (mut strings, _) = call.strings();
    PathBuf::from(OsString::from_vec(strings.swap_remove(place)))
}

/// The bytes of a write that the kernel took.
fn written(call: &Call<'_>) -> Vec<u8> {
    let (strings, _) = call.strings();
    let mut bytes = strings.concat();
    bytes.truncate(usize::try_from(call.result().unwrap_or(0)).unwrap_or(0));
    bytes
}

fn last_number(call: &Call<'_>) -> usize {
    let (arguments, _) = call.arguments.rsplit_once(')').expect("a call's end");
    let (_, last) = arguments.rsplit_once(", ").expect("two arguments");
    last.trim_end().parse().expect("a number")
}
