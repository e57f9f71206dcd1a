//! The buckets of [`crate::policy::throttle`] on disk.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::policy::throttle::{Bucket, Stage, Standing, step};
use crate::policy::{Charge, Charges};
use crate::store::database::{Bind, Connection, DatabaseError, Row, Store, StoreError, places};

/// Buckets that are kept, and answered addresses: those seen last.
pub(crate) const KEPT: i64 = 50_000;

/// A sender that has asked so much that its bucket is not empty yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThrottledSender {
    pub(crate) key: String,
    pub(crate) bucket: Bucket,
}

impl Store {
    /// Senders with a backlog, blocked or not. The one that asked last comes first.
    pub(crate) async fn throttled_senders(
        &self,
        now: Timestamp,
    ) -> Result<Vec<ThrottledSender>, StoreError> {
        self.read(move |connection| senders(now, connection)).await
    }
}

/// The buckets that a request is taken out of, read and written all at once.
pub(crate) struct Buckets {
    now: Timestamp,
    held: HashMap<String, Bucket>,
    changed: HashMap<String, Bucket>,
}

impl Buckets {
    pub(super) fn of(
        charges: &Charges,
        now: Timestamp,
        connection: &mut Connection,
    ) -> Result<Self, DatabaseError> {
        let pools = charges.newcomers.iter().flat_map(|own| &own.pools);
        let own = charges.sender.iter().chain(&charges.shared);
        let keys: Vec<String> = own
            .chain(pools)
            .chain(&charges.notices)
            .map(|charge| charge.key.to_string())
            .collect();
        Ok(Self {
            now,
            held: held(&keys, connection)?,
            changed: HashMap::new(),
        })
    }

    fn bucket(&self, key: &str) -> Bucket {
        let bucket = self.changed.get(key).or_else(|| self.held.get(key));
        bucket.copied().unwrap_or(Bucket::new(self.now))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn spend(&mut self, charge: &Charge, cost: u32) -> Standing {
        let key = charge.key.to_string();
        let before = self.bucket(&key);
        let (bucket, standing) = step(before, self.now, cost, &charge.allowance);
        // A request of a blocked sender changes nothing, unless the clock has been set back. Then
        // the rest of the block counts from now on.
        let is_unchanged = matches!(standing, Standing::Blocked { newly: false, .. });
        if !is_unchanged || before.seen > self.now {
            self.changed.insert(key, bucket);
        }
        standing
    }

    /// When the queue behind an allowance will be empty.
    pub(super) fn last_turn(&self, charge: &Charge) -> Timestamp {
        let bucket = self.bucket(&charge.key.to_string());
        match step(bucket, self.now, 0, &charge.allowance).1 {
            Standing::Deferred { until, .. } | Standing::Blocked { until, .. } => until,
            Standing::Allowed | Standing::Refused => self.now,
        }
    }

    /// Writes the changed buckets, and keeps those seen last.
    pub(crate) fn keep(self, kept: i64, connection: &mut Connection) -> Result<(), DatabaseError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        for (key, bucket) in &self.changed {
            write(key, bucket, connection)?;
        }
        connection.execute(
            "DELETE FROM throttle WHERE sequence <= (SELECT max(sequence) FROM throttle) - $1",
            &[&kept],
        )?;
        Ok(())
    }
}

/// The buckets of these keys, as far as there are some.
fn held(
    keys: &[String],
    connection: &mut Connection,
) -> Result<HashMap<String, Bucket>, DatabaseError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let values: Vec<&dyn Bind> = keys.iter().map(|key| key as &dyn Bind).collect();
    let rows = connection.all(
        &format!(
            "SELECT key, seen, backlog, deferring, blocked_for FROM throttle WHERE key IN ({})",
            places(1, keys.len())
        ),
        &values,
    )?;
    rows.iter()
        .map(|row| Ok((row.get("key")?, read(row)?)))
        .collect()
}

/// Writes a bucket as the one that was seen last.
fn write(key: &str, bucket: &Bucket, connection: &mut Connection) -> Result<(), DatabaseError> {
    let is_deferring = bucket.stage == Stage::Deferring;
    let blocked_for = match bucket.stage {
        Stage::Blocked { left } => Some(left),
        Stage::Open | Stage::Deferring => None,
    };
    connection.execute(
        "INSERT INTO throttle (sequence, key, seen, backlog, deferring, blocked_for)
         VALUES ((SELECT coalesce(max(sequence), 0) + 1 FROM throttle), $1, $2, $3, $4, $5)
         ON CONFLICT (key) DO UPDATE SET sequence = excluded.sequence, seen = excluded.seen,
             backlog = excluded.backlog, deferring = excluded.deferring,
             blocked_for = excluded.blocked_for",
        &[
            &key,
            &bucket.seen,
            &bucket.backlog,
            &is_deferring,
            &blocked_for,
        ],
    )?;
    Ok(())
}

fn read(row: &Row) -> Result<Bucket, DatabaseError> {
    let stage = match row.get("blocked_for")? {
        Some(left) => Stage::Blocked { left },
        None if row.get("deferring")? => Stage::Deferring,
        None => Stage::Open,
    };
    Ok(Bucket {
        seen: row.get("seen")?,
        backlog: row.get("backlog")?,
        stage,
    })
}

/// Senders that have a backlog or are blocked. The one seen last comes first.
fn senders(
    now: Timestamp,
    connection: &mut Connection,
) -> Result<Vec<ThrottledSender>, DatabaseError> {
    let rows = connection.all(
        "SELECT key, seen, backlog, deferring, blocked_for FROM throttle ORDER BY sequence DESC",
        &[],
    )?;
    let mut senders = Vec::new();
    for row in &rows {
        let bucket = read(row)?.at(now);
        if !bucket.is_idle() {
            let key = row.get("key")?;
            senders.push(ThrottledSender { key, bucket });
        }
    }
    Ok(senders)
}

/// The stages of all senders that are still over their allowance.
pub(crate) fn stages(
    now: Timestamp,
    connection: &mut Connection,
) -> Result<Vec<Stage>, DatabaseError> {
    let rows = connection.all(
        "SELECT seen, backlog, deferring, blocked_for FROM throttle
         WHERE deferring = 1 OR blocked_for IS NOT NULL",
        &[],
    )?;
    rows.iter()
        .map(|row| Ok(read(row)?.at(now).stage))
        .collect()
}
