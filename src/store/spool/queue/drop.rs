//! Drops requests or replies at an operator's order. The audit log has each.

use std::collections::HashMap;

use jiff::Timestamp;

use super::values::{Dropped, DroppedAll, ToDrop, ToDropAll};
use crate::audit::{Entry, Event};
use crate::request_id::RequestId;
use crate::store::audit::order::Order;
use crate::store::database::{
    Bind, Changes, Connection, DatabaseError, Due, Failure, Row, Store, StoreError, Text, places,
};
use crate::store::spool::deliveries;
use crate::store::spool::requests::{self, EndingRequest};
use crate::store::spool::wait::{is_in_work, waits_for_allowance};

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
        self.change(move |changes| drop_one(&what, &order, changes))
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
        self.change(move |changes| drop_all(&what, &order, changes))
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

impl Waiting {
    fn read(row: &Row) -> Result<Self, DatabaseError> {
        let until = row.get("waits_until")?;
        Ok(Self {
            row: row.get("sequence")?,
            queue_id: row.get("queue_id")?,
            target: row.get("target")?,
            attempts: row.get("attempts")?,
            in_work: row.get::<bool>("is_in_work")?.then_some(until),
        })
    }
}

fn drop_one(what: &ToDrop, order: &Order, changes: &mut Changes<'_>) -> Result<Dropped, Failure> {
    let id = what.request_id;
    let mut waiting = deliveries_of(&[id], order.at, changes.connection)?;
    let mut deliveries = waiting.remove(id.as_bytes()).unwrap_or_default();
    let was_unanswered = is_unanswered(id, changes.connection)?;
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
        order,
    };
    if drops_request {
        dropping.drop_request(false, changes)?;
    }
    for waiting in &deliveries {
        dropping.drop_delivery(waiting, changes)?;
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

fn is_unanswered(id: RequestId, connection: &mut Connection) -> Result<bool, DatabaseError> {
    connection.scalar(
        "SELECT EXISTS (SELECT 1 FROM requests WHERE id = $1)",
        &[&Text(id)],
    )
}

fn drop_all(
    what: &ToDropAll,
    order: &Order,
    changes: &mut Changes<'_>,
) -> Result<DroppedAll, Failure> {
    let mut waiting = deliveries_of(&what.requests, order.at, changes.connection)?;
    let mut dropped = DroppedAll::default();
    for &request_id in &what.requests {
        let deliveries = waiting.remove(request_id.as_bytes()).unwrap_or_default();
        if deliveries.iter().any(|waiting| waiting.in_work.is_some()) {
            dropped.in_work += 1;
            continue;
        }
        let dropping = Dropping {
            request_id,
            reason: &what.reason,
            order,
        };
        let was_unanswered = dropping.drop_request(what.only_throttled, changes)?;
        if !was_unanswered && (what.only_throttled || deliveries.is_empty()) {
            dropped.gone += 1;
            continue;
        }
        dropped.requests += u64::from(was_unanswered);
        for waiting in &deliveries {
            dropping.drop_delivery(waiting, changes)?;
            dropped.replies += 1;
        }
    }
    changes.due = Due::ANYTHING;
    Ok(dropped)
}

fn deliveries_of(
    requests: &[RequestId],
    now: Timestamp,
    connection: &mut Connection,
) -> Result<HashMap<[u8; 16], Vec<Waiting>>, DatabaseError> {
    let list = format!(
        concat!(
            "SELECT request_id, deliveries.sequence, queue_id, target, attempts, waits_until, ",
            is_in_work!(),
            " AS is_in_work
             FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
             WHERE request_id IN ({ids}) ORDER BY deliveries.sequence"
        ),
        ids = places(2, requests.len())
    );
    let ids: Vec<_> = requests.iter().map(|id| Text(*id)).collect();
    let mut values: Vec<&dyn Bind> = vec![&now];
    values.extend(ids.iter().map(|id| id as &dyn Bind));
    let mut waiting: HashMap<[u8; 16], Vec<Waiting>> = HashMap::new();
    for row in &connection.all(&list, &values)? {
        let id: RequestId = row.text("request_id")?;
        let of_request = waiting.entry(*id.as_bytes()).or_default();
        of_request.push(Waiting::read(row)?);
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
    fn drop_request(
        &self,
        only_throttled: bool,
        changes: &mut Changes<'_>,
    ) -> Result<bool, Failure> {
        const FIND: &str = concat!(
            "SELECT sequence, id AS request_id, queue_id, accepted_at, attempts, sender, size,
                 requester, network
             FROM requests WHERE id = $2 AND ($3 = 0 OR ",
            waits_for_allowance!(),
            ")"
        );
        let found = changes.connection.optional(
            FIND,
            &[&self.order.at, &Text(self.request_id), &only_throttled],
        )?;
        let Some(row) = found else {
            return Ok(false);
        };
        let request = EndingRequest::read(&row)?;
        requests::remove(&request, changes)?;
        let entry = Entry {
            attempts: Some(row.get("attempts")?),
            ..self.entry(request.of.queue_id)
        };
        changes.audit(entry)?;
        Ok(true)
    }

    fn drop_delivery(&self, waiting: &Waiting, changes: &mut Changes<'_>) -> Result<(), Failure> {
        deliveries::remove(waiting.row, changes)?;
        let entry = Entry {
            target: Some(waiting.target.clone()),
            attempts: Some(waiting.attempts),
            ..self.entry(waiting.queue_id.clone())
        };
        changes.audit(entry)
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
