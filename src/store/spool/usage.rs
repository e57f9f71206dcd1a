//! The bounds of the spool.

use crate::policy::Requester;
use crate::store::database::{
    Changes, Connection, DatabaseError, Failure, Store, StoreError, room,
};
use crate::store::throttle::shares;

/// Amount of requests and replies in the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolUsage {
    /// Requests without their final result.
    pub requests: u64,
    /// Replies not yet delivered to all their targets.
    pub(crate) replies: u64,
    /// Bytes of both.
    pub(crate) bytes: u64,
}

impl Store {
    /// The amount of requests and replies in the spool.
    pub async fn spool_usage(&self) -> Result<SpoolUsage, StoreError> {
        self.read(usage).await
    }

    /// Checks whether a small request would be taken now. Takes the way of a change, but writes
    /// nothing.
    ///
    /// # Errors
    /// Those of [`Store::accept`].
    pub(crate) async fn require_room(&self) -> Result<(), StoreError> {
        self.change(|changes| {
            room::require(0, changes)?;
            require(1, 0, changes)
        })
        .await
    }
}

/// Fails if so many messages, of this size together, are beyond the bounds of the spool.
pub(super) fn require(
    messages: u64,
    size: usize,
    changes: &mut Changes<'_>,
) -> Result<(), Failure> {
    let usage = usage(changes.connection)?;
    let held = usage.requests + usage.replies;
    let bytes = usage.bytes;
    if held.saturating_add(messages) > changes.settings.max_requests
        || bytes.saturating_add(size as u64) > changes.settings.max_bytes
    {
        return Err(Failure::Full { held, bytes });
    }
    Ok(())
}

/// Reads the counts.
pub(super) fn usage(connection: &mut Connection) -> Result<SpoolUsage, DatabaseError> {
    let row = connection.one("SELECT requests, replies, bytes FROM spool_usage", &[])?;
    Ok(SpoolUsage {
        requests: row.get("requests")?,
        replies: row.get("replies")?,
        bytes: row.get("bytes")?,
    })
}

/// A message in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spooled {
    Request,
    Reply,
}

/// Counts a message that was added, in the spool and in the shares of strangers. The requester and
/// the network are the request's.
pub(super) fn add(
    what: Spooled,
    size: i64,
    requester: Requester,
    network: Option<&str>,
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    count(what, 1, size, connection)?;
    shares::take(requester, network, size, connection)
}

/// Takes back what [`add`] counted with the same arguments, when the message is removed.
pub(super) fn remove(
    what: Spooled,
    size: i64,
    requester: Requester,
    network: Option<&str>,
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    count(what, -1, -size, connection)?;
    shares::give_back(requester, network, size, connection)
}

fn count(
    what: Spooled,
    messages: i64,
    bytes: i64,
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    let statement = match what {
        Spooled::Request => "UPDATE spool_usage SET requests = requests + $1, bytes = bytes + $2",
        Spooled::Reply => "UPDATE spool_usage SET replies = replies + $1, bytes = bytes + $2",
    };
    connection.execute(statement, &[&messages, &bytes])?;
    Ok(())
}
