//! The reasons why nothing was copied, each with its remedy.

use std::path::PathBuf;

use crate::audit::BrokenAt;
use crate::store::StoreError;
use crate::store::partial_file::PartialFileError;

/// The reason why nothing was copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CopyError {
    /// The target is not empty.
    #[error(
        "{place}: tables hold rows already: {found}; nothing was copied; move that database away, \
         or name another"
    )]
    Taken {
        /// The database that holds rows already.
        place: String,
        /// Those tables with their numbers of rows.
        found: String,
    },
    /// A file of a database is where the target shall be.
    #[error(
        "{}: is there already; nothing was copied; move the database away with all its files, or \
         name another in store.path",
        .0.display()
    )]
    FileExists(PathBuf),
    /// The audit log does not verify.
    #[error("{place}: {broken}; nothing was copied; see audit verify")]
    Broken {
        /// The database that was to be copied.
        place: String,
        /// The first bad entry.
        broken: BrokenAt,
    },
    /// The target differs from the source.
    #[error("{place}: {found}; nothing was copied; try again")]
    Differs {
        /// The database that was filled.
        place: String,
        /// The difference, in words.
        found: String,
    },
    /// The file of the target can't be made.
    #[error(transparent)]
    File(#[from] PartialFileError),
    /// One of the databases failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
