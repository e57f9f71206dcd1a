//! Reads a command's input: a file, or standard input for `-`.

use std::{
    fs,
    io::{self, BufRead, BufReader, ErrorKind, Read},
    os::fd::AsFd,
    path::Path,
};

use zeroize::Zeroizing;

use super::CommandError;

/// In bytes; more than any message or file of records.
const LIMIT: u64 = 128 * 1024 * 1024;

/// In bytes; more than any passphrase, key or registration.
const SECRET_LIMIT: usize = 64 * 1024;

/// Reads a file, or standard input for `-`, up to [`LIMIT`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    open(path)?
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CommandError::file(path, "read", &error))?;
    if bytes.len() as u64 > LIMIT {
        let limit = LIMIT / 1024 / 1024;
        let problem = format_args!("larger than {limit} MiB; give a smaller file");
        return Err(CommandError::at(path, problem));
    }
    Ok(bytes)
}

/// Reads a secret from a file, or from standard input for `-`. It uses neither a
/// vector that grows nor the buffer of standard input: both would leave copies of
/// the secret behind.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let opened = if path == Path::new("-") {
        io::stdin().as_fd().try_clone_to_owned().map(fs::File::from)
    } else {
        fs::File::open(path)
    };
    let mut bytes = Zeroizing::new(vec![0; SECRET_LIMIT + 1]);
    let length = opened
        .and_then(|mut file| fill(&mut file, &mut bytes))
        .map_err(|error| CommandError::file(path, "read", &error))?;
    if length > SECRET_LIMIT {
        let limit = SECRET_LIMIT / 1024;
        let problem = format_args!("larger than {limit} KiB; give the file with the secret alone");
        return Err(CommandError::at(path, problem));
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Reads a secret text in UTF-8, as [`read_secret`] does.
pub(super) fn read_secret_text(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    let bytes = read_secret(path)?;
    std::str::from_utf8(&bytes)
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| CommandError::at(path, "not a text in UTF-8; give another file"))
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &mut fs::File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Opens a file, or standard input for `-`, for reading piece by piece.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, CommandError> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = fs::File::open(path).map_err(|error| CommandError::file(path, "read", &error))?;
    Ok(Box::new(BufReader::new(file)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_secret_is_read_whole_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for length in [0, 1, SECRET_LIMIT] {
            fs::write(&path, vec![7; length]).unwrap();
            assert_eq!(*read_secret(&path).unwrap(), vec![7; length]);
        }
        fs::write(&path, vec![7; SECRET_LIMIT + 1]).unwrap();
        let error = read_secret(&path).unwrap_err().to_string();
        assert!(error.contains("larger than 64 KiB"), "{error}");
        fs::write(&path, [0xFF]).unwrap();
        let error = read_secret_text(&path).unwrap_err().to_string();
        assert!(error.contains("UTF-8"), "{error}");
    }
}
