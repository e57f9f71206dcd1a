//! Answers spooled requests, and hands the replies to Postfix. Both kinds of task lease
//! their work, so that any number of tasks and processes never do the same work at once.
//! Knows no milter.

mod answering;
mod clock_watch;
mod delivering;
mod holding;
mod injection;
mod retry;
mod seal_watch;
mod task;
mod upkeep;
mod watching;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::sleep,
};

pub(crate) use self::answering::{Answering, ReplySettings};
pub use self::injection::Injector;
pub(crate) use self::injection::{InjectionError, InjectionSettings};
pub(crate) use self::retry::Retry;
pub(crate) use self::task::Worker;
pub(crate) use self::upkeep::Upkeep;
use self::{
    delivering::DeliverReplies,
    holding::{InWork, holding},
    task::{Found, TROUBLE_PAUSE, Task, jitter},
};
use crate::{
    faults::{self, FaultPoint},
    mail::NoticeCode,
    measures::{FINISHED, Finished, FoundAtFault, NOTICES, NoticeSent, PANICS},
    store::{Arrivals, Completed, Completion, First, LeasedRequest, StoreError},
    time::Clock as _,
};

/// The longest sleep between two looks into the store: a clock that is set back must not
/// keep a request waiting.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// Takes requests to their committed results.
struct AnswerRequests {
    in_work: Arc<InWork<LeasedRequest>>,
    first: First,
}

#[async_trait]
impl Task for AnswerRequests {
    async fn arrival(&self, arrivals: &Arrivals) {
        arrivals.request().await;
    }

    async fn next_due(&self, worker: &Worker) -> Result<Option<Timestamp>, StoreError> {
        worker.store.next_request().await
    }

    async fn step(&mut self, worker: &Worker) -> Result<Found, StoreError> {
        self.first = self.first.other();
        let leasing = worker.leasing(&self.in_work, self.first);
        faults::pass(FaultPoint::BeforeLease);
        let Some(leased) = worker.store.lease(leasing).await? else {
            return Ok(Found::Nothing);
        };
        let _begun = self.in_work.begin(leased.token);
        faults::pass(FaultPoint::AfterLease);
        let renew = || {
            let (now, hold) = (worker.clock.now(), worker.lease.as_signed());
            worker.store.renew(&leased.token, now, hold)
        };
        // A key, module or permission may change between reading and committing. The
        // request is answered once more then, by the present data.
        let answering = async {
            while worker.answer(&leased).await? == Completed::BasisChanged {}
            Ok(Found::Work)
        };
        holding(worker.lease, renew, answering).await
    }

    async fn rest(&mut self) {}
}

impl Worker {
    /// Runs `requests` answering and `deliveries` delivering tasks until `stop` turns true.
    /// Each ends between two steps.
    ///
    /// # Errors
    /// A task panicked. All others have ended as well: a gateway that loses its tasks one by
    /// one would go unnoticed.
    pub(crate) async fn run(
        self: Arc<Self>,
        requests: usize,
        deliveries: usize,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), JoinError> {
        let (end, ended) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let in_work = Arc::<InWork<LeasedRequest>>::default();
        for _ in 0..requests {
            let task = AnswerRequests {
                in_work: in_work.clone(),
                first: First::default(),
            };
            tasks.spawn(self.clone().carry_out(task, ended.clone()));
        }
        let shared = Arc::default();
        for _ in 0..deliveries {
            let task = DeliverReplies::new(Arc::clone(&shared));
            tasks.spawn(self.clone().carry_out(task, ended.clone()));
        }
        tasks.spawn(self.clone().watch_hand_over(ended));
        let mut outcome = Ok(());
        loop {
            let is_going_on = !*end.borrow();
            tokio::select! {
                _ = stop.wait_for(|stop| *stop), if is_going_on => {}
                ended = tasks.join_next() => match ended {
                    None => return outcome,
                    Some(Ok(())) => {}
                    Some(failed) => outcome = failed,
                }
            }
            end.send_replace(true);
        }
    }

    /// Does step after step while there is work, and sleeps when there is none.
    async fn carry_out(self: Arc<Self>, mut task: impl Task, mut stop: watch::Receiver<bool>) {
        let arrivals = self.store.arrivals();
        while !*stop.borrow() {
            let pause = match task.step(&self).await {
                Ok(Found::Work) => continue,
                Ok(Found::Nothing) => self.time_to(task.next_due(&self).await),
                Err(error) => {
                    tracing::error!(%error, "the store is in trouble; trying again");
                    TROUBLE_PAUSE
                }
            };
            task.rest().await;
            tokio::select! {
                () = task.arrival(&arrivals) => {}
                () = sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        task.rest().await;
    }

    fn time_to(&self, next: Result<Option<Timestamp>, StoreError>) -> Duration {
        let now = self.clock.now();
        match next {
            Ok(Some(due)) => Duration::try_from(due.duration_since(now))
                .unwrap_or(Duration::ZERO)
                .clamp(Duration::from_millis(10), LONGEST_SLEEP),
            Ok(None) => LONGEST_SLEEP,
            Err(error) => {
                tracing::error!(%error, "the store is in trouble; trying again");
                TROUBLE_PAUSE
            }
        }
    }

    async fn answer(&self, leased: &LeasedRequest) -> Result<Completed, StoreError> {
        let now = self.clock.now();
        let answering = self.answering.borrow().clone();
        let completion = match attempt(&answering, leased, now).await {
            Ok(completion) => completion,
            Err(failed) => {
                // The attempt may have taken long: the wait begins after it.
                let times = self.times(leased.accepted_at, leased.accepted_at);
                let now = times.now;
                match self
                    .retry
                    .again(leased.attempts, times, !leased.notified, jitter(now))
                {
                    Some(until) => {
                        self.put_off(leased, &answering, until, &failed).await?;
                        return Ok(Completed::LeaseLost);
                    }
                    None => answering.give_up(leased, &failed.reason, now),
                }
            }
        };
        let audit = &completion.audit;
        let (result, code) = (audit.result.clone(), audit.code.clone());
        let smid = audit.smid.clone();
        let finished = Finished::new(audit.service.as_deref(), result.as_deref(), code.as_deref());
        let completed = self.store.complete(&leased.token, completion).await?;
        faults::pass(FaultPoint::AfterCompletionCommit);
        match completed {
            Completed::Committed => {
                FINISHED.at(finished).increment(1);
                tracing::info!(queue_id = leased.queue_id, request = %leased.id, result, code, smid, "answered");
            }
            Completed::LeaseLost => {
                tracing::warn!(queue_id = leased.queue_id, request = %leased.id, "another worker has this request");
            }
            Completed::BasisChanged => {
                tracing::info!(queue_id = leased.queue_id, request = %leased.id, "keys changed meanwhile; judged again");
            }
        }
        Ok(completed)
    }
}

impl Worker {
    async fn put_off(
        &self,
        leased: &LeasedRequest,
        answering: &Answering,
        until: Timestamp,
        FailedAttempt { reason, again_in }: &FailedAttempt,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        // All requests with this trouble wait for one trial, and go on after it.
        let trial = again_in.and_then(|wait| now.checked_add(wait).ok());
        let until = trial.map_or(until, |trial| until.min(trial));
        if again_in.is_none() {
            tracing::warn!(queue_id = leased.queue_id, request = %leased.id, %until, trouble = reason, "put off");
        }
        self.store
            .postpone(&leased.token, now, until, reason)
            .await?;
        // Other requests of the same sender wait behind this one.
        let late = self
            .store
            .requests_to_notify(leased.id, self.retry.late_if_by(now))
            .await?;
        for request in late {
            let notice = answering.late_notice(&request, now);
            if self.store.notify(request.id, now, notice).await? {
                NOTICES.at(NoticeSent(NoticeCode::Deferred)).increment(1);
            }
        }
        Ok(())
    }
}

/// A failed attempt at a completion.
struct FailedAttempt {
    reason: String,
    /// The time until the next trial, if another request has logged the trouble.
    again_in: Option<Duration>,
}

/// One attempt at a completion. A panic is a fault of the gateway and must not end the
/// worker. It counts as a failed attempt, so that the request is given up in the end.
async fn attempt(
    answering: &Answering,
    leased: &LeasedRequest,
    now: Timestamp,
) -> Result<Completion, FailedAttempt> {
    match AssertUnwindSafe(answering.complete(leased, now))
        .catch_unwind()
        .await
    {
        Ok(Ok(completion)) => Ok(completion),
        Ok(Err(error)) => Err(FailedAttempt {
            reason: error.to_string(),
            again_in: error.again_in(),
        }),
        Err(_) => {
            tracing::error!(queue_id = leased.queue_id, request = %leased.id, "answering panicked; this is a fault of the gateway");
            PANICS.at(FoundAtFault::Answering).increment(1);
            Err(FailedAttempt {
                reason: "a fault of the gateway".to_owned(),
                again_in: None,
            })
        }
    }
}
