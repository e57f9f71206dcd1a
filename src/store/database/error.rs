//! The errors of the store, each with its remedy.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter};

use super::settings::{NEWEST_SCHEMA, StoreSettings};

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
    #[error(
        "{place}: no database is there; restore the backup, or make a new one by kmc init, or by init where the KMS is external"
    )]
    Empty {
        /// The database, as `StoreSettings::place` names it.
        place: String,
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
    #[error("{place}: {cause}{}", cause.remedy())]
    Database {
        /// The database, as `StoreSettings::place` names it.
        place: String,
        /// The database's error.
        cause: DatabaseError,
    },
    /// A newer version of this program made the database.
    #[error(
        "{}: its schema is version {found}, this program knows up to version {known}; \
         use the program that made it, or restore the backup from before",
        place
    )]
    Schema {
        /// The database, as `StoreSettings::place` names it.
        place: String,
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
    #[error(
        "{place}: opened without the audit log's key, so nothing can be changed; give the master secret"
    )]
    NoChainKey {
        /// The database, as `StoreSettings::place` names it.
        place: String,
    },
    /// The audit log's chain passed to the key of another master secret.
    #[error(
        "{}: the audit log's key does not open with this master secret: after a change by \
         kms-gateway secret rewrap give the new one",
        place
    )]
    OtherChainKey {
        /// The database, as `StoreSettings::place` names it.
        place: String,
    },
    /// Another process has the store open.
    #[error(
        "{place}: another process uses the database; stop serve on each machine that uses it (a \
         killed one may count for half a minute more), wait for other kms-gateway commands, and try again"
    )]
    InUse {
        /// The database, as `StoreSettings::place` names it.
        place: String,
    },
    /// Another process changes the secrets, and has the store alone.
    #[error("{place}: another process changes the secrets; try again when it has ended")]
    SecretsBeingChanged {
        /// The database, as `StoreSettings::place` names it.
        place: String,
    },
    /// The change is made, but the replaced content may still be in the file.
    #[error(
        "{}: the change is made, but old content may still be in the file: {cause}; mend that and \
         give the same command again",
        place
    )]
    NotScrubbed {
        /// The database, as `StoreSettings::place` names it.
        place: String,
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

    /// Whether the database is damaged, so that nothing more may be put into it.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Whether the check of the database was interrupted.
    pub(super) fn is_interruption(&self) -> bool {
        matches!(self, Self::Database { cause, .. } if cause.is_interruption())
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
    /// PostgreSQL failed, or can't be reached.
    #[error("{message}")]
    Postgresql {
        /// SQLSTATE, if the server answered.
        code: Option<String>,
        /// The reason in words.
        message: String,
    },
    /// The gateway does not use such a server, or can't log in, for this reason.
    #[error("{0}")]
    Refused(String),
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

impl From<tokio_postgres::Error> for DatabaseError {
    /// Leaves out the details, which may repeat a row.
    fn from(error: tokio_postgres::Error) -> Self {
        let code = error.code().map(|code| code.code().to_owned());
        let message = match error.as_db_error() {
            Some(own) => format!("{} (SQLSTATE {})", own.message(), own.code().code()),
            None => {
                let first: Option<&dyn Error> = Some(&error);
                let causes = iter::successors(first, |error| (*error).source());
                let causes: Vec<String> = causes.map(ToString::to_string).collect();
                causes.join(": ")
            }
        };
        Self::Postgresql { code, message }
    }
}

impl DatabaseError {
    /// The error of a server that does not answer.
    pub(super) fn no_answer(within: Duration) -> Self {
        let message = format!("no answer within {} s", within.as_secs());
        Self::Postgresql {
            code: None,
            message,
        }
    }

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
        self.sqlite_code() == Some(SQLITE_BUSY) || self.sqlstate() == Some(LOCK_NOT_AVAILABLE)
    }

    /// Whether a row breaks a constraint. The connection is still good then.
    fn is_constraint(&self) -> bool {
        self.sqlite_code() == Some(SQLITE_CONSTRAINT)
            || self
                .sqlstate()
                .is_some_and(|code| code.starts_with(INTEGRITY_CONSTRAINT))
    }

    /// Whether a session does not know the name of a prepared statement, or knows it already.
    pub(super) fn is_about_prepared_statement(&self) -> bool {
        matches!(self.sqlstate(), Some("26000" | "42P05"))
    }

    /// Whether the statement was interrupted.
    pub(super) fn is_interruption(&self) -> bool {
        self.sqlite_code() == Some(SQLITE_INTERRUPT)
    }

    /// Whether the file is no database of SQLite's.
    pub(super) fn is_no_database(&self) -> bool {
        self.sqlite_code() == Some(SQLITE_NOTADB)
    }

    /// Whether SQLite found the file damaged.
    pub(super) fn is_damage(&self) -> bool {
        self.sqlite_code() == Some(SQLITE_CORRUPT)
    }

    /// The remedy for the failure, if the engine's code shows one.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => self.remedy_of_sqlite(),
            Self::Postgresql { code, .. } => remedy_of_postgresql(code.as_deref()),
            Self::Content(_) => {
                "; the database holds what this program doesn't write: restore the backup"
            }
            Self::Refused(_) | Self::Encode(_) => "",
        }
    }

    /// By SQLite's result code (sqlite.org/rescode.html).
    fn remedy_of_sqlite(&self) -> &'static str {
        match self.sqlite_code() {
            Some(SQLITE_BUSY) => "; another process keeps the database locked: end it",
            Some(SQLITE_READONLY) => "; make the file and its directory writable for the gateway",
            Some(SQLITE_IOERR) => "; look for disk errors in the system's log",
            Some(SQLITE_CORRUPT) => "; the file is damaged: restore the backup",
            Some(SQLITE_FULL) => "; make room on the file system",
            Some(SQLITE_CANTOPEN) => "; see that the path exists and the gateway may open it",
            Some(SQLITE_NOTADB) => "; name another path or move the file away",
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

    fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Postgresql { code, .. } => code.as_deref(),
            _ => None,
        }
    }
}

/// By SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html). Its first two characters are
/// the class.
fn remedy_of_postgresql(code: Option<&str>) -> &'static str {
    let Some(code) = code else {
        return "; see that the server runs, and that the gateway can reach it";
    };
    match (code, code.get(..2)) {
        ("53100", _) => "; make room on the server's disk",
        ("3D000", _) => "; make the database, as docs/mail-admin.md says",
        ("25006", _) => "; no host may be written to: see which one is the primary",
        (LOCK_NOT_AVAILABLE, _) => "; another transaction holds the lock: see pg_stat_activity",
        ("42501" | "42P01", _) => "; the gateway's role must own the tables",
        (_, Some("28")) => "; see pg_hba.conf, store.postgresql.user and password_file",
        (_, Some("08" | "57")) => "; see that the server runs, and that the gateway can reach it",
        _ => "",
    }
}

/// SQLSTATE of a lock that was not free in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Class of a row that breaks a constraint.
const INTEGRITY_CONSTRAINT: &str = "23";

const SQLITE_BUSY: i32 = 5;
const SQLITE_READONLY: i32 = 8;
const SQLITE_INTERRUPT: i32 = 9;
const SQLITE_IOERR: i32 = 10;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_CONSTRAINT: i32 = 19;
const SQLITE_NOTADB: i32 = 26;

/// A failure inside a transaction. [`StoreError`] adds the place of the database.
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
    /// Another process has changed the secrets since the store was opened.
    SecretsChanged,
    /// Another process has brought the schema to a version that this program can't use.
    Schema(i64),
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    /// The error with the place of the database.
    pub(crate) fn of(self, settings: &StoreSettings) -> StoreError {
        let place = settings.place();
        match self {
            Self::Database(cause) => StoreError::Database { place, cause },
            Self::NoChainKey => StoreError::NoChainKey { place },
            Self::SecretsChanged => StoreError::OtherChainKey { place },
            Self::Schema(found) => StoreError::Schema {
                place,
                found,
                known: NEWEST_SCHEMA,
            },
            Self::Crowded(reason) => StoreError::Crowded { reason },
            Self::NoRoom(free) => StoreError::NoRoom {
                path: settings.path.clone(),
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

    /// Whether the database works and the change was refused for another reason.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Crowded(_) | Self::NoRoom(_) | Self::NoChainKey => true,
            Self::Database(_) | Self::SecretsChanged | Self::Schema(_) => false,
        }
    }

    /// Whether the connection must be closed. It is still good after a lock held by another process
    /// and after a row that breaks a constraint.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            Self::Database(error) => !error.is_busy() && !error.is_constraint(),
            Self::Full { .. } | Self::Crowded(_) | Self::NoRoom(_) | Self::NoChainKey => false,
            // The next one begins with another look at both.
            Self::SecretsChanged | Self::Schema(_) => true,
        }
    }
}
