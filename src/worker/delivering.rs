//! Hands finished replies to Postfix, one target at a time, over a session
//! that is kept open while there is work and no reply is refused, never longer.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::time::sleep;

use super::{
    Found, TROUBLE_PAUSE, Task, Worker,
    holding::{InWork, holding},
    injection::{InjectionError, Injector},
    jitter,
};
use crate::{
    clock::Clock as _,
    faults::{self, FaultPoint},
    mail::{Address, NoticeCode},
    measures::{DELIVERIES, DeliveryEnd, FoundAtFault, NOTICES, NoticeSent, PANICS, REPLY_LATENCY},
    store::{Arrivals, LeasedDelivery, StoreError},
};

/// Where replies go.
#[derive(Clone, Debug)]
pub struct InjectionSettings {
    /// Postfix's milter-free port.
    pub server: SocketAddr,
    /// The name that EHLO gives.
    pub helo_name: String,
}

/// Hands replies over by these settings.
pub struct Delivering {
    /// Where they go.
    pub settings: InjectionSettings,
}

/// Hands finished replies to Postfix.
pub(super) struct DeliverReplies {
    in_work: Arc<InWork<LeasedDelivery>>,
    session: Option<Injector>,
}

impl DeliverReplies {
    /// One of those that share the list of what is in work.
    pub(super) fn new(in_work: Arc<InWork<LeasedDelivery>>) -> Self {
        Self {
            in_work,
            session: None,
        }
    }
}

#[async_trait]
impl Task for DeliverReplies {
    async fn arrival(&self, arrivals: &Arrivals) {
        arrivals.delivery().await;
    }

    async fn step(&mut self, worker: &Worker) -> Result<Found, StoreError> {
        let leasing = worker.leasing(&self.in_work);
        let Some(leased) = worker.store.lease_delivery(leasing).await? else {
            return Ok(Found::Nothing);
        };
        let _begun = self.in_work.begin(leased.token);
        let renew = || {
            let (now, hold) = (worker.clock.now(), worker.lease.as_signed());
            worker.store.renew_delivery(&leased.token, now, hold)
        };
        let attempt = attempt(worker, &mut self.session, &leased);
        holding(worker.lease, renew, attempt).await?;
        Ok(Found::Work)
    }

    /// A session is never kept across idle time: Postfix would end it, and the
    /// next reply would find that out only after it was sent.
    async fn rest(&mut self) {
        if let Some(session) = self.session.take() {
            session.quit().await;
        }
    }
}

/// One attempt, with what comes of it.
async fn attempt(
    worker: &Worker,
    session: &mut Option<Injector>,
    leased: &LeasedDelivery,
) -> Result<(), StoreError> {
    let settings = worker.delivering.borrow().settings.clone();
    // A panic is a fault of ours that must not end the worker: the delivery
    // is tried again and comes to an end as any other.
    let sent = AssertUnwindSafe(send(&settings, session, leased))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            PANICS.at(FoundAtFault::Delivering).increment(1);
            let fault = "a fault of the gateway: it panicked".to_owned();
            Err(InjectionError::Session(fault))
        });
    note(worker, leased, sent).await
}

async fn send(
    settings: &InjectionSettings,
    session: &mut Option<Injector>,
    leased: &LeasedDelivery,
) -> Result<String, InjectionError> {
    let target = Address::parse(&leased.target).map_err(|error| {
        InjectionError::Refused(format!("{} is no address: {error}", leased.target))
    })?;
    let mut injector = match session.take() {
        Some(injector) => injector,
        None => Injector::connect(settings.server, &settings.helo_name).await?,
    };
    let sent = injector
        .send(&leased.reverse_path, &target, &leased.message)
        .await;
    match sent {
        Ok(_) => *session = Some(injector),
        // A session that failed in the middle is of no more use.
        Err(InjectionError::Session(_)) => {}
        // Postfix counts what it refuses: past `smtpd_soft_error_limit` it answers
        // everything on this session late, whosever reply it is.
        Err(_) => injector.quit().await,
    }
    sent
}

async fn note(
    worker: &Worker,
    leased: &LeasedDelivery,
    sent: Result<String, InjectionError>,
) -> Result<(), StoreError> {
    let now = worker.clock.now();
    let (queue_id, request, target) = (&leased.queue_id, &leased.request_id, &leased.target);
    match sent {
        Ok(answer) => {
            faults::pass(FaultPoint::BeforeNote);
            note_taken(worker, leased, &answer).await?;
            faults::pass(FaultPoint::AfterNote);
            let latency = now.duration_since(leased.accepted_at);
            REPLY_LATENCY.only().record(latency.as_secs_f64().max(0.0));
            count(DeliveryEnd::Delivered);
            let reply_queue_id = queue_id_in(&answer);
            tracing::info!(queue_id, %request, target, reply_queue_id, "reply handed to Postfix");
        }
        Err(error @ (InjectionError::Refused(_) | InjectionError::Smtputf8(_))) => {
            worker
                .store
                .undeliverable(&leased.token, now, &error.to_string())
                .await?;
            count(DeliveryEnd::Refused);
            tracing::warn!(queue_id, %request, target, %error, "reply refused for good");
        }
        Err(error @ (InjectionError::Deferred(_) | InjectionError::Session(_))) => {
            let reason = error.to_string();
            let times = worker.times(leased.accepted_at, leased.completed_at);
            match worker
                .retry
                .again(leased.attempts, times, leased.can_be_told, jitter(now))
            {
                Some(until) => {
                    let late_if_by = worker.retry.late_if_by(now);
                    let told = worker
                        .store
                        .postpone_delivery(&leased.token, now, until, &reason, late_if_by)
                        .await?;
                    let told = told.unwrap_or_default() as u64;
                    NOTICES.at(NoticeSent(NoticeCode::Deferred)).increment(told);
                    count(DeliveryEnd::PutOff);
                    tracing::warn!(queue_id, %request, target, %until, reason, "reply put off");
                }
                None => {
                    worker
                        .store
                        .undeliverable(&leased.token, now, &reason)
                        .await?;
                    count(DeliveryEnd::GivenUp);
                    tracing::error!(queue_id, %request, target, reason, "reply given up");
                }
            }
        }
    }
    Ok(())
}

/// Notes what Postfix has, as often as it takes: what is not noted goes out again.
async fn note_taken(
    worker: &Worker,
    leased: &LeasedDelivery,
    answer: &str,
) -> Result<(), StoreError> {
    loop {
        let now = worker.clock.now();
        match worker.store.delivered(leased, now, answer).await {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let (queue_id, request) = (&leased.queue_id, &leased.request_id);
                let target = &leased.target;
                tracing::warn!(queue_id, %request, target, answer, "Postfix took a reply that had ended before");
                return Ok(());
            }
            Err(error @ StoreError::Closed) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "the store is in trouble; trying again to note that Postfix has a reply");
                sleep(TROUBLE_PAUSE).await;
            }
        }
    }
}

fn count(end: DeliveryEnd) {
    DELIVERIES.at(end).increment(1);
}

/// The name by which Postfix's log goes on with the reply (`250 2.0.0 Ok: queued
/// as 4bXyZq1cDez9`); all that the server said where that isn't in it.
fn queue_id_in(answer: &str) -> &str {
    let found = answer.split_once("queued as ");
    found.map_or(answer, |(_, id)| id.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postfix_s_own_name_for_the_reply_is_found() {
        assert_eq!(
            queue_id_in("250 2.0.0 Ok: queued as 4bXyZq1cDez9"),
            "4bXyZq1cDez9"
        );
        assert_eq!(queue_id_in("250 2.6.0 taken"), "250 2.6.0 taken");
    }
}
