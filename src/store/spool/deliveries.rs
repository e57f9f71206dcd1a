//! Deliveries: finished replies on their way, each target by itself. Leases them, and holds back
//! while the port is in trouble.

use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};

use super::leases::{self, First, LeaseToken, Leased, Leasing};
use super::replies;
use super::reply_port::{self, PortTrouble, ReplyPort};
use super::usage::{self, Spooled};
use super::wait::Wait;
use crate::policy::Requester;
use crate::request_id::RequestId;
use crate::store::database::{
    Bind, Changes, Connection, DatabaseError, Failure, Idle, Kind, Looked, Row, Store, StoreError,
    Text,
};

/// A reply to be delivered to one target.
#[derive(Clone, Debug)]
pub(crate) struct LeasedDelivery {
    pub(crate) token: LeaseToken<Self>,
    pub(crate) request_id: RequestId,
    /// Postfix's queue id of the request.
    pub(crate) queue_id: String,
    pub(crate) target: String,
    /// Reverse path of the envelope, empty for null.
    pub(crate) reverse_path: String,
    pub(crate) message: Vec<u8>,
    pub(crate) accepted_at: Timestamp,
    /// When the reply was completed. Attempts end a time after this.
    pub(crate) completed_at: Timestamp,
    /// Whether the target can still get a notice that the reply comes later.
    pub(crate) can_be_notified: bool,
    /// Whether it is itself a notice, and the final reply comes later.
    pub(crate) is_notice: bool,
    /// Leases so far, this one included.
    pub(crate) attempts: u32,
    /// The trouble of Postfix's port, if this attempt is to show whether the trouble is over.
    pub(crate) trial: Option<PortTrouble>,
}

impl Leased for LeasedDelivery {
    const RENEW: &'static str = "UPDATE deliveries SET waits_since = $1, waits_until = $2
         WHERE sequence = $3 AND attempts = $4 AND NOT EXISTS (
             SELECT 1 FROM delivery_troubles WHERE delivery = sequence AND attempt = attempts)";

    const LEASE: &'static str = "UPDATE deliveries
         SET attempts = $1, waits_since = $2, waits_until = $3, node = $4 WHERE sequence = $5";
}

impl Store {
    /// Leases a delivery that is due, to be handed over at this port. Replies to one target are
    /// leased in the order of their completion. While the port is in trouble one is leased at a
    /// time, and no sooner than the trouble allows: [`LeasedDelivery::trial`].
    pub(crate) async fn lease_delivery(
        &self,
        leasing: Leasing<LeasedDelivery>,
        port: SocketAddr,
    ) -> Result<Looked<LeasedDelivery>, StoreError> {
        self.change(move |changes| lease(&leasing, port, changes))
            .await
    }

    /// Leases a delivery once one is due: see [`Store::look_when_due`]. `terms` are asked for then,
    /// and so is the port.
    pub(crate) async fn lease_delivery_when_due(
        &self,
        since: Idle,
        terms: impl Fn() -> (Leasing<LeasedDelivery>, SocketAddr) + Send + 'static,
        until: impl Future<Output = ()>,
    ) -> Result<Option<Looked<LeasedDelivery>>, StoreError> {
        let look = move |changes: &mut Changes<'_>| {
            let (leasing, port) = terms();
            lease(&leasing, port, changes)
        };
        self.look_when_due(Kind::Delivery, since, look, until).await
    }

    /// Renews the lease of a delivery, as [`Store::renew`] does that of a request.
    pub(crate) async fn renew_delivery(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        now: Timestamp,
        hold: SignedDuration,
    ) -> Result<bool, StoreError> {
        let token = *token;
        self.change(move |changes| leases::renew(token, now, hold, changes))
            .await
    }
}

/// Leases a delivery that is due at this port.
fn lease(
    leasing: &Leasing<LeasedDelivery>,
    port: SocketAddr,
    changes: &mut Changes<'_>,
) -> Result<Looked<LeasedDelivery>, Failure> {
    let port = ReplyPort::at(port, changes.settings);
    Lease { leasing, port }.apply(changes)
}

/// Leases the next delivery for a task that ends one, as [`super::requests::lease_next`] leases
/// requests.
pub(super) fn lease_next(
    leasing: &Leasing<LeasedDelivery>,
    port: SocketAddr,
    changes: &mut Changes<'_>,
) -> Result<Looked<LeasedDelivery>, Failure> {
    match first_due(changes.connection)? {
        Some(due) if due <= leasing.now => lease(leasing, port, changes),
        first_due => Ok(nothing(first_due, changes)),
    }
}

fn nothing(next_due: Option<Timestamp>, changes: &mut Changes<'_>) -> Looked<LeasedDelivery> {
    changes.due.deliveries = 0;
    Looked::Nothing(changes.idle(next_due))
}

/// When the next delivery at any port falls due, or the lease of one ends.
fn first_due(connection: &mut Connection) -> Result<Option<Timestamp>, DatabaseError> {
    let first = "SELECT min(waits_until) FROM deliveries WHERE turn = 1";
    connection.scalar(first, &[])
}

/// The same at this port, which may be in trouble.
pub(in crate::store) fn next_due(
    port: &ReplyPort,
    now: Timestamp,
    connection: &mut Connection,
) -> Result<Option<Timestamp>, DatabaseError> {
    let Some(next) = first_due(connection)? else {
        return Ok(None);
    };
    let trouble = reply_port::trouble(port, now, connection)?;
    Ok(Some(
        trouble.map_or(next, |trouble| next.max(trouble.until)),
    ))
}

/// Reads a delivery that is due, if the condition holds.
macro_rules! due {
    ($due:literal, $condition:literal) => {
        concat!(
            "SELECT deliveries.sequence, target, attempts, request_id, queue_id, accepted_at,
                 completed_at, reverse_path, message, kind = 'notice' AS is_notice,
                 notified = 0 AS can_be_notified
             FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
             WHERE deliveries.sequence = coalesce(
                 (SELECT sequence FROM deliveries WHERE turn = 1 AND waits_until <= $1 ",
            $due,
            " LIMIT 1),
                 (SELECT sequence FROM deliveries WHERE turn = 1 AND waits_since > $2
                  ORDER BY waits_since, sequence LIMIT 1))
             AND ",
            $condition
        )
    };
}

/// The same if the port $4 of the gateway $3 is in no trouble.
macro_rules! due_at_sound_port {
    ($due:literal) => {
        due!(
            $due,
            "NOT EXISTS (SELECT 1 FROM port_troubles WHERE node = $3 AND port = $4)"
        )
    };
}

struct Lease<'a> {
    leasing: &'a Leasing<LeasedDelivery>,
    port: ReplyPort,
}

impl Lease<'_> {
    fn apply(&self, changes: &mut Changes<'_>) -> Result<Looked<LeasedDelivery>, Failure> {
        while let Some((row, trial)) = self.find(changes.connection)? {
            let (sequence, leases) = (row.get("sequence")?, row.get("attempts")?);
            let Some(token) = leases::take(sequence, leases, self.leasing, changes)? else {
                continue;
            };
            if trial.is_some() {
                let now = self.leasing.now;
                reply_port::begin_trial(&self.port, sequence, now, changes.connection)?;
            }
            changes.due.deliveries = changes.due.deliveries.saturating_sub(1);
            return Ok(Looked::Work(read(token, &row, trial)?));
        }
        let next_due = next_due(&self.port, self.leasing.now, changes.connection)?;
        Ok(nothing(next_due, changes))
    }

    /// Finds a row that is due. It comes with the trouble that it is to try.
    fn find(
        &self,
        connection: &mut Connection,
    ) -> Result<Option<(Row, Option<PortTrouble>)>, DatabaseError> {
        let statement = match self.leasing.first {
            First::Oldest => due_at_sound_port!("ORDER BY waits_until, sequence"),
            First::Newest => due_at_sound_port!("ORDER BY waits_until DESC, sequence DESC"),
        };
        let port: [&dyn Bind; 2] = [&self.port.node, &Text(self.port.address)];
        if let Some(row) = self.run(statement, &port, connection)? {
            return Ok(Some((row, None)));
        }
        let now = self.leasing.now;
        let Some(trouble) = reply_port::trouble(&self.port, now, connection)? else {
            return Ok(None);
        };
        let row = self.find_for_trial(&trouble, connection)?;
        Ok(row.map(|row| (row, Some(trouble))))
    }

    fn find_for_trial(
        &self,
        trouble: &PortTrouble,
        connection: &mut Connection,
    ) -> Result<Option<Row>, DatabaseError> {
        if trouble.is_being_tried {
            return Ok(None);
        }
        if trouble.until <= self.leasing.now {
            // The least tried first. Otherwise one address that the site refuses would be tried
            // again and again, and hold up those that the site takes.
            let statement = match self.leasing.first {
                First::Oldest => due!("ORDER BY attempts, waits_until, sequence", "true"),
                First::Newest => {
                    due!("ORDER BY attempts, waits_until DESC, sequence DESC", "true")
                }
            };
            return self.run(statement, &[], connection);
        }
        if !trouble.refuses {
            return Ok(None);
        }
        let statement = due!(
            "AND attempts = 0 AND waits_since >= $3 ORDER BY waits_since, sequence",
            "attempts = 0"
        );
        self.run(statement, &[&trouble.tried_at], connection)
    }

    /// Runs a statement of `due!`, with its values from $3 on.
    fn run(
        &self,
        statement: &str,
        rest: &[&dyn Bind],
        connection: &mut Connection,
    ) -> Result<Option<Row>, DatabaseError> {
        let void_after = Wait::void_after(self.leasing.now);
        let mut values: Vec<&dyn Bind> = vec![&self.leasing.now, &void_after];
        values.extend(rest);
        connection.optional(statement, &values)
    }
}

fn read(
    token: LeaseToken<LeasedDelivery>,
    row: &Row,
    trial: Option<PortTrouble>,
) -> Result<LeasedDelivery, DatabaseError> {
    Ok(LeasedDelivery {
        token,
        request_id: row.text("request_id")?,
        queue_id: row.get("queue_id")?,
        target: row.get("target")?,
        reverse_path: row.get("reverse_path")?,
        message: row.get("message")?,
        accepted_at: row.get("accepted_at")?,
        completed_at: row.get("completed_at")?,
        can_be_notified: row.get("can_be_notified")?,
        is_notice: row.get("is_notice")?,
        attempts: token.lease,
        trial,
    })
}

/// A delivery that has ended.
pub(super) struct EndedDelivery {
    pub(super) target: String,
    /// Standing of the requester, and the network of its request.
    pub(super) requester: Requester,
    pub(super) network: Option<String>,
    pub(super) is_notice: bool,
    pub(super) is_success: bool,
}

/// Deletes a delivery, passes the turn to the next one to its target, and deletes its reply if it
/// was the reply's last one. None if it was gone.
pub(super) fn remove(
    sequence: i64,
    changes: &mut Changes<'_>,
) -> Result<Option<EndedDelivery>, DatabaseError> {
    let connection = &mut *changes.connection;
    let found = connection.optional(
        "SELECT reply, target, size, requester, network, kind = 'notice' AS is_notice,
             kind = 'success' AS is_success
         FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
         WHERE deliveries.sequence = $1",
        &[&sequence],
    )?;
    let Some(row) = found else {
        return Ok(None);
    };
    let ended = EndedDelivery {
        target: row.get("target")?,
        requester: row.text("requester")?,
        network: row.get("network")?,
        is_notice: row.get("is_notice")?,
        is_success: row.get("is_success")?,
    };
    connection.execute("DELETE FROM deliveries WHERE sequence = $1", &[&sequence])?;
    let passed = connection.execute(
        "UPDATE deliveries SET turn = 1 WHERE sequence = (
             SELECT sequence FROM deliveries WHERE target = $1 ORDER BY place LIMIT 1)",
        &[&ended.target],
    )?;
    changes.due.deliveries += usize::from(passed > 0);
    let (requester, network) = (ended.requester, ended.network.as_deref());
    if replies::remove_delivered(row.get("reply")?, connection)? {
        let size = row.get("size")?;
        usage::remove(Spooled::Reply, size, requester, network, connection)?;
    }
    Ok(Some(ended))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::store::Postponement;
    use crate::store::testing::{TestStore, at, id, reply};

    #[tokio::test]
    async fn what_is_due_is_read_in_the_order_of_an_index() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        test.execute(
            "WITH RECURSIVE numbers (n) AS
                 (VALUES (2) UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)
             INSERT INTO deliveries (reply, target, waits_since, waits_until, turn)
             SELECT reply, 'target' || n, waits_since + n, waits_until + n, 1
             FROM numbers CROSS JOIN deliveries WHERE sequence = 1",
        )
        .await;
        for statement in [
            due_at_sound_port!("ORDER BY waits_until, sequence"),
            due_at_sound_port!("ORDER BY waits_until DESC, sequence DESC"),
        ] {
            let port = statement.replace("$3", "'node'").replace("$4", "'port'");
            test.require_no_sort(&port).await;
        }
    }

    #[tokio::test]
    async fn a_target_gets_its_replies_in_order() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        reply(&test, 2, &["a@b.example", "c@d.example"]).await;
        let first = test.lease_delivery(at(3)).await.unwrap();
        assert_eq!(first.request_id, id(1));
        assert_eq!(
            test.lease_delivery(at(3)).await.unwrap().target,
            "c@d.example"
        );
        test.store
            .postpone_delivery(&first.token, Postponement::plain(at(3), at(60), "451"))
            .await
            .unwrap();
        assert!(test.lease_delivery(at(59)).await.is_none());
        let first = test.lease_delivery(at(60)).await.unwrap();
        assert_eq!((first.request_id, first.attempts), (id(1), 2));
        test.store.delivered(&first, at(60), "250").await.unwrap();
        assert_eq!(test.lease_delivery(at(60)).await.unwrap().request_id, id(2));
    }

    #[tokio::test]
    async fn a_clock_set_back_makes_nobody_wait_for_it() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        test.lease_delivery(at(3600)).await.unwrap();
        assert_eq!(test.lease_delivery(at(1)).await.unwrap().attempts, 2);
    }
}
