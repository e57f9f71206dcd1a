//! Reads what a command is given: a file, or standard input for `-`.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use super::CommandError;

/// More than any message or file of records that a command is for.
const LIMIT: u64 = 128 * 1024 * 1024;

/// The bytes of `path`, or of standard input if it is `-`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let read = if path == Path::new("-") {
        read_limited(io::stdin().lock())
    } else {
        fs::File::open(path).and_then(read_limited)
    };
    let bytes = read.map_err(|error| CommandError::file(path, "read", &error))?;
    if bytes.len() as u64 > LIMIT {
        return Err(CommandError::Other(format!(
            "{}: larger than {} MiB; give a smaller file",
            path.display(),
            LIMIT / 1024 / 1024
        )));
    }
    Ok(bytes)
}

/// The same to be read bit by bit.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, CommandError> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = fs::File::open(path).map_err(|error| CommandError::file(path, "read", &error))?;
    Ok(Box::new(BufReader::new(file)))
}

fn read_limited(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
