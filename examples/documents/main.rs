//! Writes the documents that come from the code into a directory: man pages and
//! shell completions. `scripts/package` runs it; the gateway's program has none
//! of it in it.

use std::{env, error::Error, path::PathBuf};

mod manual;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: documents DIRECTORY".into());
    };
    manual::write_to(&PathBuf::from(directory))?;
    Ok(())
}
