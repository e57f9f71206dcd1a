//! Everything that waits, and the story of one request.

use jiff::Timestamp;

use super::names::entries_of;
use super::values::{Attempted, QueueState, Queued, RequestStory, SpooledMessage, Waits};
use crate::request_id::RequestId;
use crate::store::database::{Connection, DatabaseError, Row, Store, StoreError, Text};
use crate::store::spool::troubles::{self, Of, Trouble};
use crate::store::spool::wait::Wait;

impl Store {
    /// Everything that waits: requests for their answers, replies and notices for their hand-over,
    /// each target by itself. Ordered by acceptance.
    pub async fn queue(&self, now: Timestamp) -> Result<Vec<Queued>, StoreError> {
        self.read(move |connection| queue(now, connection)).await
    }

    /// Everything that is known of a request, at one moment.
    pub(crate) async fn request_story(
        &self,
        request: RequestId,
        now: Timestamp,
    ) -> Result<RequestStory, StoreError> {
        self.read(move |connection| story(request, now, connection))
            .await
    }
}

/// Everything that waits, of one request or of all, ordered by acceptance. Reads the first
/// 64 KiB of each message, for its header.
const QUEUE: &str = "SELECT false AS is_reply, sequence, id AS request_id, queue_id, accepted_at,
         reverse_path AS whom, client, rule, node, attempts, waits_since, waits_until, turn,
         (SELECT id FROM requests AS front WHERE front.sender = requests.sender AND turn = 1)
             AS front,
         attempt, at, trouble, substr(message, 1, 65536) AS beginning
     FROM requests JOIN request_messages AS own ON own.request = sequence
     LEFT JOIN request_troubles AS last ON last.request = sequence
         AND attempt = (
             SELECT max(attempt) FROM request_troubles AS own WHERE own.request = sequence)
     WHERE id = $1 OR $1 IS NULL
     UNION ALL
     SELECT true, deliveries.sequence, request_id, queue_id, accepted_at,
         target, client, NULL, node, attempts, waits_since, waits_until, turn,
         (SELECT request_id FROM deliveries AS front
              JOIN replies AS first ON first.sequence = front.reply
          WHERE front.target = deliveries.target AND front.turn = 1),
         attempt, at, trouble, substr(message, 1, 65536)
     FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
     LEFT JOIN delivery_troubles ON delivery = deliveries.sequence
         AND attempt = (
             SELECT max(attempt) FROM delivery_troubles AS own
             WHERE own.delivery = deliveries.sequence)
     WHERE request_id = $1 OR $1 IS NULL
     ORDER BY accepted_at, request_id, is_reply, sequence";

fn queue(now: Timestamp, connection: &mut Connection) -> Result<Vec<Queued>, DatabaseError> {
    // Of each row only the header is kept: there may be thousands.
    let mut queued = Vec::new();
    connection.each(QUEUE, &[&None::<Text<RequestId>>], |row| {
        queued.push(read(&row, now)?);
        Ok(())
    })?;
    Ok(queued)
}

fn story(
    request_id: RequestId,
    now: Timestamp,
    connection: &mut Connection,
) -> Result<RequestStory, DatabaseError> {
    let mut waiting = Vec::new();
    for row in &connection.all(QUEUE, &[&Some(Text(request_id))])? {
        let sequence = row.get("sequence")?;
        let of = match row.get("is_reply")? {
            true => Of::Delivery(sequence),
            false => Of::Request(sequence),
        };
        waiting.push(Attempted {
            queued: read(row, now)?,
            troubles: troubles::of(of, connection)?,
        });
    }
    Ok(RequestStory {
        request_id,
        waiting,
        message: message(request_id, connection)?,
        entries: entries_of(request_id, connection)?,
    })
}

fn read(row: &Row, now: Timestamp) -> Result<Queued, DatabaseError> {
    let whom = row.get("whom")?;
    let what = match row.get("is_reply")? {
        true => Waits::Reply { target: whom },
        false => Waits::Request { reverse_path: whom },
    };
    let last_trouble = match row.get("attempt")? {
        None => None,
        Some(attempt) => Some(Trouble {
            attempt,
            at: row.get("at")?,
            text: row.get("trouble")?,
        }),
    };
    let beginning: Vec<u8> = row.get("beginning")?;
    let state = state(row, &what, last_trouble.as_ref(), now)?;
    Ok(Queued {
        request_id: row.text("request_id")?,
        queue_id: row.get("queue_id")?,
        accepted_at: row.get("accepted_at")?,
        state,
        what,
        client: row.optional_text("client")?,
        rule: row.get("rule")?,
        node: holder(row, state)?,
        attempts: row.get("attempts")?,
        last_trouble,
        header: header_of(&beginning).to_vec(),
    })
}

fn state(
    row: &Row,
    what: &Waits,
    last_trouble: Option<&Trouble>,
    now: Timestamp,
) -> Result<QueueState, DatabaseError> {
    let attempts: u32 = row.get("attempts")?;
    let was_given_back = last_trouble.is_some_and(|trouble| trouble.attempt == attempts);
    let behind = match row.get("turn")? {
        true => None,
        false => row.optional_text("front")?,
    };
    let until: Timestamp = row.get("waits_until")?;
    let waits = until > now && row.get::<Timestamp>("waits_since")? <= Wait::void_after(now);
    Ok(match (attempts, behind) {
        (1.., _) if waits && !was_given_back => QueueState::InWork { until },
        (_, Some(request_id)) => QueueState::Behind { request_id },
        _ if !waits => QueueState::Due,
        // As `waits_for_allowance` says.
        (0, None) if matches!(what, Waits::Request { .. }) => QueueState::Throttled { until },
        _ => QueueState::PutOff { until },
    })
}

/// The gateway that has what is in work. None if it has no name.
fn holder(row: &Row, state: QueueState) -> Result<Option<String>, DatabaseError> {
    let node: Option<String> = match state {
        QueueState::InWork { .. } => row.get("node")?,
        _ => None,
    };
    Ok(node.filter(|node| !node.is_empty()))
}

/// The header in the beginning of a message: up to the empty line, or all of it.
fn header_of(beginning: &[u8]) -> &[u8] {
    let is_end = |four: &[u8]| four == b"\r\n\r\n";
    match beginning.windows(4).position(is_end) {
        Some(end) => beginning.get(..end + 2).unwrap_or(beginning),
        None => beginning,
    }
}

fn message(
    request_id: RequestId,
    connection: &mut Connection,
) -> Result<Option<SpooledMessage>, DatabaseError> {
    let row = connection.optional(
        "SELECT client, reverse_path, message
         FROM requests JOIN request_messages ON request = sequence WHERE id = $1",
        &[&Text(request_id)],
    )?;
    row.map(|row| {
        Ok(SpooledMessage {
            client: row.optional_text("client")?,
            reverse_path: row.get("reverse_path")?,
            message: row.get("message")?,
        })
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::header_of;

    #[test]
    fn the_header_ends_before_the_first_empty_line() {
        let header = b"Subject: one\r\nTo: two\r\n";
        let message = [header, b"\r\nbody\r\n\r\nmore".as_slice()].concat();
        assert_eq!(header_of(&message), header);
        assert_eq!(header_of(b"\r\n\r\nbody"), b"\r\n");
        // A header that is longer than what was read, and messages without an empty line.
        for whole in [header.as_slice(), b"Subject: one\r\n\nTo", b"\r\n", b""] {
            assert_eq!(header_of(whole), whole);
        }
    }
}
