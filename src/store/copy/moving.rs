//! Moves a store to another engine, or copies one that is in use into a file.

use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::content::{Content, Copied, require_empty};
use super::error::CopyError;
use super::side::Side;
use crate::audit::ChainKey;
use crate::store::audit::log;
use crate::store::database::{
    Check, Connection, Failure, Sharing, StoreError, StoreSettings, begin_filling, cannot,
    give_to_owner, open, sqlite, with_former,
};
use crate::store::partial_file::PartialFile;

/// Moves everything to a database that holds nothing yet. No other process may use either. All of
/// it is there afterwards, and its audit log verifies, or nothing is.
///
/// # Errors
/// [`CopyError`], each with its remedy.
pub(crate) async fn move_store(
    from: StoreSettings,
    to: StoreSettings,
    chain_key: ChainKey,
) -> Result<Copied, CopyError> {
    let moving = spawn_blocking(move || moved(&from, &to, chain_key));
    moving.await.unwrap_or(Err(StoreError::Closed.into()))
}

fn moved(
    from: &StoreSettings,
    to: &StoreSettings,
    chain_key: ChainKey,
) -> Result<Copied, CopyError> {
    let mut opened = open(from, Check::Whole, Sharing::Alone)?;
    let chain_key = with_former(chain_key, &mut opened.connection, from)?;
    let mut source = Side::of(opened.connection, from);
    source.run(|connection| connection.begin_reading_alone(from))?;
    let source = Source {
        content: Content::of(&mut source)?,
        side: source,
        chain_key,
    };
    match to.postgresql {
        Some(_) => source.into_server(to),
        None => source.into_new_file(to),
    }
}

/// A database that is to be moved, in a transaction.
struct Source<'a> {
    side: Side<'a>,
    content: Content,
    chain_key: ChainKey,
}

impl Source<'_> {
    fn into_server(mut self, to: &StoreSettings) -> Result<Copied, CopyError> {
        let mut target = Side::of(begin_filling(to)?, to);
        require_empty(&mut target)?;
        let copied = self.copy(&mut target)?;
        target.commit()?;
        self.side.end();
        Ok(copied)
    }

    fn into_new_file(mut self, to: &StoreSettings) -> Result<Copied, CopyError> {
        let _in_use = sqlite::open::claim(to)?;
        refuse_files(&to.path)?;
        let file = PartialFile::create(&to.path)?;
        give_to_owner(file.path(), &to.path).map_err(cannot("give away", file.path()))?;
        let partial = StoreSettings {
            path: file.path().to_owned(),
            ..to.clone()
        };
        let mut target = filling(&partial)?;
        let copied = self.copy(&mut target)?;
        target.commit()?;
        file.finish()?;
        self.side.end();
        Ok(copied)
    }

    /// Copies everything, and verifies the audit log that arrived.
    fn copy(&mut self, target: &mut Side<'_>) -> Result<Copied, CopyError> {
        let copied = self.content.copy(&mut self.side, target)?;
        let verified = target.run(|connection| log::verify(connection, &self.chain_key, None))?;
        verified.map_err(|broken| CopyError::Broken {
            place: self.side.place(),
            broken,
        })?;
        Ok(copied)
    }
}

/// Copies a database, as it is at one moment, into an empty file that nobody else uses. Others go on
/// reading and writing meanwhile.
pub(in crate::store) fn copy_into_file(from: &StoreSettings, file: &Path) -> Result<(), CopyError> {
    let failed = |error| Failure::from(error).of(from);
    let mut source = Side::of(Connection::reading(from).map_err(failed)?, from);
    source.run(|connection| connection.begin_reading())?;
    let content = Content::of(&mut source)?;
    let to = StoreSettings::new(file);
    let mut target = filling(&to)?;
    content.copy(&mut source, &mut target)?;
    target.commit()?;
    source.end();
    Ok(())
}

/// Begins the transaction that fills an empty SQLite file.
fn filling(to: &StoreSettings) -> Result<Side<'_>, StoreError> {
    let mut target = Side::of(sqlite::open::blank(to)?, to);
    target.run(|connection| connection.begin(to))?;
    Ok(target)
}

/// Refuses a database, and what is left of one: SQLite would take it for a part of the new one.
fn refuse_files(path: &Path) -> Result<(), CopyError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut file = path.to_owned().into_os_string();
        file.push(suffix);
        let file = PathBuf::from(file);
        if file.symlink_metadata().is_ok() {
            return Err(CopyError::FileExists(file));
        }
    }
    Ok(())
}
