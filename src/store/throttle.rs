//! The buckets of [`crate::policy::throttle`]: taking a request out of its
//! allowances in the transaction that takes it into the spool, and the
//! operator's look at who is blocked.

use jiff::{SignedDuration, Timestamp};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::arrivals::Due;
use super::columns::Moment;
use super::error::Failure;
use super::intent::{Changes, Intent};
use super::queue::Order;
use super::values::ThrottledSender;
use crate::audit::{Entry, Event};
use crate::mail::NoticeCode;
use crate::policy::throttle::{Bucket, Stage, Standing, step};
use crate::policy::{Charge, Charges, Newcomers, ThrottleKey};

/// How many buckets, and how many reply targets, are kept: those seen last.
pub(super) const KEPT: i64 = 50_000;

/// When a request's turn comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// At once.
    Now,
    /// Later, and whether its sender is told.
    Later {
        until: Timestamp,
        notice: Option<NoticeCode>,
        because_of: String,
    },
    /// Its sender is blocked until then, and it is not taken.
    Never {
        until: Timestamp,
        because_of: String,
    },
}

/// Takes a request out of its allowances. One that is not taken costs nothing.
pub(super) async fn charge(
    charges: &Charges,
    now: Timestamp,
    kept: i64,
    connection: &mut SqliteConnection,
) -> Result<Turn, sqlx::Error> {
    let mut turn = Turn::Now;
    if let Some(own) = &charges.sender {
        turn = own_turn(own, now, kept, connection).await?;
    }
    if matches!(turn, Turn::Never { .. }) {
        return Ok(turn);
    }
    if let Some(many) = &charges.many {
        let standing = spend(many, 1, now, kept, connection).await?;
        turn = turn.not_before(later_moment(standing), &many.key);
    }
    if let Some(newcomers) = &charges.newcomers {
        let answered_from = introduce(newcomers, now, kept, connection).await?;
        turn = turn.not_before(answered_from, &ThrottleKey::Newcomers);
    }
    Ok(turn)
}

/// What the sender's own allowance says: the only one that blocks or has
/// anybody told.
async fn own_turn(
    own: &Charge,
    now: Timestamp,
    kept: i64,
    connection: &mut SqliteConnection,
) -> Result<Turn, sqlx::Error> {
    let because_of = own.key.to_string();
    let later = |until, notice| Turn::Later {
        until,
        notice,
        because_of: own.key.to_string(),
    };
    Ok(match spend(own, 1, now, kept, connection).await? {
        Standing::Allowed => Turn::Now,
        Standing::Deferred { until, newly } => later(until, newly.then_some(NoticeCode::Deferred)),
        Standing::Blocked { until, newly: true } => later(until, Some(NoticeCode::Blocked)),
        Standing::Blocked { until, .. } => Turn::Never { until, because_of },
    })
}

impl Turn {
    fn not_before(self, moment: Option<Timestamp>, key: &ThrottleKey) -> Self {
        let Some(moment) = moment else {
            return self;
        };
        let notice = match self {
            Turn::Now => None,
            Turn::Later { until, notice, .. } if until < moment => notice,
            turn => return turn,
        };
        Turn::Later {
            until: moment,
            notice,
            because_of: key.to_string(),
        }
    }
}

fn later_moment(standing: Standing) -> Option<Timestamp> {
    match standing {
        Standing::Allowed => None,
        Standing::Deferred { until, .. } | Standing::Blocked { until, .. } => Some(until),
    }
}

/// Takes a cost out of one allowance.
async fn spend(
    charge: &Charge,
    cost: u32,
    now: Timestamp,
    kept: i64,
    connection: &mut SqliteConnection,
) -> Result<Standing, sqlx::Error> {
    let key = charge.key.to_string();
    let before = bucket(&key, connection).await?.unwrap_or(Bucket::new(now));
    let (bucket, standing) = step(before, now, cost, &charge.allowance);
    // Who asks while blocked changes nothing, but where the clock has been set
    // back: what is left of the block counts from now on, not from then.
    let is_unchanged = matches!(standing, Standing::Blocked { newly: false, .. });
    if !is_unchanged || before.seen > now {
        keep(&key, &bucket, kept, connection).await?;
    }
    Ok(standing)
}

/// Takes the addresses that never asked before out of the newcomers' allowance,
/// and tells from when on all of these addresses are answered, if not at once.
async fn introduce(
    newcomers: &Newcomers,
    now: Timestamp,
    kept: i64,
    connection: &mut SqliteConnection,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let charge = Charge {
        key: ThrottleKey::Newcomers,
        allowance: newcomers.allowance,
    };
    let mut latest = None;
    let mut new = Vec::new();
    for address in &newcomers.addresses {
        match answered_from(address, connection).await? {
            Some(from) if from > now => {
                let from = from.min(last_turn(&charge, now, connection).await?);
                introduced(address, from, kept, connection).await?;
                latest = latest.max(Some(from).filter(|from| *from > now));
            }
            Some(_) => introduced(address, now, kept, connection).await?,
            None => new.push(address),
        }
    }
    if new.is_empty() {
        return Ok(latest);
    }
    let cost = u32::try_from(new.len()).unwrap_or(u32::MAX);
    let from = later_moment(spend(&charge, cost, now, kept, connection).await?);
    for address in new {
        introduced(address, from.unwrap_or(now), kept, connection).await?;
    }
    Ok(latest.max(from))
}

/// When the last of those is done that wait by an allowance. Nobody's turn comes
/// later, but by a clock that has been set back meanwhile.
async fn last_turn(
    charge: &Charge,
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> Result<Timestamp, sqlx::Error> {
    let bucket = bucket(&charge.key.to_string(), connection).await?;
    let bucket = bucket.unwrap_or(Bucket::new(now));
    let (_, standing) = step(bucket, now, 0, &charge.allowance);
    Ok(later_moment(standing).unwrap_or(now))
}

async fn answered_from(
    target: &str,
    connection: &mut SqliteConnection,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let from: Option<Moment> =
        sqlx::query_scalar("SELECT answered_from FROM reply_targets WHERE target = ?")
            .bind(target)
            .fetch_optional(connection)
            .await?;
    Ok(from.map(|Moment(from)| from))
}

async fn introduced(
    target: &str,
    from: Timestamp,
    kept: i64,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO reply_targets (target, answered_from) VALUES (?, ?);
         DELETE FROM reply_targets
         WHERE sequence <= (SELECT max(sequence) FROM reply_targets) - ?",
    )
    .bind(target)
    .bind(Moment(from))
    .bind(kept)
    .execute(connection)
    .await?;
    Ok(())
}

async fn bucket(
    key: &str,
    connection: &mut SqliteConnection,
) -> Result<Option<Bucket>, sqlx::Error> {
    sqlx::query("SELECT key, seen, backlog, deferring, blocked_for FROM throttle WHERE key = ?")
        .bind(key)
        .fetch_optional(connection)
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

fn read(row: &SqliteRow) -> Result<Bucket, sqlx::Error> {
    let blocked_for: Option<i64> = row.try_get("blocked_for")?;
    let stage = match blocked_for {
        Some(left) => Stage::Blocked {
            left: SignedDuration::from_micros(left),
        },
        None if row.try_get("deferring")? => Stage::Deferring,
        None => Stage::Open,
    };
    Ok(Bucket {
        seen: row.try_get::<Moment, _>("seen")?.0,
        backlog: SignedDuration::from_micros(row.try_get("backlog")?),
        stage,
    })
}

async fn keep(
    key: &str,
    bucket: &Bucket,
    kept: i64,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let blocked_for = match bucket.stage {
        Stage::Blocked { left } => Some(microseconds(left)),
        Stage::Open | Stage::Deferring => None,
    };
    sqlx::query(
        "INSERT OR REPLACE INTO throttle (key, seen, backlog, deferring, blocked_for)
         VALUES (?, ?, ?, ?, ?);
         DELETE FROM throttle WHERE sequence <= (SELECT max(sequence) FROM throttle) - ?",
    )
    .bind(key)
    .bind(Moment(bucket.seen))
    .bind(microseconds(bucket.backlog))
    .bind(bucket.stage == Stage::Deferring)
    .bind(blocked_for)
    .bind(kept)
    .execute(connection)
    .await?;
    Ok(())
}

fn microseconds(length: SignedDuration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

/// Who has a backlog or is blocked, those seen last first.
pub(super) async fn senders(
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> Result<Vec<ThrottledSender>, sqlx::Error> {
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

/// Where the senders stand who were over their allowance, as far as they still are.
pub(super) async fn stages(
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> Result<Vec<Stage>, sqlx::Error> {
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

/// Forgets what a sender has asked, and lets go what waits for its turn.
pub(super) struct Unblock {
    pub(super) key: String,
    pub(super) order: Order,
}

impl Intent for Unblock {
    type Answer = bool;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<bool, Failure> {
        let forgotten = sqlx::query("DELETE FROM throttle WHERE key = ?")
            .bind(&self.key)
            .execute(&mut *changes.connection)
            .await?;
        if forgotten.rows_affected() == 0 {
            return Ok(false);
        }
        // What was leased before waits for something else.
        sqlx::query(
            "UPDATE requests SET waits_since = ?1, waits_until = ?1
             WHERE sender = ?2 AND attempts = 0",
        )
        .bind(Moment(self.order.at))
        .bind(&self.key)
        .execute(&mut *changes.connection)
        .await?;
        changes.due = Due::ANYTHING;
        let mut entry = Entry::new(self.order.at, Event::SenderUnblocked);
        entry.detail = Some(self.key);
        entry.operator = Some(self.order.operator);
        changes.audit(entry).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::super::testing::{TestStore, at, completion, id, notice, order, request};
    use super::super::{Accepted, NewRequest, Store};
    use super::*;
    use crate::mail::Address;
    use crate::policy::throttle::{Allowance, Excess};
    use crate::policy::{Sender, Throttle};

    /// One at once and one a minute; more than three lead to an hour's block.
    /// Two newcomers at once and one each ten seconds.
    const SMALL: Throttle = Throttle {
        sender: Allowance {
            at_once: 1,
            every: SignedDuration::from_mins(1),
            excess: Excess::Block {
                above: 3,
                lasting: SignedDuration::from_hours(1),
            },
        },
        many: 4,
        newcomers: Allowance {
            at_once: 2,
            every: SignedDuration::from_secs(10),
            excess: Excess::Defer,
        },
    };

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn unknown(target: &str) -> Sender {
        Sender::Unknown {
            target: address(target),
            network: Some(std::net::IpAddr::from([192, 0, 2, 1]).into()),
            is_foreign: true,
        }
    }

    fn from(sender: &Sender, target: &str, number: u8) -> NewRequest {
        let charges = SMALL.charges(sender, &[address(target)]);
        NewRequest {
            sender: charges.sender.as_ref().unwrap().key.to_string(),
            charges,
            ..request(number)
        }
    }

    fn jane(number: u8) -> NewRequest {
        let jane = "jane@vendor.example";
        from(&Sender::LoggedIn(address(jane)), jane, number)
    }

    fn later(until: i64, notice: Option<NoticeCode>) -> Accepted {
        let until = at(until);
        Accepted::Deferred { until, notice }
    }

    #[tokio::test]
    async fn a_flood_is_deferred_then_blocked_with_one_notice_each() {
        let test = TestStore::new().await;
        let mut accepted = Vec::new();
        for number in 0..6 {
            let request = NewRequest {
                accepted_at: at(0),
                ..jane(number)
            };
            accepted.push(test.store.accept(request).await.unwrap());
        }
        let expected = [
            Accepted::New,
            later(60, Some(NoticeCode::Deferred)),
            later(120, None),
            later(3600, Some(NoticeCode::Blocked)),
            Accepted::Blocked { until: at(3600) },
            Accepted::Blocked { until: at(3600) },
        ];
        assert_eq!(accepted, expected);
        let usage = test.store.spool_usage().await.unwrap();
        assert_eq!((usage.requests, usage.replies), (4, 2));

        for code in [NoticeCode::Deferred, NoticeCode::Blocked] {
            let delivery = test.lease_delivery(at(0)).await.unwrap();
            let until = at(if code == NoticeCode::Deferred {
                60
            } else {
                3600
            });
            assert_eq!(delivery.message, notice(code, until).message);
            test.store
                .delivered(&delivery, at(0), "250 ok")
                .await
                .unwrap();
        }
        for (number, due) in [(0, 0), (1, 60), (2, 120), (3, 3600)] {
            assert!(number == 0 || test.lease(at(due - 1)).await.is_none());
            let leased = test.lease(at(due)).await.unwrap();
            assert_eq!(leased.id, id(number));
            test.store
                .complete(&leased.token, completion(at(due), &[]))
                .await
                .unwrap();
        }
        let after = NewRequest {
            accepted_at: at(3600),
            ..jane(5)
        };
        assert_eq!(test.store.accept(after).await.unwrap(), Accepted::New);
    }

    #[tokio::test]
    async fn the_audit_says_what_the_throttle_did() {
        let test = TestStore::new().await;
        for number in 0..5 {
            let request = NewRequest {
                accepted_at: at(0),
                ..jane(number)
            };
            test.store.accept(request).await.unwrap();
        }
        let entries = test.store.audit_entries(1, 9).await.unwrap();
        let entries: Vec<Entry> = entries
            .iter()
            .map(|stored| stored.entry().unwrap())
            .collect();
        let said: Vec<_> = entries
            .iter()
            .map(|entry| {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                (
                    entry.event,
                    text(&entry.rule),
                    text(&entry.verdict),
                    text(&entry.code),
                )
            })
            .collect();
        let expected = [
            (Event::Accepted, "", "", ""),
            (Event::Accepted, "flood", "defer", "Deferred"),
            (Event::Accepted, "flood", "defer", ""),
            (Event::Accepted, "blocked", "defer", "Blocked"),
            (Event::Judged, "blocked", "ignore", ""),
        ]
        .map(|(event, rule, verdict, code)| {
            (event, rule.to_owned(), verdict.to_owned(), code.to_owned())
        });
        assert_eq!(said, expected);
        let reason = entries[4].reason.as_deref().unwrap();
        assert!(
            reason.contains("authenticated jane@vendor.example"),
            "{reason}"
        );
    }

    #[tokio::test]
    async fn a_duplicate_spends_nothing() {
        let test = TestStore::new().await;
        for _ in 0..9 {
            let request = NewRequest {
                accepted_at: at(0),
                ..jane(1)
            };
            test.store.accept(request).await.unwrap();
        }
        let next = NewRequest {
            accepted_at: at(0),
            ..jane(2)
        };
        let accepted = test.store.accept(next).await.unwrap();
        assert_eq!(accepted, later(60, Some(NoticeCode::Deferred)));
    }

    #[tokio::test]
    async fn what_was_not_taken_may_come_again() {
        let test = TestStore::new().await;
        for number in 0..5 {
            test.store.accept(jane(number)).await.unwrap();
        }
        let again = NewRequest {
            accepted_at: at(4000),
            ..jane(4)
        };
        assert_eq!(test.store.accept(again).await.unwrap(), Accepted::New);
    }

    #[tokio::test]
    async fn a_flood_leaves_others_alone() {
        let test = TestStore::new().await;
        let forged = unknown("bob@vendor.example");
        for number in 0..50 {
            let request = from(&forged, "bob@vendor.example", number);
            test.store.accept(request).await.unwrap();
        }
        let bob = Sender::Authenticated(address("bob@vendor.example"));
        let module = Sender::Module("SMID.1:…".to_owned());
        for (number, sender) in [(50, bob), (51, module)] {
            let request = from(&sender, "bob@vendor.example", number);
            assert_eq!(test.store.accept(request).await.unwrap(), Accepted::New);
        }
        let due: Vec<_> = std::iter::from_fn(|| Some(())).take(3).collect();
        let mut ids = Vec::new();
        for () in due {
            ids.extend(test.lease(at(51)).await.map(|leased| leased.id));
        }
        assert_eq!(ids, [id(0), id(50), id(51)]);
    }

    #[tokio::test]
    async fn many_senders_of_one_network_share_a_larger_allowance() {
        let test = TestStore::new().await;
        let mut deferred = 0;
        for number in 0..6 {
            let target = format!("a{number}@vendor.example");
            let mut request = from(&unknown(&target), &target, number);
            request.charges.newcomers = None;
            request.accepted_at = at(0);
            match test.store.accept(request).await.unwrap() {
                Accepted::New => (),
                other => {
                    deferred += 1;
                    assert_eq!(other, later(15 * deferred, None));
                }
            }
        }
        assert_eq!(deferred, 2);
    }

    /// A request by an address, which only the newcomers' allowance limits.
    async fn newcomer(test: &TestStore, number: u8, target: &str, seconds: i64) -> Accepted {
        let mut request = from(&unknown(target), target, number);
        request.charges.sender = None;
        request.charges.many = None;
        request.accepted_at = at(seconds);
        test.store.accept(request).await.unwrap()
    }

    #[tokio::test]
    async fn newcomers_share_an_allowance_that_each_spends_once() {
        let test = TestStore::new().await;
        let ask = |number, target, seconds| newcomer(&test, number, target, seconds);
        assert_eq!(ask(0, "a@b.example", 0).await, Accepted::New);
        assert_eq!(ask(1, "A@b.example", 0).await, Accepted::New);
        assert_eq!(ask(2, "b@b.example", 0).await, Accepted::New);
        assert_eq!(ask(3, "c@b.example", 0).await, later(10, None));
        assert_eq!(
            ask(4, "c@b.example", 0).await,
            later(10, None),
            "as new as before"
        );
        assert_eq!(ask(5, "a@b.example", 0).await, Accepted::New);
        assert_eq!(ask(6, "c@b.example", 10).await, Accepted::New);
    }

    #[tokio::test]
    async fn a_clock_set_back_prolongs_no_block() {
        let test = TestStore::new().await;
        let ask = async |number: u8, seconds: i64| {
            let request = NewRequest {
                accepted_at: at(seconds),
                ..jane(number)
            };
            test.store.accept(request).await.unwrap()
        };
        for number in 0..4 {
            ask(number, 7200).await;
        }
        let until = |seconds| Accepted::Blocked { until: at(seconds) };
        assert_eq!(ask(4, 7800).await, until(10_800));
        assert_eq!(ask(5, 600).await, until(4200));
        assert_eq!(ask(6, 4199).await, until(4200));
        assert_eq!(ask(7, 4200).await, Accepted::New);
    }

    #[tokio::test]
    async fn a_clock_set_back_makes_no_newcomer_of_who_is_known() {
        let test = TestStore::new().await;
        let ask = |number, target, seconds| newcomer(&test, number, target, seconds);
        assert_eq!(ask(0, "a@b.example", 9000).await, Accepted::New);
        assert_eq!(ask(1, "a@b.example", 5400).await, Accepted::New);
        assert_eq!(ask(2, "b@b.example", 5400).await, Accepted::New);
        // Whose turn has not come waits as long as he did before, and no longer.
        assert_eq!(ask(3, "c@b.example", 5400).await, later(5410, None));
        assert_eq!(ask(4, "d@b.example", 5400).await, later(5420, None));
        assert_eq!(ask(5, "d@b.example", 1800).await, later(1820, None));
        assert_eq!(ask(6, "d@b.example", 1820).await, Accepted::New);
    }

    #[tokio::test]
    async fn blocks_survive_a_crash() {
        let test = TestStore::new().await;
        for number in 0..5 {
            test.store.accept(jane(number)).await.unwrap();
        }
        let test = test.after_crash().await;
        let accepted = test.store.accept(jane(6)).await.unwrap();
        assert!(matches!(accepted, Accepted::Blocked { .. }), "{accepted:?}");
    }

    #[tokio::test]
    async fn an_operator_ends_a_block_and_what_waits_is_done() {
        let test = TestStore::new().await;
        for number in 0..5 {
            let request = NewRequest {
                accepted_at: at(0),
                ..jane(number)
            };
            test.store.accept(request).await.unwrap();
        }
        let senders = test.store.throttled_senders(at(1)).await.unwrap();
        assert_eq!(senders.len(), 1);
        assert_eq!(senders[0].key, "authenticated jane@vendor.example");
        assert_eq!(senders[0].bucket.blocked_until(), Some(at(3600)));

        assert!(
            !test
                .store
                .unblock("address x@y.example", order(1))
                .await
                .unwrap()
        );
        let unblocked = test.store.unblock(&senders[0].key, order(1));
        assert!(unblocked.await.unwrap());
        let entry = test.last_entry().await;
        assert_eq!(entry.event, Event::SenderUnblocked);
        assert_eq!(entry.operator, Some(order(1).operator));
        assert!(
            test.store
                .throttled_senders(at(1))
                .await
                .unwrap()
                .is_empty()
        );
        for number in 0..4 {
            let leased = test.lease(at(1)).await.unwrap();
            assert_eq!(leased.id, id(number));
            test.store
                .complete(&leased.token, completion(at(1), &[]))
                .await
                .unwrap();
        }
        let next = NewRequest {
            accepted_at: at(1),
            ..jane(9)
        };
        assert_eq!(test.store.accept(next).await.unwrap(), Accepted::New);
    }

    #[tokio::test]
    async fn only_so_many_rows_are_kept_and_those_seen_last() {
        let test = TestStore::new().await;
        let mut connection = test.sqlite3().await;
        let regular = unknown("regular@b.example");
        let mut charge_to = async |sender: &Sender, target: &str| {
            let charges = SMALL.charges(sender, &[address(target)]);
            charge(&charges, at(0), 20, &mut connection).await.unwrap();
        };
        for number in 0..200 {
            let target = format!("a{number}@b.example");
            charge_to(&unknown(&target), &target).await;
            charge_to(&regular, "regular@b.example").await;
        }
        for table in ["throttle", "reply_targets"] {
            let kept: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
                    .fetch_one(&mut connection)
                    .await
                    .unwrap();
            assert!(kept <= 20, "{table}: {kept}");
        }
        let key = "address regular@b.example from 192.0.2.0/24";
        let bucket = bucket(key, &mut connection).await.unwrap().unwrap();
        assert!(bucket.blocked_until().is_some());
    }

    /// What a flood of forged addresses leaves, written at once.
    #[tokio::test]
    async fn the_bounds_hold_at_their_full_size_and_who_asks_then_is_served() {
        let test = TestStore::new().await;
        for fill in [
            "throttle (key, seen, backlog, deferring) SELECT 'address ' || n, 0, 1, 0",
            "reply_targets (target, answered_from) SELECT 'a' || n, 0",
        ] {
            let fill = format!(
                "WITH RECURSIVE numbers (n) AS
                     (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 60000)
                 INSERT INTO {fill} FROM numbers"
            );
            test.execute(sqlx::AssertSqlSafe(fill)).await;
        }
        let regular = unknown("regular@b.example");
        let request = from(&regular, "regular@b.example", 1);
        assert_eq!(test.store.accept(request).await.unwrap(), Accepted::New);
        for table in ["throttle", "reply_targets"] {
            let kept: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
                    .fetch_one(&mut test.sqlite3().await)
                    .await
                    .unwrap();
            assert_eq!(kept, KEPT, "{table}");
        }
    }
}
