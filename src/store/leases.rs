//! What the leases of requests and of deliveries have in common: renewed while
//! their attempts live, and left to who holds them.

use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteConnection;

use super::error::Failure;
use super::intent::{Changes, Intent};
use super::values::{LeaseToken, LeasedDelivery, LeasedRequest};
use super::wait::Wait;

/// What is leased, by its table.
pub(super) trait Leased: Send + 'static {
    /// A lease goes on from ?1 to ?2, unless it was given back: then it has the
    /// trouble of its attempt.
    const RENEW: &'static str;

    /// The lease just given out was none: no attempt begins.
    const UNDO: &'static str;
}

impl Leased for LeasedRequest {
    const RENEW: &'static str = "UPDATE requests SET waits_since = ?1, waits_until = ?2
         WHERE sequence = ?3 AND attempts = ?4 AND NOT EXISTS (
             SELECT 1 FROM request_troubles WHERE request = sequence AND attempt = attempts)";

    const UNDO: &'static str = "UPDATE requests SET attempts = attempts - 1 WHERE sequence = ?";
}

impl Leased for LeasedDelivery {
    const RENEW: &'static str = "UPDATE deliveries SET waits_since = ?1, waits_until = ?2
         WHERE sequence = ?3 AND attempts = ?4 AND NOT EXISTS (
             SELECT 1 FROM delivery_troubles WHERE delivery = sequence AND attempt = attempts)";

    const UNDO: &'static str = "UPDATE deliveries SET attempts = attempts - 1 WHERE sequence = ?";
}

/// Renews a lease: its attempt lives.
pub(super) struct Renew<T> {
    pub(super) token: LeaseToken<T>,
    pub(super) now: Timestamp,
    pub(super) hold: SignedDuration,
}

impl<T: Leased> Intent for Renew<T> {
    type Answer = bool;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<bool, Failure> {
        let wait = Wait::of(self.now, self.hold);
        let renewed = sqlx::query(T::RENEW)
            .bind(wait.since)
            .bind(wait.until)
            .bind(self.token.row)
            .bind(self.token.lease)
            .execute(&mut *changes.connection)
            .await?;
        Ok(renewed.rows_affected() > 0)
    }
}

/// Takes the lease just given out back: the process that asked for it is still at
/// work on this. The time of the lease stays, as if it had been renewed.
pub(super) async fn leave_to_its_holder<T: Leased>(
    row: i64,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(T::UNDO).bind(row).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::{HOLD, PORT, TestStore, at, completion, request};
    use super::super::{Leasing, Store};
    use super::*;

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
            assert!(store.lease(leasing).await.unwrap().is_none());
            let leasing = Leasing {
                in_work: vec![delivery.token],
                ..Leasing::alone(now, HOLD)
            };
            assert!(store.lease_delivery(leasing, PORT).await.unwrap().is_none());

            // It is as if both had been renewed, and a process that died loses them.
            let renewed = store.renew(&request.token, now, HOLD);
            assert!(renewed.await.unwrap());
            assert!(test.lease(now + HOLD - SECOND).await.is_none());
            let lost = test.lease_delivery(now + HOLD).await.unwrap();
            assert_eq!(lost.attempts, 2);
        }
    }
}
