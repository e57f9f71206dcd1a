//! Taking a request out of its allowances, in the transaction that takes it into
//! the spool, and the operator's end of a block.

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::acquaintance::Acquaintance;
use super::arrivals::Due;
use super::buckets::Buckets;
use super::columns::Moment;
use super::error::Failure;
use super::intent::{Changes, Intent};
use super::queue::Order;
use super::values::NewRequest;
use crate::audit::{Entry, Event};
use crate::mail::NoticeCode;
use crate::policy::throttle::Standing;
use crate::policy::{Charge, Newcomers, ThrottleKey, Trust};

/// When a request's turn comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// At once.
    Now,
    /// Later.
    Later(Later),
    /// Its sender is blocked until then, and it is not taken.
    Never {
        until: Timestamp,
        because_of: String,
    },
}

/// A turn that comes later. Its sender knows, of this request or of an earlier
/// one that still waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Later {
    pub(super) until: Timestamp,
    /// What its sender is told now.
    pub(super) notice: Option<NoticeCode>,
    pub(super) because_of: String,
    /// Whether its sender was told when it came over its own allowance.
    is_told: bool,
}

/// Takes a request out of its allowances. One that is not taken costs nothing.
///
/// # Errors
/// [`Failure::Crowded`] where an allowance that refuses is used up, or the one
/// for the notice that the request waits.
pub(super) async fn charge(
    request: &NewRequest,
    of_first: &Acquaintance,
    kept: i64,
    connection: &mut SqliteConnection,
) -> Result<Turn, Failure> {
    let charges = &request.charges;
    let mut buckets = Buckets::of(charges, request.accepted_at, connection).await?;
    let mut turn = match &charges.sender {
        Some(own) => own_turn(own, &mut buckets),
        None => Turn::Now,
    };
    if !matches!(turn, Turn::Never { .. }) {
        for shared in &charges.shared {
            let moment = moment_of(&buckets.spend(shared, 1), shared)?;
            turn = turn.not_before(moment, &shared.key);
        }
        if let Some(newcomers) = &charges.newcomers {
            turn = introduce(newcomers, of_first, turn, &mut buckets, connection).await?;
        }
        turn = tell(turn, request, &mut buckets, connection).await?;
    }
    buckets.keep(kept, connection).await?;
    Ok(turn)
}

/// What the sender's own allowance says: the only one that blocks.
fn own_turn(own: &Charge, buckets: &mut Buckets) -> Turn {
    let because_of = own.key.to_string();
    let (until, notice) = match buckets.spend(own, 1) {
        Standing::Allowed | Standing::Refused => return Turn::Now,
        Standing::Deferred { until, newly } => (until, newly.then_some(NoticeCode::Deferred)),
        Standing::Blocked { until, newly: true } => (until, Some(NoticeCode::Blocked)),
        Standing::Blocked { until, .. } => return Turn::Never { until, because_of },
    };
    Turn::Later(Later {
        until,
        notice,
        because_of,
        is_told: notice.is_none(),
    })
}

impl Turn {
    fn not_before(self, moment: Option<Timestamp>, key: &ThrottleKey) -> Self {
        let Some(moment) = moment else {
            return self;
        };
        let (notice, is_told) = match self {
            Turn::Now => (None, false),
            Turn::Later(later) if later.until < moment => (later.notice, later.is_told),
            turn => return turn,
        };
        Turn::Later(Later {
            until: moment,
            notice,
            because_of: key.to_string(),
            is_told,
        })
    }
}

/// When a standing lets a request be done, if not at once.
fn moment_of(standing: &Standing, charge: &Charge) -> Result<Option<Timestamp>, Failure> {
    match standing {
        Standing::Allowed => Ok(None),
        Standing::Deferred { until, .. } | Standing::Blocked { until, .. } => Ok(Some(*until)),
        Standing::Refused => Err(Failure::Crowded(format!(
            "{} is far over its allowance",
            charge.key
        ))),
    }
}

/// Takes the addresses that were never answered out of what newcomers share. A
/// new one that asks again while it waits pays nothing more, and waits as long.
async fn introduce(
    newcomers: &Newcomers,
    of_first: &Acquaintance,
    turn: Turn,
    buckets: &mut Buckets,
    connection: &mut SqliteConnection,
) -> Result<Turn, Failure> {
    let mut turn = turn;
    let mut new = 0;
    for (place, address) in newcomers.addresses.iter().enumerate() {
        let acquaintance = match place {
            0 => of_first.clone(),
            _ => Acquaintance::with(address, connection).await?,
        };
        if acquaintance.is_new() {
            new += 1;
        }
        for pool in &newcomers.pools {
            // Nobody's turn comes after the pool's last, but by a clock that has
            // been set back meanwhile.
            let waits = acquaintance
                .turn
                .map(|turn| turn.min(buckets.last_turn(pool)));
            let waits = waits.filter(|moment| *moment > buckets.now());
            turn = turn.not_before(waits, &pool.key);
        }
    }
    if new > 0 {
        for pool in &newcomers.pools {
            let moment = moment_of(&buckets.spend(pool, new), pool)?;
            turn = turn.not_before(moment, &pool.key);
        }
    }
    Ok(turn)
}

/// Sees to it that the sender of a request that waits knows. What a stranger
/// has the gateway tell is bounded; a request of which it can't is not taken.
async fn tell(
    turn: Turn,
    request: &NewRequest,
    buckets: &mut Buckets,
    connection: &mut SqliteConnection,
) -> Result<Turn, Failure> {
    let Turn::Later(mut later) = turn else {
        return Ok(turn);
    };
    later.notice = match later.notice {
        Some(NoticeCode::Blocked) => Some(NoticeCode::Blocked),
        // A victim of forgers is told once, from however many networks they come.
        Some(NoticeCode::Deferred) if request.trust != Trust::Stranger => {
            Some(NoticeCode::Deferred)
        }
        _ if later.is_told || is_told(request, connection).await? => None,
        _ => Some(NoticeCode::Deferred),
    };
    if later.notice.is_some() {
        for pool in &request.charges.notices {
            if buckets.spend(pool, 1) != Standing::Allowed {
                return Err(Failure::Crowded(format!(
                    "{} is over its allowance until {}, and {} have no room to say so",
                    later.because_of, later.until, pool.key
                )));
            }
        }
    }
    Ok(Turn::Later(later))
}

/// Whether an earlier request waits of which the same sender was told. Under one
/// address strangers are told once together.
async fn is_told(
    request: &NewRequest,
    connection: &mut SqliteConnection,
) -> Result<bool, sqlx::Error> {
    let by_target = request.trust == Trust::Stranger;
    sqlx::query_scalar(
        "SELECT iif(?1,
             EXISTS (SELECT 1 FROM requests WHERE target = ?2 AND told = 1),
             EXISTS (SELECT 1 FROM requests WHERE sender = ?3 AND told = 1))",
    )
    .bind(by_target)
    .bind(request.targets.first().map(|first| first.to_lowercase()))
    .bind(&request.sender)
    .fetch_one(connection)
    .await
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
mod tests;
