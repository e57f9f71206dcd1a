//! Everything that waits, and the story of one request.

use jiff::{SignedDuration, Timestamp};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::types::Text;

use super::names::entries_of;
use super::values::{Attempted, QueueState, Queued, RequestStory, SpooledMessage, Waits};
use crate::request_id::RequestId;
use crate::store::database::{Moment, Store, StoreError, moment, optional_text, text};
use crate::store::spool::troubles::{self, Of, Trouble};
use crate::store::spool::wait::Wait;

impl Store {
    /// Everything that waits: requests for their answers, replies and notices for their hand-over,
    /// each target by itself. Ordered by acceptance.
    pub async fn queue(&self, now: Timestamp) -> Result<Vec<Queued>, StoreError> {
        self.read(move |connection| Box::pin(queue(now, connection)))
            .await
    }

    /// Everything that is known of a request, at one moment.
    pub(crate) async fn request_story(
        &self,
        request: RequestId,
        now: Timestamp,
    ) -> Result<RequestStory, StoreError> {
        self.read(move |connection| Box::pin(story(request, now, connection)))
            .await
    }
}

/// The header of a message: up to the empty line, or 64 KiB.
macro_rules! header {
    () => {
        "substr(message, 1, min(65536,
             iif(instr(message, x'0D0A0D0A') = 0, 65536, instr(message, x'0D0A0D0A') + 1)))"
    };
}

/// Everything that waits, of one request or of all, ordered by acceptance.
const QUEUE: &str = concat!(
    "SELECT 0 AS is_reply, sequence, id AS request_id, queue_id, accepted_at,
         reverse_path AS whom, client, rule, attempts, waits_since, waits_until, turn,
         (SELECT id FROM requests AS front WHERE front.sender = requests.sender AND turn = 1)
             AS front,
         attempt, at, trouble, ",
    header!(),
    " AS header
     FROM requests JOIN request_messages AS own ON own.request = sequence
     LEFT JOIN request_troubles AS last ON last.request = sequence
         AND attempt = (
             SELECT max(attempt) FROM request_troubles AS own WHERE own.request = sequence)
     WHERE ?1 IS NULL OR id = ?1
     UNION ALL
     SELECT 1, deliveries.sequence, request_id, queue_id, accepted_at,
         target, client, NULL, attempts, waits_since, waits_until, turn,
         (SELECT request_id FROM deliveries AS front
              JOIN replies AS first ON first.sequence = front.reply
          WHERE front.target = deliveries.target AND front.turn = 1),
         attempt, at, trouble, ",
    header!(),
    " FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
     LEFT JOIN delivery_troubles ON delivery = deliveries.sequence
         AND attempt = (
             SELECT max(attempt) FROM delivery_troubles AS own
             WHERE own.delivery = deliveries.sequence)
     WHERE ?1 IS NULL OR request_id = ?1
     ORDER BY accepted_at, request_id, is_reply, sequence"
);

async fn queue(now: Timestamp, connection: &mut SqliteConnection) -> sqlx::Result<Vec<Queued>> {
    let rows = rows(None, connection).await?;
    rows.iter().map(|row| read(row, now)).collect()
}

async fn story(
    request_id: RequestId,
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> sqlx::Result<RequestStory> {
    let mut waiting = Vec::new();
    for row in &rows(Some(request_id), connection).await? {
        let sequence = row.try_get("sequence")?;
        let of = match row.try_get("is_reply")? {
            true => Of::Delivery(sequence),
            false => Of::Request(sequence),
        };
        waiting.push(Attempted {
            queued: read(row, now)?,
            troubles: troubles::of(of, connection).await?,
        });
    }
    Ok(RequestStory {
        request_id,
        waiting,
        message: message(request_id, connection).await?,
        entries: entries_of(request_id, connection).await?,
    })
}

async fn rows(
    request_id: Option<RequestId>,
    connection: &mut SqliteConnection,
) -> sqlx::Result<Vec<SqliteRow>> {
    sqlx::query(QUEUE)
        .bind(request_id.map(Text))
        .fetch_all(connection)
        .await
}

fn read(row: &SqliteRow, now: Timestamp) -> sqlx::Result<Queued> {
    let whom = row.try_get("whom")?;
    let what = match row.try_get("is_reply")? {
        true => Waits::Reply { target: whom },
        false => Waits::Request { reverse_path: whom },
    };
    let last_trouble = match row.try_get("attempt")? {
        None => None,
        Some(attempt) => Some(Trouble {
            attempt,
            at: moment(row, "at")?,
            text: row.try_get("trouble")?,
        }),
    };
    Ok(Queued {
        request_id: text(row, "request_id")?,
        queue_id: row.try_get("queue_id")?,
        accepted_at: moment(row, "accepted_at")?,
        state: state(row, &what, last_trouble.as_ref(), now)?,
        what,
        client: optional_text(row, "client")?,
        rule: row.try_get("rule")?,
        attempts: row.try_get("attempts")?,
        last_trouble,
        header: row.try_get("header")?,
    })
}

fn state(
    row: &SqliteRow,
    what: &Waits,
    last_trouble: Option<&Trouble>,
    now: Timestamp,
) -> sqlx::Result<QueueState> {
    let attempts: u32 = row.try_get("attempts")?;
    let was_given_back = last_trouble.is_some_and(|trouble| trouble.attempt == attempts);
    let behind = match row.try_get("turn")? {
        true => None,
        false => optional_text(row, "front")?,
    };
    let until = moment(row, "waits_until")?;
    let Moment(clock_was_set_back) = Wait::of(now, SignedDuration::ZERO).clock_was_set_back;
    let waits = until > now && moment(row, "waits_since")? <= clock_was_set_back;
    Ok(match (attempts, behind) {
        (1.., _) if waits && !was_given_back => QueueState::InWork { until },
        (_, Some(request_id)) => QueueState::Behind { request_id },
        _ if !waits => QueueState::Due,
        // As `waits_for_allowance` says.
        (0, None) if matches!(what, Waits::Request { .. }) => QueueState::Throttled { until },
        _ => QueueState::PutOff { until },
    })
}

async fn message(
    request_id: RequestId,
    connection: &mut SqliteConnection,
) -> sqlx::Result<Option<SpooledMessage>> {
    let row = sqlx::query(
        "SELECT client, reverse_path, message
         FROM requests JOIN request_messages ON request = sequence WHERE id = ?",
    )
    .bind(Text(request_id))
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(SpooledMessage {
            client: optional_text(&row, "client")?,
            reverse_path: row.try_get("reverse_path")?,
            message: row.try_get("message")?,
        })
    })
    .transpose()
}
