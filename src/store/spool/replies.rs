//! Finished replies and notices on their way into the spool.

use jiff::Timestamp;

use super::usage::{self, Spooled};
use crate::audit::{Entry, Event};
use crate::mail::NoticeCode;
use crate::policy::Requester;
use crate::request_id::RequestId;
use crate::store::database::{Changes, Connection, DatabaseError, Row, Text};

/// A reply ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FinishedReply {
    /// The whole message. Each attempt sends the same bytes.
    pub(crate) message: Vec<u8>,
    /// Reverse path of the envelope, empty for null.
    pub(crate) reverse_path: String,
    /// The addresses it goes to, each by a transaction of its own.
    pub(crate) targets: Vec<String>,
}

/// The request that a reply is for.
pub(super) struct Answered {
    pub(super) request: RequestId,
    pub(super) queue_id: String,
    pub(super) accepted_at: Timestamp,
    pub(super) requester: Requester,
    /// The client's network.
    pub(super) network: Option<String>,
}

impl Answered {
    /// Reads a row of requests or of replies.
    pub(super) fn read(row: &Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            request: row.text("request_id")?,
            queue_id: row.get("queue_id")?,
            accepted_at: row.get("accepted_at")?,
            requester: row.text("requester")?,
            network: row.get("network")?,
        })
    }

    /// An audit entry of the request.
    pub(super) fn entry(&self, at: Timestamp, event: Event) -> Entry {
        Entry {
            queue_id: Some(self.queue_id.clone()),
            request_id: Some(self.request.to_string()),
            ..Entry::new(at, event)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyKind {
    /// The final result is a success.
    Success,
    /// The final result is an error.
    Error,
    /// The result comes later.
    Notice,
}

impl ReplyKind {
    /// The kind of a final result, by its word in the audit log.
    pub(super) fn of_result(result: Option<&str>) -> Self {
        match result {
            Some("Success") => Self::Success,
            _ => Self::Error,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Notice => "notice",
        }
    }
}

/// Puts a finished reply on its way. A reply without targets is dropped. `notified` if no notice
/// goes before it, however late it is.
pub(super) fn insert(
    reply: &FinishedReply,
    kind: ReplyKind,
    notified: bool,
    of: &Answered,
    at: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<(), DatabaseError> {
    if reply.targets.is_empty() {
        return Ok(());
    }
    let row = insert_message(reply, kind, of, at, changes.connection)?;
    for target in &reply.targets {
        insert_delivery(row, target, at, at, notified, None, changes.connection)?;
    }
    changes.due.deliveries += reply.targets.len();
    Ok(())
}

/// Stores the message of a reply without a delivery. Returns its row.
pub(super) fn insert_message(
    reply: &FinishedReply,
    kind: ReplyKind,
    of: &Answered,
    at: Timestamp,
    connection: &mut Connection,
) -> Result<i64, DatabaseError> {
    let size = reply.message.len() as i64;
    let row = connection.insert(
        "INSERT INTO replies (request_id, queue_id, accepted_at, completed_at, reverse_path,
             size, message, requester, network, kind, sender, sender_path, client)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
             (SELECT sender FROM requests WHERE id = $1),
             (SELECT reverse_path FROM requests WHERE id = $1),
             (SELECT client FROM requests WHERE id = $1))",
        &[
            &Text(of.request),
            &of.queue_id,
            &of.accepted_at,
            &at,
            &reply.reverse_path,
            &size,
            &reply.message,
            &of.requester.as_str(),
            &of.network,
            &kind.as_str(),
        ],
    )?;
    usage::add(
        Spooled::Reply,
        size,
        of.requester,
        of.network.as_deref(),
        connection,
    )?;
    Ok(row)
}

/// Puts the reply in this row on its way to a target, unless it is on its way there already. It
/// comes last of the target's replies, unless `place` says otherwise. `notified` if no notice goes
/// before it.
pub(super) fn insert_delivery(
    reply: i64,
    target: &str,
    since: Timestamp,
    until: Timestamp,
    notified: bool,
    place: Option<i64>,
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    connection.execute(
        "INSERT INTO deliveries (reply, target, waits_since, waits_until, notified, place, turn)
         VALUES ($1, $2, $3, $4, $5,
             coalesce($6, (SELECT max(place) + 2 FROM deliveries WHERE target = $2), 2),
             CASE WHEN EXISTS (SELECT 1 FROM deliveries
                 WHERE target = $2 AND place < coalesce($6, place + 1)) THEN 0 ELSE 1 END)
         ON CONFLICT (reply, target) DO NOTHING",
        &[&reply, &target, &since, &until, &notified, &place],
    )?;
    Ok(())
}

/// Deletes the reply in this row if it is on its way to no target any more. False if it is.
pub(super) fn remove_delivered(
    row: i64,
    connection: &mut Connection,
) -> Result<bool, DatabaseError> {
    let removed = connection.execute(
        "DELETE FROM replies
         WHERE sequence = $1 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE reply = $1)",
        &[&row],
    )?;
    Ok(removed > 0)
}

/// The word for a notice in the audit log.
pub(super) const NOTICE: &str = "Notice";

/// The audit entry of a notice that the result comes later.
pub(super) fn notified(of: &Answered, target: Option<String>, at: Timestamp) -> Entry {
    Entry {
        target,
        result: Some(NOTICE.to_owned()),
        code: Some(NoticeCode::Deferred.to_string()),
        ..of.entry(at, Event::Postponed)
    }
}
