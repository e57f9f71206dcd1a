//! An operator's order to try again now.

use super::values::{ToRetry, WaitsEnded};
use crate::audit::{Entry, Event};
use crate::store::audit::order::Order;
use crate::store::database::{Changes, Due, Failure, Store, StoreError, Text};
use crate::store::spool::wait::waits_for_allowance;

impl Store {
    /// Ends waits at an operator's order. Leaves alone the rows that a worker has. Ends waits for
    /// an allowance only if that is ordered, since their senders get more than they are allowed.
    pub(crate) async fn retry(
        &self,
        what: ToRetry,
        order: Order,
    ) -> Result<WaitsEnded, StoreError> {
        self.change(move |changes| retry(&what, &order, changes))
            .await
    }
}

/// Ends waits, but not leases.
const REQUESTS: &str = concat!(
    "UPDATE requests SET waits_since = $1, waits_until = $1
     WHERE (id = $2 OR $2 IS NULL) AND waits_until > $1 AND ($3 = 1 AND ",
    waits_for_allowance!(),
    " OR EXISTS (
         SELECT 1 FROM request_troubles WHERE request = sequence AND attempt = attempts))"
);

const DELIVERIES: &str = "UPDATE deliveries SET waits_since = $1, waits_until = $1
     WHERE (reply IN (SELECT sequence FROM replies WHERE request_id = $2) OR $2 IS NULL)
         AND waits_until > $1 AND (attempts = 0 OR EXISTS (
             SELECT 1 FROM delivery_troubles WHERE delivery = sequence AND attempt = attempts))";

const LEFT: &str = concat!(
    "SELECT count(*) FROM requests WHERE (id = $2 OR $2 IS NULL) AND ",
    waits_for_allowance!()
);

/// A port in trouble is tried at once.
const PORTS: &str = "UPDATE port_troubles SET waits_until = $1 WHERE waits_until > $1";

fn retry(what: &ToRetry, order: &Order, changes: &mut Changes<'_>) -> Result<WaitsEnded, Failure> {
    let connection = &mut *changes.connection;
    let (now, request) = (order.at, what.request.map(Text));
    let ended = WaitsEnded {
        requests: connection.execute(REQUESTS, &[&now, &request, &what.throttled])?,
        replies: connection.execute(DELIVERIES, &[&now, &request])?,
        throttled: connection.scalar(LEFT, &[&now, &request])?,
        port: connection.execute(PORTS, &[&now])? > 0,
    };
    changes.due = Due::ANYTHING;
    // An order that changed nothing is not audited.
    if ended.requests + ended.replies > 0 || ended.port {
        let throttled = what.throttled;
        let entry = Entry {
            request_id: what.request.map(|id| id.to_string()),
            count: Some(ended.requests + ended.replies),
            detail: throttled.then(|| "waits for an allowance too".to_owned()),
            ..order.entry(Event::Retried)
        };
        changes.audit(entry)?;
    }
    Ok(ended)
}
