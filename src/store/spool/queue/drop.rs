//! Drops requests or replies at an operator's order. The audit log has each.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::types::Text;
use sqlx::{QueryBuilder, Row};

use super::values::{Dropped, DroppedAll, ToDrop, ToDropAll};
use crate::audit::{Entry, Event};
use crate::request_id::RequestId;
use crate::store::audit::order::Order;
use crate::store::database::{Changes, Due, Failure, Moment, Store, StoreError, moment, text};
use crate::store::spool::wait::waits_for_allowance;

impl Store {
    /// Drops a request and its replies at an operator's order, or only replies to one address. The
    /// identity of the message is kept, so that the same message is not taken again.
    ///
    /// A request may be dropped while a worker has it: the completion finds the lease gone and is
    /// refused. A reply may not, since Postfix might have it already. Notices go with their
    /// requests, since the result that they promise won't come.
    pub(crate) async fn drop_request(
        &self,
        what: ToDrop,
        order: Order,
    ) -> Result<Dropped, StoreError> {
        self.change(|changes| Box::pin(drop_one(what, order, changes)))
            .await
    }

    /// Drops many requests, as [`Store::drop_request`] does one, each with an audit entry of its
    /// own. A request with a reply on its way to Postfix is left alone. All is one transaction:
    /// give at most some hundred at once.
    pub(crate) async fn drop_all(
        &self,
        what: ToDropAll,
        order: Order,
    ) -> Result<DroppedAll, StoreError> {
        self.change(|changes| Box::pin(drop_all(what, order, changes)))
            .await
    }
}

struct Waiting {
    row: i64,
    queue_id: String,
    target: String,
    attempts: u32,
    /// End of the lease, if a worker has it.
    in_work: Option<Timestamp>,
}

async fn drop_one(
    what: ToDrop,
    order: Order,
    changes: &mut Changes<'_>,
) -> Result<Dropped, Failure> {
    let id = what.request_id;
    let mut waiting = deliveries_of(&[id], order.at, changes.connection).await?;
    let mut deliveries = waiting.remove(id.as_bytes()).unwrap_or_default();
    let was_unanswered = is_unanswered(id, changes.connection).await?;
    if let Some(target) = &what.target {
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
    let drops_request = was_unanswered && what.target.is_none();
    if !drops_request && deliveries.is_empty() {
        return Ok(Dropped::NotQueued);
    }
    // The next ones of the sender and for the address.
    changes.due = Due::ANYTHING;
    let dropping = Dropping {
        request_id: id,
        reason: &what.reason,
        order: &order,
    };
    if drops_request {
        dropping.drop_request(false, changes).await?;
    }
    for waiting in &deliveries {
        dropping.drop_delivery(waiting, changes).await?;
    }
    Ok(Dropped::Done {
        was_unanswered: drops_request,
        targets: targets(&deliveries),
    })
}

/// The addresses of deliveries, each once.
fn targets(deliveries: &[Waiting]) -> Vec<String> {
    let mut targets: Vec<String> = Vec::new();
    for waiting in deliveries {
        if !targets.contains(&waiting.target) {
            targets.push(waiting.target.clone());
        }
    }
    targets
}

async fn is_unanswered(id: RequestId, connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT count(*) > 0 FROM requests WHERE id = ?")
        .bind(Text(id))
        .fetch_one(connection)
        .await
}

async fn drop_all(
    what: ToDropAll,
    order: Order,
    changes: &mut Changes<'_>,
) -> Result<DroppedAll, Failure> {
    let mut waiting = deliveries_of(&what.requests, order.at, changes.connection).await?;
    let mut dropped = DroppedAll::default();
    for request_id in what.requests {
        let deliveries = waiting.remove(request_id.as_bytes()).unwrap_or_default();
        if deliveries.iter().any(|waiting| waiting.in_work.is_some()) {
            dropped.in_work += 1;
            continue;
        }
        let dropping = Dropping {
            request_id,
            reason: &what.reason,
            order: &order,
        };
        let was_unanswered = dropping.drop_request(what.only_throttled, changes).await?;
        if !was_unanswered && (what.only_throttled || deliveries.is_empty()) {
            dropped.gone += 1;
            continue;
        }
        dropped.requests += u64::from(was_unanswered);
        for waiting in &deliveries {
            dropping.drop_delivery(waiting, changes).await?;
            dropped.replies += 1;
        }
    }
    changes.due = Due::ANYTHING;
    Ok(dropped)
}

async fn deliveries_of(
    requests: &[RequestId],
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> sqlx::Result<HashMap<[u8; 16], Vec<Waiting>>> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT request_id, deliveries.sequence, queue_id, target, attempts, waits_until,
             attempts > 0 AND waits_until > ",
    );
    query.push_bind(Moment(now)).push(
        " AND NOT EXISTS (
                 SELECT 1 FROM delivery_troubles
                 WHERE delivery = deliveries.sequence AND attempt = attempts) AS is_in_work
         FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
         WHERE request_id IN (",
    );
    let mut ids = query.separated(", ");
    for request in requests {
        ids.push_bind(Text(*request));
    }
    query.push(") ORDER BY deliveries.sequence");
    let mut waiting: HashMap<[u8; 16], Vec<Waiting>> = HashMap::new();
    for row in &query.build().fetch_all(connection).await? {
        let until = moment(row, "waits_until")?;
        let id: RequestId = text(row, "request_id")?;
        waiting.entry(*id.as_bytes()).or_default().push(Waiting {
            row: row.try_get("sequence")?,
            queue_id: row.try_get("queue_id")?,
            target: row.try_get("target")?,
            attempts: row.try_get("attempts")?,
            in_work: row.try_get::<bool, _>("is_in_work")?.then_some(until),
        });
    }
    Ok(waiting)
}

/// An order to drop, for one request.
struct Dropping<'a> {
    request_id: RequestId,
    reason: &'a str,
    order: &'a Order,
}

impl Dropping<'_> {
    /// False if there is no such request. With `only_throttled` the request must wait for an
    /// allowance.
    async fn drop_request(
        &self,
        only_throttled: bool,
        changes: &mut Changes<'_>,
    ) -> Result<bool, Failure> {
        const DROP: &str = concat!(
            "DELETE FROM requests WHERE id = ?2 AND (NOT ?3 OR ",
            waits_for_allowance!(),
            ") RETURNING queue_id, attempts"
        );
        let row = sqlx::query(DROP)
            .bind(Moment(self.order.at))
            .bind(Text(self.request_id))
            .bind(only_throttled)
            .fetch_optional(&mut *changes.connection)
            .await?;
        let Some(row) = row else {
            return Ok(false);
        };
        let entry = Entry {
            attempts: Some(row.try_get("attempts")?),
            ..self.entry(row.try_get("queue_id")?)
        };
        changes.audit(entry).await?;
        Ok(true)
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
            request_id: Some(self.request_id.to_string()),
            reason: Some(self.reason.to_owned()),
            ..self.order.entry(Event::Dropped)
        }
    }
}

#[cfg(test)]
mod tests;
