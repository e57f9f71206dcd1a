//! Holds leases during the work: renews them until the attempt ends, and remembers them, so
//! that this process begins no work twice. Does not know what the work is.

use std::{
    convert::Infallible,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    config::Period,
    store::{LeaseToken, StoreError},
};

/// Renewals within the time of one lease: two of them may fail.
const RENEWALS: u32 = 3;

/// The leases that this process works on.
#[derive(Debug)]
pub(super) struct InWork<T>(Mutex<Vec<LeaseToken<T>>>);

impl<T> Default for InWork<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> InWork<T> {
    /// The tokens of all work.
    pub(super) fn tokens(&self) -> Vec<LeaseToken<T>> {
        self.lock().clone()
    }

    /// Notes that work on this lease begins. It ends when the result is dropped.
    pub(super) fn begin(&self, token: LeaseToken<T>) -> Begun<'_, T> {
        self.lock().push(token);
        Begun { of: self, token }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LeaseToken<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that has begun and not ended.
pub(super) struct Begun<'a, T> {
    of: &'a InWork<T>,
    token: LeaseToken<T>,
}

impl<T> Drop for Begun<'_, T> {
    fn drop(&mut self) {
        self.of.lock().retain(|token| *token != self.token);
    }
}

/// Does `work`, and renews the lease meanwhile.
pub(super) async fn holding<W: Future, R: Future<Output = Result<bool, StoreError>>>(
    lease: Period,
    renew: impl Fn() -> R,
    work: W,
) -> W::Output {
    tokio::select! {
        biased;
        done = work => done,
        never = renewing(lease.as_std() / RENEWALS, renew) => match never {},
    }
}

/// Renews for ever. A lost lease does not end the attempt: Postfix may have the reply
/// already, and that is to be noted.
async fn renewing<R: Future<Output = Result<bool, StoreError>>>(
    every: Duration,
    renew: impl Fn() -> R,
) -> Infallible {
    loop {
        sleep(every).await;
        match renew().await {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!("a lease was not renewed: another worker has it, or it has ended")
            }
            Err(error) => tracing::warn!(%error, "a lease could not be renewed; trying again"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{cell::Cell, future::pending};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_while_the_work_lasts_and_no_longer() {
        let renewals = Cell::new(0);
        let renew = || async {
            renewals.set(renewals.get() + 1);
            match renewals.get() % 3 {
                0 => Err(StoreError::Closed),
                1 => Ok(true),
                _ => Ok(false),
            }
        };
        let lease = Period::from_secs(30);
        let work = sleep(Duration::from_secs(95));
        holding(lease, renew, work).await;
        assert_eq!(renewals.get(), 9);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(renewals.get(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_hangs_holds_up_no_work() {
        let work = sleep(Duration::from_secs(95));
        holding(Period::from_secs(30), pending, work).await;
    }
}
