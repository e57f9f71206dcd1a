//! Takes a request out of its allowances, in the transaction that takes it into the spool. Ends a
//! block at an operator's order.

use jiff::Timestamp;

use super::acquaintance::Acquaintance;
use super::buckets::Buckets;
use crate::audit::{Entry, Event};
use crate::mail::{Address, NoticeCode};
use crate::policy::throttle::Standing;
use crate::policy::{Charge, Charges, Newcomers, ThrottleKey, Trust};
use crate::store::audit::order::Order;
use crate::store::database::{Changes, Connection, DatabaseError, Due, Failure, Store, StoreError};

impl Store {
    /// Forgets how much a sender asked, by its [`crate::store::ThrottledSender::key`]. Its block
    /// ends, and its requests that wait for their turn are due. False if nothing is known of it.
    pub(crate) async fn unblock(&self, key: &str, order: Order) -> Result<bool, StoreError> {
        let key = key.to_owned();
        self.change(move |changes| unblock(&key, &order, changes))
            .await
    }
}

fn unblock(key: &str, order: &Order, changes: &mut Changes<'_>) -> Result<bool, Failure> {
    let forgotten = changes
        .connection
        .execute("DELETE FROM throttle WHERE key = $1", &[&key])?;
    if forgotten == 0 {
        return Ok(false);
    }
    // A request that was leased before waits for something else.
    changes.connection.execute(
        "UPDATE requests SET waits_since = $1, waits_until = $1
         WHERE sender = $2 AND attempts = 0",
        &[&order.at, &key],
    )?;
    changes.due = Due::ANYTHING;
    let entry = Entry {
        detail: Some(key.to_owned()),
        ..order.entry(Event::SenderUnblocked)
    };
    changes.audit(entry)?;
    Ok(true)
}

/// A request that is to be taken out of its allowances.
#[derive(Clone, Copy)]
pub(crate) struct Charged<'a> {
    pub(crate) at: Timestamp,
    /// Key of its sender in the spool.
    pub(crate) sender: &'a str,
    pub(crate) trust: Trust,
    pub(crate) targets: &'a [Address],
    pub(crate) charges: &'a Charges,
}

/// The turn of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// At once.
    Now,
    Later(Later),
    /// Never: the sender is blocked until then, and the request is not taken.
    Never {
        until: Timestamp,
        because_of: String,
    },
}

/// A turn that comes later. The sender has a notice of this request, or of an earlier one that
/// still waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Later {
    pub(crate) until: Timestamp,
    /// The notice that the sender gets now.
    pub(crate) notice: Option<NoticeCode>,
    pub(crate) because_of: String,
    /// Whether the sender got a notice earlier, when it came over its own allowance.
    is_notified: bool,
}

/// Takes a request out of its allowances. `of_first` is known of its first target. Returns the turn
/// and the buckets to be kept if the request is taken.
///
/// # Errors
/// [`Failure::Crowded`] if an allowance that refuses is used up, or the one for the notice that
/// the request waits.
pub(crate) fn charge(
    request: Charged<'_>,
    of_first: &Acquaintance,
    connection: &mut Connection,
) -> Result<(Turn, Buckets), Failure> {
    let charges = request.charges;
    let mut buckets = Buckets::of(charges, request.at, connection)?;
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
            turn = introduce(newcomers, of_first, turn, &mut buckets, connection)?;
        }
        turn = notify(turn, request, &mut buckets, connection)?;
    }
    Ok((turn, buckets))
}

/// The turn by the sender's own allowance, the only one that blocks.
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
        is_notified: notice.is_none(),
    })
}

impl Turn {
    fn not_before(self, moment: Option<Timestamp>, key: &ThrottleKey) -> Self {
        let Some(moment) = moment else {
            return self;
        };
        let (notice, is_notified) = match self {
            Turn::Now => (None, false),
            Turn::Later(later) if later.until < moment => (later.notice, later.is_notified),
            turn => return turn,
        };
        Turn::Later(Later {
            until: moment,
            notice,
            because_of: key.to_string(),
            is_notified,
        })
    }
}

/// The moment at which a standing lets a request be done. None for at once.
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

/// Takes the addresses that were never answered out of the pools of newcomers. A new one that asks
/// again while it waits pays nothing more, and waits as long.
fn introduce(
    newcomers: &Newcomers,
    of_first: &Acquaintance,
    turn: Turn,
    buckets: &mut Buckets,
    connection: &mut Connection,
) -> Result<Turn, Failure> {
    let mut turn = turn;
    let mut new = 0;
    for (place, address) in newcomers.addresses.iter().enumerate() {
        let acquaintance = match place {
            0 => of_first.clone(),
            _ => Acquaintance::with(address, connection)?,
        };
        if acquaintance.is_new() {
            new += 1;
        }
        for pool in &newcomers.pools {
            // No turn comes after the pool's last, unless the clock was set back meanwhile.
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

/// Ensures that the sender of a waiting request gets a notice. Notices to strangers have an
/// allowance, and a request for which it has no room is not taken.
fn notify(
    turn: Turn,
    request: Charged<'_>,
    buckets: &mut Buckets,
    connection: &mut Connection,
) -> Result<Turn, Failure> {
    let Turn::Later(mut later) = turn else {
        return Ok(turn);
    };
    later.notice = match later.notice {
        Some(NoticeCode::Blocked) => Some(NoticeCode::Blocked),
        // A victim of forgers gets one notice, from however many networks they come.
        Some(NoticeCode::Deferred) if request.trust != Trust::Stranger => {
            Some(NoticeCode::Deferred)
        }
        _ if later.is_notified || is_notified(request, connection)? => None,
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

/// Whether an earlier request waits for which the same sender got a notice. Strangers under one
/// address get one together.
fn is_notified(request: Charged<'_>, connection: &mut Connection) -> Result<bool, DatabaseError> {
    if request.trust != Trust::Stranger {
        return connection.scalar(
            "SELECT EXISTS (SELECT 1 FROM requests WHERE sender = $1 AND notified = 1)",
            &[&request.sender],
        );
    }
    let target = request.targets.first();
    connection.scalar(
        "SELECT EXISTS (SELECT 1 FROM requests WHERE target = $1 AND notified = 1)",
        &[&target.map(|target| target.to_string().to_lowercase())],
    )
}

#[cfg(test)]
mod tests;
