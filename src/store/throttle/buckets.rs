//! The buckets of [`crate::policy::throttle`] on disk.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use sqlx::QueryBuilder;
use sqlx::Row;
use sqlx::sqlite::{Sqlite, SqliteConnection, SqliteRow};

use crate::policy::throttle::{Bucket, Stage, Standing, step};
use crate::policy::{Charge, Charges};
use crate::store::database::{Moment, Store, StoreError, length, microseconds, moment};

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
        self.read(move |connection| Box::pin(senders(now, connection)))
            .await
    }
}

/// The buckets that a request is taken out of, read and written all at once.
pub(super) struct Buckets {
    now: Timestamp,
    held: HashMap<String, Bucket>,
    changed: HashMap<String, Bucket>,
}

impl Buckets {
    pub(super) async fn of(
        charges: &Charges,
        now: Timestamp,
        connection: &mut SqliteConnection,
    ) -> sqlx::Result<Self> {
        let pools = charges.newcomers.iter().flat_map(|own| &own.pools);
        let own = charges.sender.iter().chain(&charges.shared);
        let keys: Vec<String> = own
            .chain(pools)
            .chain(&charges.notices)
            .map(|charge| charge.key.to_string())
            .collect();
        let mut held = HashMap::new();
        if !keys.is_empty() {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT key, seen, backlog, deferring, blocked_for FROM throttle WHERE key IN (",
            );
            let mut list = query.separated(", ");
            for key in &keys {
                list.push_bind(key);
            }
            query.push(")");
            for row in query.build().fetch_all(connection).await? {
                held.insert(row.try_get("key")?, read(&row)?);
            }
        }
        Ok(Self {
            now,
            held,
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
    pub(super) async fn keep(
        self,
        kept: i64,
        connection: &mut SqliteConnection,
    ) -> sqlx::Result<()> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT OR REPLACE INTO throttle (key, seen, backlog, deferring, blocked_for) ",
        );
        query.push_values(&self.changed, |mut values, (key, bucket)| {
            let blocked_for = match bucket.stage {
                Stage::Blocked { left } => Some(microseconds(left)),
                Stage::Open | Stage::Deferring => None,
            };
            values
                .push_bind(key)
                .push_bind(Moment(bucket.seen))
                .push_bind(microseconds(bucket.backlog))
                .push_bind(bucket.stage == Stage::Deferring)
                .push_bind(blocked_for);
        });
        query.push(
            "; DELETE FROM throttle
             WHERE sequence <= (SELECT max(sequence) FROM throttle) - ",
        );
        query.push_bind(kept);
        query.build().execute(connection).await?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> sqlx::Result<Bucket> {
    let blocked_for: Option<i64> = row.try_get("blocked_for")?;
    let stage = match blocked_for {
        Some(left) => Stage::Blocked {
            left: SignedDuration::from_micros(left),
        },
        None if row.try_get("deferring")? => Stage::Deferring,
        None => Stage::Open,
    };
    Ok(Bucket {
        seen: moment(row, "seen")?,
        backlog: length(row, "backlog")?,
        stage,
    })
}

/// Senders that have a backlog or are blocked. The one seen last comes first.
pub(super) async fn senders(
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> sqlx::Result<Vec<ThrottledSender>> {
    let rows = sqlx::query(
        "SELECT key, seen, backlog, deferring, blocked_for FROM throttle ORDER BY sequence DESC",
    )
    .fetch_all(connection)
    .await?;
    let mut senders = Vec::new();
    for row in &rows {
        let bucket = read(row)?.at(now);
        if !bucket.is_idle() {
            let key = row.try_get("key")?;
            senders.push(ThrottledSender { key, bucket });
        }
    }
    Ok(senders)
}

/// The stages of all senders that are still over their allowance.
pub(crate) async fn stages(
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> sqlx::Result<Vec<Stage>> {
    let rows = sqlx::query(
        "SELECT seen, backlog, deferring, blocked_for FROM throttle
         WHERE deferring OR blocked_for IS NOT NULL",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok(read(row)?.at(now).stage))
        .collect()
}
