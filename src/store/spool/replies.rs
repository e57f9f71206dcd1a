//! Finished replies and notices on their way into the spool.

use jiff::Timestamp;
use sqlx::sqlite::{Sqlite, SqliteConnection, SqliteRow};
use sqlx::types::Text;
use sqlx::{QueryBuilder, Row};

use crate::audit::{Entry, Event};
use crate::mail::NoticeCode;
use crate::policy::Requester;
use crate::request_id::RequestId;
use crate::store::database::{Changes, Moment, moment, text};

/// A reply ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FinishedReply {
    /// The whole message. Each attempt sends the same bytes.
    pub(crate) message: Vec<u8>,
    /// Reverse path of the envelope, empty for null.
    pub(crate) reverse_path: String,
    /// The addresses it goes to, each by a transaction of its own.
    pub(crate) targets: Vec<String>,
    /// The notice that a target gets first if the reply can't be handed over for long. None if no
    /// notice is wanted.
    pub(crate) late_notice: Option<Vec<u8>>,
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
    pub(super) fn read(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            request: text(row, "request_id")?,
            queue_id: row.try_get("queue_id")?,
            accepted_at: moment(row, "accepted_at")?,
            requester: text(row, "requester")?,
            network: row.try_get("network")?,
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

/// Puts a finished reply on its way. A reply without targets is dropped.
pub(super) async fn insert(
    reply: &FinishedReply,
    kind: ReplyKind,
    of: &Answered,
    at: Timestamp,
    changes: &mut Changes<'_>,
) -> sqlx::Result<()> {
    if reply.targets.is_empty() {
        return Ok(());
    }
    let row = insert_message(reply, kind, of, at, changes.connection).await?;
    let mut deliveries = QueryBuilder::<Sqlite>::new(
        "INSERT OR IGNORE INTO deliveries (reply, target, waits_since, waits_until, notified) ",
    );
    let has_no_notice = reply.late_notice.is_none();
    deliveries.push_values(&reply.targets, |mut values, target| {
        values
            .push_bind(row)
            .push_bind(target)
            .push_bind(Moment(at))
            .push_bind(Moment(at))
            .push_bind(has_no_notice);
    });
    deliveries.build().execute(&mut *changes.connection).await?;
    changes.due.deliveries += reply.targets.len();
    Ok(())
}

/// Stores the message of a reply without a delivery. Returns its row.
pub(super) async fn insert_message(
    reply: &FinishedReply,
    kind: ReplyKind,
    of: &Answered,
    at: Timestamp,
    connection: &mut SqliteConnection,
) -> sqlx::Result<i64> {
    let late_notice = reply.late_notice.as_deref();
    let size = reply.message.len() + late_notice.map_or(0, <[u8]>::len);
    let inserted = sqlx::query(
        "INSERT INTO replies (request_id, queue_id, accepted_at, completed_at, reverse_path,
             size, message, late_notice, requester, network, kind, sender, sender_path, client)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
             (SELECT sender FROM requests WHERE id = ?1),
             (SELECT reverse_path FROM requests WHERE id = ?1),
             (SELECT client FROM requests WHERE id = ?1))",
    )
    .bind(Text(of.request))
    .bind(&of.queue_id)
    .bind(Moment(of.accepted_at))
    .bind(Moment(at))
    .bind(&reply.reverse_path)
    .bind(size as i64)
    .bind(reply.message.as_slice())
    .bind(late_notice)
    .bind(of.requester.as_str())
    .bind(&of.network)
    .bind(kind.as_str())
    .execute(connection)
    .await?;
    Ok(inserted.last_insert_rowid())
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
