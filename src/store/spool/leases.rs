//! Leases of requests and of deliveries: tokens, renewal, and the way back to their holders.
//!
//! A lease is held until its time is over or a method that takes its token gives it back. Longer
//! work renews it. A token stays good until the same row is leased again, so that a late worker
//! that is alone still succeeds.

use std::fmt;
use std::marker::PhantomData;

use jiff::{SignedDuration, Timestamp};

use super::wait::Wait;
use crate::store::database::{Changes, DatabaseError, Failure};

/// Shows that its holder has the lease of a `T`, unless the lease has passed to another. `T` is a
/// [`crate::store::LeasedRequest`] or a `LeasedDelivery`.
pub(crate) struct LeaseToken<T> {
    /// The leased row. Its number is never used again.
    pub(super) row: i64,
    /// Number of this lease of the row.
    pub(super) lease: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> LeaseToken<T> {
    pub(super) fn new(row: i64, lease: u32) -> Self {
        Self {
            row,
            lease,
            of: PhantomData,
        }
    }
}

impl<T> PartialEq for LeaseToken<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.row, self.lease) == (other.row, other.lease)
    }
}

impl<T> Eq for LeaseToken<T> {}

impl<T> Clone for LeaseToken<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for LeaseToken<T> {}

impl<T> fmt::Debug for LeaseToken<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseToken({}, {})", self.row, self.lease)
    }
}

/// The order in which due rows are leased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum First {
    /// The row that has been due longest comes first.
    #[default]
    Oldest,
    /// The row that fell due last comes first, so that new ones need not wait for a whole backlog.
    Newest,
}

impl First {
    /// The other order, for a worker that alternates.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Oldest => Self::Newest,
            Self::Newest => Self::Oldest,
        }
    }
}

/// Terms of a lease.
#[derive(Clone, Debug)]
pub struct Leasing<T> {
    pub(crate) now: Timestamp,
    /// Length of the lease, unless it is renewed.
    pub(crate) hold: SignedDuration,
    pub(crate) first: First,
    /// Leases that this process works under. When the clock is set, such a lease may look expired.
    /// Its attempt still lives, and no second one begins beside it.
    pub(crate) in_work: Vec<LeaseToken<T>>,
}

impl<T> Leasing<T> {
    /// Terms for a process that holds no other lease.
    pub fn alone(now: Timestamp, hold: SignedDuration) -> Self {
        Self {
            now,
            hold,
            first: First::default(),
            in_work: Vec::new(),
        }
    }

    fn is_in_work(&self, row: i64) -> bool {
        self.in_work.iter().any(|token| token.row == row)
    }
}

/// The statements for one table.
pub(super) trait Leased: Send + 'static {
    /// Continues lease $4 of row $3 from $1 to $2, unless it was given back: then the row has the
    /// trouble of its attempt.
    const RENEW: &'static str;

    /// Leases row $5 to the gateway $4 from $2 to $3, as its lease $1.
    const LEASE: &'static str;
}

/// Renews a lease from now on. False if it has passed to another or was given back.
pub(super) fn renew<T: Leased>(
    token: LeaseToken<T>,
    now: Timestamp,
    hold: SignedDuration,
    changes: &mut Changes<'_>,
) -> Result<bool, Failure> {
    let wait = Wait::of(now, hold);
    let renewed = changes.connection.execute(
        T::RENEW,
        &[&wait.since, &wait.until, &token.row, &token.lease],
    )?;
    Ok(renewed > 0)
}

/// Leases a row that this transaction found due, after so many leases. None if this process still
/// works on it: then its lease is renewed.
pub(super) fn take<T: Leased>(
    row: i64,
    leases: u32,
    leasing: &Leasing<T>,
    changes: &mut Changes<'_>,
) -> Result<Option<LeaseToken<T>>, DatabaseError> {
    let is_in_work = leasing.is_in_work(row);
    let lease = leases.saturating_add(u32::from(!is_in_work));
    let wait = Wait::of(leasing.now, leasing.hold);
    changes.connection.execute(
        T::LEASE,
        &[
            &lease,
            &wait.since,
            &wait.until,
            &changes.settings.node,
            &row,
        ],
    )?;
    Ok((!is_in_work).then(|| LeaseToken::new(row, lease)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::Leasing;
    use crate::store::testing::{HOLD, PORT, TestStore, at, completion, request};

    const SECOND: SignedDuration = SignedDuration::from_secs(1);

    /// A store with a request that is due and a delivery that is.
    async fn with_both() -> TestStore {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let leased = test.lease(at(1)).await.unwrap();
        let completion = completion(at(1), &["a@b.example"]);
        test.store
            .complete(&leased.token, completion)
            .await
            .unwrap();
        test.store.accept(request(2)).await.unwrap();
        test
    }

    #[tokio::test]
    async fn a_lease_that_is_renewed_goes_on() {
        let test = with_both().await;
        let store = &test.store;
        let request = test.lease(at(2)).await.unwrap();
        let delivery = test.lease_delivery(at(2)).await.unwrap();
        let later = at(2) + HOLD - SECOND;
        assert!(store.renew(&request.token, later, HOLD).await.unwrap());
        let renewed = store.renew_delivery(&delivery.token, later, HOLD);
        assert!(renewed.await.unwrap());

        assert!(test.lease(later + HOLD - SECOND).await.is_none());
        assert!(test.lease_delivery(later + HOLD - SECOND).await.is_none());
        assert_eq!(test.lease(later + HOLD).await.unwrap().attempts, 2);
        let again = test.lease_delivery(later + HOLD).await.unwrap();
        assert_eq!(again.attempts, 2);
    }

    #[tokio::test]
    async fn a_lease_that_has_passed_on_or_was_given_back_is_not_renewed() {
        let test = with_both().await;
        let store = &test.store;
        let late = test.lease(at(2)).await.unwrap();
        let holder = test.lease(at(2) + HOLD).await.unwrap();
        let now = at(3) + HOLD;
        assert!(!store.renew(&late.token, now, HOLD).await.unwrap());
        let until = now + SECOND;
        let postponed = store.postpone(&holder.token, now, until, "KMS away");
        assert!(postponed.await.unwrap());
        assert!(!store.renew(&holder.token, now, HOLD).await.unwrap());
        assert_eq!(test.lease(until).await.unwrap().attempts, 3);
    }

    #[tokio::test]
    async fn what_is_in_work_is_not_begun_again_however_the_clock_is_set() {
        let day = SignedDuration::from_hours(24);
        for moved in [day, -day] {
            let test = with_both().await;
            let store = &test.store;
            let request = test.lease(at(2)).await.unwrap();
            let delivery = test.lease_delivery(at(2)).await.unwrap();
            let now = at(2) + moved;
            let leasing = Leasing {
                in_work: vec![request.token],
                ..Leasing::alone(now, HOLD)
            };
            assert!(store.lease(leasing).await.unwrap().work().is_none());
            let leasing = Leasing {
                in_work: vec![delivery.token],
                ..Leasing::alone(now, HOLD)
            };
            let found = store.lease_delivery(leasing, PORT).await.unwrap();
            assert!(found.work().is_none());

            // It is as if both had been renewed, and a process that died loses them.
            let renewed = store.renew(&request.token, now, HOLD);
            assert!(renewed.await.unwrap());
            assert!(test.lease(now + HOLD - SECOND).await.is_none());
            let lost = test.lease_delivery(now + HOLD).await.unwrap();
            assert_eq!(lost.attempts, 2);
        }
    }
}
