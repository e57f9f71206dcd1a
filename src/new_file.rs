//! Writes new files, and new content of files. A crash leaves all of it or nothing,
//! and the names are on disk when a function returns.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// Makes a file with this content and mode (less the umask), synced before this
/// returns. It is written under another name first: `key.pem.partial` for `key.pem`.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if the file exists; nothing is ever
/// overwritten. Any other error as the operating system gives it.
pub(crate) fn create(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(Errno::EXIST.into());
    }
    let partial = partial_name(path);
    // A crash may have left a partial file.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let made = write(&partial, mode, content).and_then(|()| rename(&partial, path));
    if made.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
    }
    made
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".partial");
    PathBuf::from(name)
}

fn write(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Renames a synced file to a name that no other file has, and syncs the name.
///
/// # Errors
/// As [`create`].
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system can't check and rename at once (NFS).
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_err() => {
            fs::rename(from, to)?;
        }
        renamed => renamed?,
    }
    sync(directory_of(to))
}

/// Replaces the content of an existing file. Owner and mode stay. The content is
/// written to `partial` first, in the same directory; a crash may leave that file.
///
/// # Errors
/// As the operating system gives them; the file stays as it was.
pub(crate) fn replace(path: &Path, partial: &Path, content: &[u8]) -> io::Result<()> {
    let write = || -> io::Result<()> {
        let like = fs::metadata(path)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(partial)?;
        fchown(&file, Some(like.uid()), Some(like.gid()))?;
        file.set_permissions(like.permissions())?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(partial, path)
    };
    let written = write();
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(partial);
    }
    written?;
    sync(directory_of(path))
}

/// Makes a directory, and the directories above it that are missing.
pub(crate) fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|directory| !directory.as_os_str().is_empty() && !directory.exists())
        .collect();
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    missing
        .into_iter()
        .try_for_each(|directory| sync(directory_of(directory)))
}

/// Waits until a file, or the names in a directory, are on disk.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory that holds `path`.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_crash_left_of_it_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        fs::write(directory.path().join("new.partial"), "hal").unwrap();
        create(&path, 0o640, b"half and half").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"half and half");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names(directory.path()), ["new"]);
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "mine").unwrap();
        symlink(directory.path().join("nowhere"), &link).unwrap();
        for path in [&file, &link] {
            let refused = create(path, 0o600, b"theirs").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert!(rename(&file, path).is_err());
        }
        let missing = create(&directory.path().join("none/file"), 0o600, b"").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        assert_eq!(names(directory.path()), ["file", "link"]);
    }

    #[test]
    fn directories_are_made_with_those_above_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        create_directory(&path, 0o700).unwrap();
        create_directory(&path, 0o755).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    }
}
