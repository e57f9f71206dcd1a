//! The errors of the store, each with its remedy.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::settings::StoreSettings;

/// An error of the store. It can be cloned, because requests that share a commit share its
/// failure.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The spool's bounds are reached.
    #[error(
        "the spool is full: {requests} of {max_requests} requests, {bytes} of {max_bytes} bytes"
    )]
    Full {
        /// Requests and replies in the spool.
        requests: u64,
        /// Limit of requests and replies.
        max_requests: u64,
        /// Bytes in the spool.
        bytes: u64,
        /// Limit of bytes.
        max_bytes: u64,
    },
    /// Too little room is left on the file system for more requests.
    #[error(
        "{}: {free} bytes left on its file system, and store.min_free_bytes keeps {reserve}; \
         make room there", path.display()
    )]
    NoRoom {
        /// The database file.
        path: PathBuf,
        /// Bytes left there, and free inside the file.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// No room is left in a share of strangers.
    #[error("not taken for now: {reason}")]
    Crowded {
        /// The share and its content.
        reason: String,
    },
    /// The database is missing or empty.
    #[error("{}: no database is there; restore the backup, or make a new one by kmc init, or by init where the KMS is external", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The database is damaged.
    #[error("{}: the database is damaged: {found}; restore the backup, as docs/mail-admin.md says", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// First fault found.
        found: String,
    },
    /// The database failed.
    #[error("{}: {cause}{}", path.display(), cause.remedy())]
    Database {
        /// The database file.
        path: PathBuf,
        /// The database's error.
        cause: DatabaseError,
    },
    /// A newer version of this program made the database.
    #[error(
        "{}: its schema is version {found}, this program knows up to version {known}; \
         use the program that made it, or restore the backup from before", path.display()
    )]
    Schema {
        /// The database file.
        path: PathBuf,
        /// The version found.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// The file is no database of this program.
    #[error("{}: not a database of this program; name another path, or restore the backup if it was one", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// Other users may read or write the file or directory.
    #[error(
        "{}: mode {mode:04o} lets others in; chmod {wanted:04o} it or choose a directory of the gateway's own",
        path.display()
    )]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// The mode found.
        mode: u32,
        /// The mode to set.
        wanted: u32,
    },
    /// The file system failed.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Action that failed.
        action: &'static str,
        /// Error of the operating system.
        cause: Arc<io::Error>,
    },
    /// A change must be audited, and the store was opened without the audit log's key.
    #[error("{}: opened without the audit log's key, so nothing can be changed; give the master secret", path.display())]
    NoChainKey {
        /// The database file.
        path: PathBuf,
    },
    /// The audit log's chain passed to the key of another master secret.
    #[error(
        "{}: the audit log's key does not open with this master secret: after a change by \
         kms-gateway secret rewrap give the new one", path.display()
    )]
    OtherChainKey {
        /// The database file.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error(
        "{}: another process uses the database; stop serve, wait for other kms-gateway commands, \
         and try again", path.display()
    )]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// Another process changes the secrets, and has the store alone.
    #[error("{}: another process changes the secrets; try again when it has ended", path.display())]
    SecretsBeingChanged {
        /// The database file.
        path: PathBuf,
    },
    /// The change is made, but the replaced content may still be in the file.
    #[error(
        "{}: the change is made, but old content may still be in the file: {cause}; mend that and \
         give the same command again", path.display()
    )]
    NotScrubbed {
        /// The database file.
        path: PathBuf,
        /// Reason why it was not removed.
        cause: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the store works and only lacks room for new mail. Waiting helps then.
    pub(crate) fn is_lack_of_room(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoRoom { .. })
    }

    /// Whether the database works but holds a value that this program doesn't write.
    pub(crate) fn is_about_content(&self) -> bool {
        let Self::Database { cause, .. } = self else {
            return false;
        };
        matches!(cause, DatabaseError::Content(_))
    }
}

/// A failure of the database itself, or a value in it that this program doesn't write.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// SQLite failed.
    #[error("{0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// The database holds what this program doesn't write.
    #[error("{0}")]
    Content(String),
    /// A value that can't be written.
    #[error("{0}")]
    Encode(String),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl DatabaseError {
    /// The error of a value that this program doesn't write. Names the column and not the value.
    pub(crate) fn content(fault: impl ToString) -> Self {
        Self::Content(fault.to_string())
    }

    /// The error of a value that can't be written.
    pub(crate) fn encode(fault: impl ToString) -> Self {
        Self::Encode(fault.to_string())
    }

    /// Whether another process holds the lock.
    pub(crate) fn is_busy(&self) -> bool {
        self.sqlite_code() == Some(SQLITE_BUSY)
    }

    /// Whether the file is no database of SQLite's.
    pub(super) fn is_no_database(&self) -> bool {
        self.sqlite_code() == Some(SQLITE_NOTADB)
    }

    /// Whether SQLite found the file damaged.
    pub(super) fn is_damage(&self) -> bool {
        self.sqlite_code() == Some(SQLITE_CORRUPT)
    }

    /// The remedy for the failure, if SQLite's result code shows one (sqlite.org/rescode.html).
    pub(crate) fn remedy(&self) -> &'static str {
        match (self.sqlite_code(), self) {
            (Some(SQLITE_BUSY), _) => "; another process keeps the database locked: end it",
            (Some(SQLITE_READONLY), _) => {
                "; make the file and its directory writable for the gateway"
            }
            (Some(SQLITE_IOERR), _) => "; look for disk errors in the system's log",
            (Some(SQLITE_CORRUPT), _) => "; the file is damaged: restore the backup",
            (Some(SQLITE_FULL), _) => "; make room on the file system",
            (Some(SQLITE_CANTOPEN), _) => "; see that the path exists and the gateway may open it",
            (Some(SQLITE_NOTADB), _) => "; name another path or move the file away",
            (_, Self::Content(_)) => {
                "; the database holds what this program doesn't write: restore the backup"
            }
            _ => "",
        }
    }

    /// SQLite's result code without its extension.
    fn sqlite_code(&self) -> Option<i32> {
        let Self::Sqlite(error) = self else {
            return None;
        };
        let code = error.sqlite_error()?.extended_code;
        Some(code & 0xff)
    }
}

const SQLITE_BUSY: i32 = 5;
const SQLITE_READONLY: i32 = 8;
const SQLITE_IOERR: i32 = 10;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_CONSTRAINT: i32 = 19;
const SQLITE_NOTADB: i32 = 26;

/// A failure inside a transaction. [`StoreError`] adds the path.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The database failed, or gave a value that this program doesn't write.
    Database(DatabaseError),
    /// The spool's bounds are reached. It holds so many requests and replies, and bytes.
    Full { held: u64, bytes: u64 },
    /// No room is left in a share of strangers: its name and what it holds.
    Crowded(String),
    /// Too few bytes are left on the file system: so many.
    NoRoom(u64),
    /// The store was opened without the audit log's key.
    NoChainKey,
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    /// The error with the path of the database.
    pub(crate) fn of(self, settings: &StoreSettings) -> StoreError {
        let path = settings.path.clone();
        match self {
            Self::Database(cause) => StoreError::Database { path, cause },
            Self::NoChainKey => StoreError::NoChainKey { path },
            Self::Crowded(reason) => StoreError::Crowded { reason },
            Self::NoRoom(free) => StoreError::NoRoom {
                path,
                free,
                reserve: settings.min_free_bytes,
            },
            Self::Full { held, bytes } => StoreError::Full {
                requests: held,
                max_requests: settings.max_requests,
                bytes,
                max_bytes: settings.max_bytes,
            },
        }
    }

    /// Whether another process holds the lock.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_busy())
    }

    /// Whether the connection must be closed. It is still good after a lock held by another process
    /// and after a row that breaks a constraint.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            Self::Database(error) => {
                !matches!(error.sqlite_code(), Some(SQLITE_BUSY | SQLITE_CONSTRAINT))
            }
            Self::Full { .. } | Self::Crowded(_) | Self::NoRoom(_) | Self::NoChainKey => false,
        }
    }
}
