//! An operator's order to drop a request or a reply: an end that is audited.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use sqlx::types::Text;

use super::super::arrivals::Due;
use super::super::columns::Moment;
use super::super::error::Failure;
use super::super::intent::{Changes, Intent};
use super::values::{Dropped, Order, ToDrop};
use crate::audit::{Entry, Event};

/// Drops what of a request waits, all or what goes to one address.
///
/// A request may be dropped while a worker has it: the completion that comes
/// of it finds its lease gone and is refused. A reply may not: Postfix might
/// have it already. Notices go with their requests, for what they promise
/// won't come.
pub(in super::super) struct DropNow {
    pub(in super::super) what: ToDrop,
    pub(in super::super) order: Order,
}

/// A delivery that waits.
struct Waiting {
    row: i64,
    queue_id: String,
    target: String,
    attempts: u32,
    /// Until when a worker has it, if one does.
    in_work: Option<Timestamp>,
}

impl Intent for DropNow {
    type Answer = Dropped;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Dropped, Failure> {
        let mut deliveries = self.deliveries(changes.connection).await?;
        let was_unanswered = self.is_unanswered(changes.connection).await?;
        if let Some(target) = &self.what.target {
            let targets: Vec<String> = targets(&deliveries);
            deliveries.retain(|waiting| waiting.target == *target);
            if deliveries.is_empty() && (was_unanswered || !targets.is_empty()) {
                return Ok(Dropped::NoSuchTarget { targets });
            }
        }
        let in_work = deliveries.iter().find_map(|waiting| {
            let target = waiting.target.clone();
            Some((target, waiting.in_work?))
        });
        if let Some((target, until)) = in_work {
            return Ok(Dropped::InWork { target, until });
        }
        let drops_request = was_unanswered && self.what.target.is_none();
        if !drops_request && deliveries.is_empty() {
            return Ok(Dropped::NotQueued);
        }
        // Of the same sender, or for the same address.
        changes.due = Due::ANYTHING;
        if drops_request {
            self.drop_request(changes).await?;
        }
        for waiting in &deliveries {
            self.drop_delivery(waiting, changes).await?;
        }
        Ok(Dropped::Done {
            was_unanswered: drops_request,
            targets: targets(&deliveries),
        })
    }
}

/// For whom something waits, each once.
fn targets(deliveries: &[Waiting]) -> Vec<String> {
    let mut targets: Vec<String> = Vec::new();
    for waiting in deliveries {
        if !targets.contains(&waiting.target) {
            targets.push(waiting.target.clone());
        }
    }
    targets
}

impl DropNow {
    async fn deliveries(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Waiting>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT deliveries.sequence, queue_id, target, attempts, waits_until,
                 attempts > 0 AND waits_until > ?2 AND NOT EXISTS (
                     SELECT 1 FROM delivery_troubles
                     WHERE delivery = deliveries.sequence AND attempt = attempts) AS is_in_work
             FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
             WHERE request_id = ?1 ORDER BY deliveries.sequence",
        )
        .bind(Text(self.what.request_id))
        .bind(Moment(self.order.at))
        .fetch_all(connection)
        .await?;
        rows.iter()
            .map(|row| {
                let until = row.try_get::<Moment, _>("waits_until")?.0;
                Ok(Waiting {
                    row: row.try_get("sequence")?,
                    queue_id: row.try_get("queue_id")?,
                    target: row.try_get("target")?,
                    attempts: row.try_get("attempts")?,
                    in_work: row.try_get::<bool, _>("is_in_work")?.then_some(until),
                })
            })
            .collect()
    }

    async fn is_unanswered(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT count(*) > 0 FROM requests WHERE id = ?")
            .bind(Text(self.what.request_id))
            .fetch_one(connection)
            .await
    }

    async fn drop_request(&self, changes: &mut Changes<'_>) -> Result<(), Failure> {
        let row = sqlx::query("DELETE FROM requests WHERE id = ? RETURNING queue_id, attempts")
            .bind(Text(self.what.request_id))
            .fetch_one(&mut *changes.connection)
            .await?;
        let entry = Entry {
            attempts: Some(row.try_get("attempts")?),
            ..self.entry(row.try_get("queue_id")?)
        };
        changes.audit(entry).await
    }

    async fn drop_delivery(
        &self,
        waiting: &Waiting,
        changes: &mut Changes<'_>,
    ) -> Result<(), Failure> {
        sqlx::query("DELETE FROM deliveries WHERE sequence = ?")
            .bind(waiting.row)
            .execute(&mut *changes.connection)
            .await?;
        let entry = Entry {
            target: Some(waiting.target.clone()),
            attempts: Some(waiting.attempts),
            ..self.entry(waiting.queue_id.clone())
        };
        changes.audit(entry).await
    }

    fn entry(&self, queue_id: String) -> Entry {
        Entry {
            queue_id: Some(queue_id),
            request_id: Some(self.what.request_id.to_string()),
            reason: Some(self.what.reason.clone()),
            operator: Some(self.order.operator.clone()),
            ..Entry::new(self.order.at, Event::Dropped)
        }
    }
}
