//! Hands finished replies to Postfix, one target at a time. A session stays open only
//! while there is work, and a moment longer, and no reply is refused. Distinguishes
//! trouble with the target, with the reply and with the port.

use std::{
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    holding::{InWork, holding},
    injection::{InjectionError, InjectionSettings, Injector},
    task::{TROUBLE_PAUSE, Task, Terms, Worker, jitter},
};
use crate::{
    faults::{self, FaultPoint},
    mail::{Address, NoticeCode},
    measures::{DELIVERIES, DeliveryEnd, FoundAtFault, NOTICES, NoticeSent, PANICS, REPLY_LATENCY},
    store::{First, Idle, LeasedDelivery, Leasing, Looked, PortFailure, Postponement, StoreError},
    time::Clock as _,
};

/// Refusals in a row, none of them for the address, after which the port counts as in
/// trouble. A single refusal may be due to the reply.
const REFUSALS_IN_A_ROW: u32 = 3;

/// How long a session stays open without work, as with Postfix's own clients
/// (`smtp_connection_cache_time_limit`). Postfix ends an idle one sooner or later, and the next
/// reply would notice that only after it was sent.
const SESSION_KEPT: Duration = Duration::from_secs(2);

/// State shared by all tasks that hand replies over.
#[derive(Default)]
pub(super) struct Shared {
    in_work: Arc<InWork<LeasedDelivery>>,
    /// Refusals since the last reply was taken, not counting those for the address.
    refused_in_a_row: AtomicU32,
}

/// Hands finished replies to Postfix.
pub(super) struct DeliverReplies {
    shared: Arc<Shared>,
    session: Option<Injector>,
    first: First,
}

impl DeliverReplies {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            session: None,
            first: First::default(),
        }
    }

    /// The terms of the next lease, and the port. New replies and old ones go in turn.
    fn terms(&mut self, worker: &Worker) -> NextDelivery {
        self.first = self.first.other();
        NextDelivery {
            terms: worker.terms(&self.shared.in_work, self.first),
            delivering: worker.delivering.clone(),
        }
    }
}

/// The terms on which a task leases its next delivery.
struct NextDelivery {
    terms: Terms<LeasedDelivery>,
    delivering: watch::Receiver<InjectionSettings>,
}

impl NextDelivery {
    fn now(&self) -> (Leasing<LeasedDelivery>, SocketAddr) {
        (self.terms.now(), self.delivering.borrow().server)
    }
}

#[async_trait]
impl Task for DeliverReplies {
    type Work = LeasedDelivery;

    async fn look(&mut self, worker: &Worker) -> Result<Looked<LeasedDelivery>, StoreError> {
        let (leasing, port) = self.terms(worker).now();
        worker.store.lease_delivery(leasing, port).await
    }

    async fn wait(
        &mut self,
        worker: &Worker,
        since: Idle,
        until: impl Future<Output = ()> + Send,
    ) -> Result<Option<Looked<LeasedDelivery>>, StoreError> {
        let next = self.terms(worker);
        let terms = move || next.now();
        if self.session.is_none() {
            let waiting = worker.store.lease_delivery_when_due(since, terms, until);
            return waiting.await;
        }
        let until = async {
            tokio::select! {
                () = until => {}
                () = sleep(SESSION_KEPT) => {}
            }
        };
        let begun = Instant::now();
        let waiting = worker.store.lease_delivery_when_due(since, terms, until);
        let found = waiting.await?;
        if found.is_none() && begun.elapsed() >= SESSION_KEPT {
            self.rest().await;
        }
        Ok(found)
    }

    async fn work(
        &mut self,
        worker: &Worker,
        leased: LeasedDelivery,
        goes_on: impl Fn() -> bool + Send + Sync,
    ) -> Result<Option<Looked<LeasedDelivery>>, StoreError> {
        let settings = worker.delivering.borrow().clone();
        let shared = self.shared.clone();
        let _begun = shared.in_work.begin(leased.token);
        let renew = || {
            let (now, hold) = (worker.clock.now(), worker.lease.as_signed());
            worker.store.renew_delivery(&leased.token, now, hold)
        };
        let attempt = Attempt {
            worker,
            shared: &shared,
            settings: &settings,
            leased: &leased,
        };
        let attempt = async {
            let sent = attempt.send(&mut self.session).await;
            let next = goes_on().then(|| Arc::new(self.terms(worker)));
            attempt.note(sent, next).await
        };
        holding(worker.lease, renew, attempt).await
    }

    async fn rest(&mut self) {
        if let Some(session) = self.session.take() {
            session.quit().await;
        }
    }
}

/// One attempt at a delivery.
struct Attempt<'a> {
    worker: &'a Worker,
    shared: &'a Shared,
    settings: &'a InjectionSettings,
    leased: &'a LeasedDelivery,
}

impl Attempt<'_> {
    /// Returns Postfix's answer if it took the reply. A panic is a fault of the gateway
    /// and must not end the worker: the delivery is tried again, or given up, like any
    /// other.
    async fn send(&self, session: &mut Option<Injector>) -> Result<String, InjectionError> {
        AssertUnwindSafe(self.send_or_panic(session))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| {
                PANICS.at(FoundAtFault::Delivering).increment(1);
                Err(InjectionError::Fault)
            })
    }

    async fn send_or_panic(
        &self,
        session: &mut Option<Injector>,
    ) -> Result<String, InjectionError> {
        let leased = self.leased;
        let target = Address::parse(&leased.target).map_err(|error| {
            InjectionError::NoSuchAddress(format!("{} is no address: {error}", leased.target))
        })?;
        if let Some(kept) = session.take() {
            match self.send_by(kept, &target, session).await {
                // The session may have ended while it was idle. It took nothing, and the
                // port may be well: try a new session.
                Err(InjectionError::Port(_)) => {}
                sent => return sent,
            }
        }
        let settings = self.settings;
        let injector = Injector::connect(settings.server, &settings.helo_name).await?;
        self.send_by(injector, &target, session).await
    }

    async fn send_by(
        &self,
        mut injector: Injector,
        target: &Address,
        session: &mut Option<Injector>,
    ) -> Result<String, InjectionError> {
        let leased = self.leased;
        let sent = injector
            .send(&leased.reverse_path, target, &leased.message)
            .await;
        match sent {
            Ok(_) => *session = Some(injector),
            // Postfix counts refusals: past `smtpd_soft_error_limit` it answers every
            // command of this session late, also for other replies.
            Err(_) => injector.quit().await,
        }
        sent
    }

    /// The word for it in the log.
    fn what(&self) -> &'static str {
        match self.leased.is_notice {
            true => "notice",
            false => "reply",
        }
    }

    /// Notes how the attempt ended. If Postfix took the reply, the next delivery is leased with
    /// that, on these terms.
    async fn note(
        &self,
        sent: Result<String, InjectionError>,
        next: Option<Arc<NextDelivery>>,
    ) -> Result<Option<Looked<LeasedDelivery>>, StoreError> {
        let failed = match sent {
            Ok(answer) => return self.taken(&answer, next).await,
            Err(error @ (InjectionError::NoSuchAddress(_) | InjectionError::Smtputf8(_))) => {
                self.refused_for_good(&error).await
            }
            Err(error @ InjectionError::AddressNotNow(_)) => {
                self.reached_the_address().await?;
                self.put_off(&error, DeliveryEnd::PutOff).await
            }
            Err(error @ InjectionError::Fault) => self.put_off(&error, DeliveryEnd::PutOff).await,
            Err(error @ InjectionError::Refused(_)) => self.kept(&error).await,
            Err(InjectionError::Port(trouble)) => self.port_failed(trouble).await,
        };
        failed.map(|()| None)
    }

    async fn taken(
        &self,
        answer: &str,
        next: Option<Arc<NextDelivery>>,
    ) -> Result<Option<Looked<LeasedDelivery>>, StoreError> {
        let (worker, leased) = (self.worker, self.leased);
        // After a trial others are due only once the port is known to work.
        let next = next.filter(|_| leased.trial.is_none());
        faults::pass(FaultPoint::BeforeNote);
        let found = self.note_taken(answer, next).await?;
        faults::pass(FaultPoint::AfterNote);
        let latency = worker.clock.now().duration_since(leased.accepted_at);
        REPLY_LATENCY.only().record(latency.as_secs_f64().max(0.0));
        count(DeliveryEnd::Delivered);
        let (queue_id, request, target) = (&leased.queue_id, &leased.request_id, &leased.target);
        let reply_queue_id = queue_id_in(answer);
        tracing::info!(queue_id, %request, target, reply_queue_id, "{} handed to Postfix", self.what());
        self.shared.refused_in_a_row.store(0, Ordering::Relaxed);
        if leased.trial.is_some() {
            worker.port_works(self.settings.server).await?;
        }
        Ok(found)
    }

    /// Notes that Postfix has the reply, and tries until it succeeds: a reply that is not
    /// noted is sent again.
    async fn note_taken(
        &self,
        answer: &str,
        next: Option<Arc<NextDelivery>>,
    ) -> Result<Option<Looked<LeasedDelivery>>, StoreError> {
        let leased = self.leased;
        loop {
            match self.try_to_note_taken(answer, next.clone()).await {
                Ok((true, found)) => return Ok(found),
                Ok((false, found)) => {
                    let (queue_id, request) = (&leased.queue_id, &leased.request_id);
                    let target = &leased.target;
                    tracing::warn!(queue_id, %request, target, answer, "Postfix took a {} whose delivery had ended before", self.what());
                    return Ok(found);
                }
                Err(error @ StoreError::Closed) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "the store is in trouble; trying again to note that Postfix has a reply");
                    sleep(TROUBLE_PAUSE).await;
                }
            }
        }
    }

    async fn try_to_note_taken(
        &self,
        answer: &str,
        next: Option<Arc<NextDelivery>>,
    ) -> Result<(bool, Option<Looked<LeasedDelivery>>), StoreError> {
        let (store, leased) = (&self.worker.store, self.leased);
        let now = self.worker.clock.now();
        let Some(next) = next else {
            return Ok((store.delivered(leased, now, answer).await?, None));
        };
        let noting = store.delivered_and_lease(leased, now, answer, move || next.now());
        let (ended, found) = noting.await?;
        Ok((ended, Some(found)))
    }

    /// Ends the delivery: the address is wrong, and no later attempt can succeed.
    async fn refused_for_good(&self, error: &InjectionError) -> Result<(), StoreError> {
        let (worker, leased) = (self.worker, self.leased);
        self.reached_the_address().await?;
        worker
            .store
            .undeliverable(&leased.token, worker.clock.now(), &error.to_string())
            .await?;
        count(DeliveryEnd::Refused);
        let (queue_id, request, target) = (&leased.queue_id, &leased.request_id, &leased.target);
        tracing::warn!(queue_id, %request, target, %error, "{} refused for good", self.what());
        Ok(())
    }

    /// Notes that the port works: a trial reached the point at which Postfix judges the
    /// address. At a port that refuses replies this proves nothing; the next reply is the
    /// trial there.
    async fn reached_the_address(&self) -> Result<(), StoreError> {
        match &self.leased.trial {
            Some(trouble) if !trouble.refuses => self.worker.port_works(self.settings.server).await,
            _ => Ok(()),
        }
    }

    /// Keeps a reply that Postfix refuses for a reason of the site's. Other replies go on
    /// until several in a row are refused.
    async fn kept(&self, error: &InjectionError) -> Result<(), StoreError> {
        let refused_before = self.shared.refused_in_a_row.fetch_add(1, Ordering::Relaxed);
        if self.leased.trial.is_some() || refused_before + 1 >= REFUSALS_IN_A_ROW {
            self.port_is_in_trouble(error.to_string(), true).await?;
        }
        self.put_off(error, DeliveryEnd::Kept).await
    }

    /// Notes that the port takes no reply at all. The attempt does not count.
    async fn port_failed(&self, trouble: String) -> Result<(), StoreError> {
        count(DeliveryEnd::NoPort);
        self.port_is_in_trouble(trouble, false).await?;
        let now = self.worker.clock.now();
        let token = &self.leased.token;
        self.worker.store.release_delivery(token, now).await?;
        Ok(())
    }

    async fn port_is_in_trouble(&self, trouble: String, refuses: bool) -> Result<(), StoreError> {
        let failed_before = self.leased.trial.as_ref().map(|trouble| trouble.failures);
        let now = self.worker.clock.now();
        let failures = failed_before.unwrap_or_default() + 1;
        let failure = PortFailure {
            port: self.settings.server,
            at: now,
            until: self.worker.retry.port_again(failures, now, jitter(now)),
            refuses,
            trouble,
            is_trial: failed_before.is_some(),
        };
        self.worker.port_fails(failure).await
    }

    /// Tries again later, or gives up.
    async fn put_off(&self, error: &InjectionError, end: DeliveryEnd) -> Result<(), StoreError> {
        let (worker, leased) = (self.worker, self.leased);
        let (now, reason) = (worker.clock.now(), error.to_string());
        let (queue_id, request, target) = (&leased.queue_id, &leased.request_id, &leased.target);
        let times = worker.times(leased.accepted_at, leased.completed_at);
        let again = worker
            .retry
            .again(leased.attempts, times, leased.can_be_notified, jitter(now));
        let Some(until) = again else {
            worker
                .store
                .undeliverable(&leased.token, now, &reason)
                .await?;
            count(DeliveryEnd::GivenUp);
            tracing::error!(queue_id, %request, target, reason, "{} given up", self.what());
            return Ok(());
        };
        match end {
            // The watch logs them together, once a minute.
            DeliveryEnd::Kept => {
                tracing::debug!(queue_id, %request, target, %until, reason, "{} kept", self.what())
            }
            _ => {
                tracing::warn!(queue_id, %request, target, %until, reason, "{} put off", self.what())
            }
        }
        let postponement = Postponement {
            at: now,
            until,
            reason,
            refused: end == DeliveryEnd::Kept,
            late_if_by: worker.retry.late_if_by(now),
        };
        let notices = worker
            .store
            .postpone_delivery(&leased.token, postponement)
            .await?;
        let notices = notices.unwrap_or_default() as u64;
        NOTICES
            .at(NoticeSent(NoticeCode::Deferred))
            .increment(notices);
        count(end);
        Ok(())
    }
}

fn count(end: DeliveryEnd) {
    DELIVERIES.at(end).increment(1);
}

/// The reply's queue id in Postfix's log, out of an answer such as `250 2.0.0 Ok: queued
/// as 4bXyZq1cDez9`. The whole answer if it has none.
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
