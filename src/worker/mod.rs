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
    task::{TROUBLE_PAUSE, Task, jitter},
};
use crate::{
    faults::{self, FaultPoint},
    mail::NoticeCode,
    measures::{FINISHED, Finished, FoundAtFault, NOTICES, NoticeSent, PANICS},
    store::{Completed, Completion, First, Idle, LeasedRequest, Leasing, Looked, StoreError},
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

impl AnswerRequests {
    /// The terms of the next lease. New requests and old ones go in turn.
    fn terms(&mut self, worker: &Worker) -> impl Fn() -> Leasing<LeasedRequest> + use<> {
        self.first = self.first.other();
        let terms = worker.terms(&self.in_work, self.first);
        move || {
            faults::pass(FaultPoint::BeforeLease);
            terms.now()
        }
    }
}

#[async_trait]
impl Task for AnswerRequests {
    type Work = LeasedRequest;

    async fn look(&mut self, worker: &Worker) -> Result<Looked<LeasedRequest>, StoreError> {
        worker.store.lease(self.terms(worker)()).await
    }

    async fn wait(
        &mut self,
        worker: &Worker,
        since: Idle,
        until: impl Future<Output = ()> + Send,
    ) -> Result<Option<Looked<LeasedRequest>>, StoreError> {
        let terms = self.terms(worker);
        worker.store.lease_when_due(since, terms, until).await
    }

    async fn work(
        &mut self,
        worker: &Worker,
        leased: LeasedRequest,
        goes_on: impl Fn() -> bool + Send + Sync,
    ) -> Result<Option<Looked<LeasedRequest>>, StoreError> {
        let in_work = self.in_work.clone();
        let _begun = in_work.begin(leased.token);
        faults::pass(FaultPoint::AfterLease);
        let renew = || {
            let (now, hold) = (worker.clock.now(), worker.lease.as_signed());
            worker.store.renew(&leased.token, now, hold)
        };
        // A key, module or permission may change between reading and committing. The
        // request is answered once more then, by the present data.
        let answering = async {
            loop {
                let terms = goes_on().then(|| self.terms(worker));
                let (completed, next) = worker.answer(&leased, terms).await?;
                if completed != Completed::BasisChanged {
                    return Ok(next);
                }
            }
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

    /// Does work after work while there is some, and waits when there is none.
    async fn carry_out(self: Arc<Self>, mut task: impl Task, stop: watch::Receiver<bool>) {
        let goes_on = || !*stop.borrow();
        let mut next = None;
        loop {
            let found = match next.take() {
                Some(found) => Ok(found),
                None if goes_on() => task.look(&self).await,
                None => break,
            };
            let done = match found {
                Ok(Looked::Work(work)) => task.work(&self, work, goes_on).await,
                Ok(Looked::Nothing(since)) => {
                    let until = is_over(self.time_to(since.next_due), stop.clone());
                    task.wait(&self, since, until).await
                }
                Err(error) => Err(error),
            };
            match done {
                Ok(found) => next = found,
                Err(error) => {
                    tracing::error!(%error, "the store is in trouble; trying again");
                    task.rest().await;
                    is_over(TROUBLE_PAUSE, stop.clone()).await;
                }
            }
        }
        task.rest().await;
    }

    /// The time until some work falls due, if none arrives before.
    fn time_to(&self, next_due: Option<Timestamp>) -> Duration {
        let Some(due) = next_due else {
            return LONGEST_SLEEP;
        };
        Duration::try_from(due.duration_since(self.clock.now()))
            .unwrap_or(Duration::ZERO)
            .clamp(Duration::from_millis(10), LONGEST_SLEEP)
    }

    /// Answers a request, and looks for the next one on these terms once it is answered.
    async fn answer(
        &self,
        leased: &LeasedRequest,
        terms: Option<impl Fn() -> Leasing<LeasedRequest> + Send + 'static>,
    ) -> Result<(Completed, Option<Looked<LeasedRequest>>), StoreError> {
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
                        return Ok((Completed::LeaseLost, None));
                    }
                    None => answering.give_up(leased, &failed.reason, now),
                }
            }
        };
        let audit = &completion.audit;
        let (result, code) = (audit.result.clone(), audit.code.clone());
        let smid = audit.smid.clone();
        let finished = Finished::new(audit.service.as_deref(), result.as_deref(), code.as_deref());
        let token = &leased.token;
        let (completed, next) = match terms {
            Some(terms) => {
                let completing = self.store.complete_and_lease(token, completion, terms);
                completing.await?
            }
            None => (self.store.complete(token, completion).await?, None),
        };
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
        Ok((completed, next))
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

/// Ends after this time, or when `stop` turns true.
async fn is_over(time: Duration, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = sleep(time) => {}
        _ = stop.wait_for(|stop| *stop) => {}
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
