//! The connections of the milter port: their limit, the stage of each, and the
//! choice of one to end when another needs its place. Knows neither packets nor mail.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout},
};

use super::strain::Strain;
use crate::measures::{CONNECTIONS_ENDED, ConnectionEnded, MILTER_SESSIONS};

/// Postfix has the whole content before it sends it, and sends it without a pause.
/// A peer that pauses this long within the content is not Postfix, or it hangs.
const STANDING_STILL: Duration = Duration::from_secs(5);

/// Age from which a connection that has not negotiated is ended before all others.
/// Postfix negotiates at once.
const OPENING: Duration = Duration::from_secs(1);

/// How long the port counts as full after a connection was ended to make room. Also
/// the shortest time between two log lines about it.
const RECENTLY: Duration = Duration::from_secs(60);

/// Pause before the next search for a connection that can be ended.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The stage of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before negotiation.
    Opening,
    /// No message is being sent. Postfix holds unanswered commands back: it sends
    /// the client's name and MAIL together with the first recipient.
    BetweenMessages,
    /// Between MAIL and the content.
    Envelope,
    /// The content is arriving.
    Content,
    /// Postfix waits for the gateway's answer.
    AtWork,
}

/// All connections of the milter port.
pub(crate) struct Connections {
    limit: usize,
    open: Mutex<Open>,
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Open {
    next_number: u64,
    progress: HashMap<u64, Arc<Mutex<Progress>>>,
    shortage: Shortage,
}

/// The lack of room, for probes and the log.
#[derive(Default)]
struct Shortage {
    last_ended: Option<Instant>,
    last_logged: Option<Instant>,
    /// Connections ended since the last log line.
    ended_unlogged: usize,
    /// A connection waits, and no other can be ended for it.
    is_stuck: bool,
}

struct Progress {
    stage: Stage,
    /// The start of the stage.
    since: Instant,
    /// The arrival of the last bytes.
    moved: Instant,
    /// No bytes arrive because the gateway has no room to read them.
    waits_for_us: bool,
    /// Ends the connection; none once it was used.
    end: Option<oneshot::Sender<()>>,
}

impl Connections {
    /// Room for `limit` connections.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }

    /// Waits for room and adds a connection. The caller closes it when the receiver
    /// gets a value.
    ///
    /// If the port is full, another connection is ended. That does Postfix no harm:
    /// it continues the session by `default_action`, and mail for the gateway comes
    /// by the internal listener.
    pub(super) async fn admit(self: &Arc<Self>) -> (Connection, oneshot::Receiver<()>) {
        while *self.count.borrow() >= self.limit {
            let is_stuck = !self.make_room();
            self.set_stuck(is_stuck);
            let mut count = self.count.subscribe();
            // The sender lives in `self`, so that it can't be gone.
            let _ = timeout(LOOK_AGAIN, count.wait_for(|count| *count < self.limit)).await;
        }
        self.set_stuck(false);
        self.open()
    }

    /// Ends the connection that is needed least. Returns false if none can be ended.
    pub(super) fn make_room(&self) -> bool {
        let mut open = self.lock();
        let now = Instant::now();
        let candidates = open.progress.values().filter_map(|progress| {
            let rank = locked(progress).dispensable(now)?;
            Some((rank, progress))
        });
        let Some(((_, reason), progress)) = candidates.min_by_key(|((key, _), _)| *key) else {
            return false;
        };
        locked(progress).end();
        CONNECTIONS_ENDED.at(reason).increment(1);
        open.shortage.note_ended(now, self.limit);
        true
    }

    /// Ends every connection that stands still within the content of a message.
    pub(super) fn end_standing_still(&self) {
        let now = Instant::now();
        for progress in self.lock().progress.values() {
            let mut progress = locked(progress);
            if progress.is_standing_still(now) && progress.end.is_some() {
                progress.end();
                CONNECTIONS_ENDED
                    .at(ConnectionEnded::StandingStill)
                    .increment(1);
            }
        }
    }

    /// Waits until no connection is left.
    pub(super) async fn all_gone(&self) {
        let mut count = self.count.subscribe();
        // The sender lives in `self`, so that it can't be gone.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// The limits that the port has reached, for probes.
    pub(crate) fn strain(&self) -> Strain {
        let shortage = &self.lock().shortage;
        let limit = self.limit;
        let stuck = || {
            format!(
                "the milter port is full: each of {limit} connections has a message on its way, \
                 and new ones wait (milter.max_connections)"
            )
        };
        let was_full = || {
            format!(
                "the milter port was full within the last minute: of {limit} connections idle ones \
                 were ended to make room (milter.max_connections)"
            )
        };
        let is_recent = |ended: Instant| ended.elapsed() < RECENTLY;
        let refuses = shortage.is_stuck.then(stuck);
        let was_full = shortage.last_ended.is_some_and(is_recent).then(was_full);
        Strain {
            warning: refuses.clone().or(was_full),
            refuses,
        }
    }

    fn open(self: &Arc<Self>) -> (Connection, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        let now = Instant::now();
        let progress = Arc::new(Mutex::new(Progress {
            stage: Stage::Opening,
            since: now,
            moved: now,
            waits_for_us: false,
            end: Some(end),
        }));
        let mut open = self.lock();
        let number = open.next_number;
        open.next_number += 1;
        open.progress.insert(number, progress.clone());
        self.count_again(&open);
        let connection = Connection {
            number,
            progress,
            all: self.clone(),
        };
        (connection, ended)
    }

    fn set_stuck(&self, is_stuck: bool) {
        self.lock().shortage.set_stuck(is_stuck, self.limit);
    }

    fn count_again(&self, open: &Open) {
        let count = open.progress.len();
        MILTER_SESSIONS.only().set(count as f64);
        self.count.send_replace(count);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        locked(&self.open)
    }
}

/// Locks a mutex. A poisoned one is used: no panic leaves its content half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    /// Ends the connection.
    fn end(&mut self) {
        if let Some(end) = self.end.take() {
            // The receiver may be gone: the connection has ended by itself then.
            let _ = end.send(());
        }
    }

    /// The rank for ending this connection, lowest first; none if it must not be ended.
    fn dispensable(&self, now: Instant) -> Option<((u8, Instant), ConnectionEnded)> {
        self.end.as_ref()?;
        match self.stage {
            Stage::Opening if has_passed(OPENING, self.since, now) => {
                Some(((0, self.since), ConnectionEnded::Silent))
            }
            Stage::Content if self.is_standing_still(now) => {
                Some(((1, self.moved), ConnectionEnded::StandingStill))
            }
            Stage::Opening | Stage::BetweenMessages => {
                Some(((2, self.since), ConnectionEnded::Idle))
            }
            // The SMTP client may need minutes to send the content to Postfix.
            Stage::Envelope if has_passed(STANDING_STILL, self.moved, now) => {
                Some(((3, self.moved), ConnectionEnded::Waiting))
            }
            Stage::Envelope | Stage::Content | Stage::AtWork => None,
        }
    }

    fn is_standing_still(&self, now: Instant) -> bool {
        self.stage == Stage::Content
            && !self.waits_for_us
            && has_passed(STANDING_STILL, self.moved, now)
    }
}

fn has_passed(period: Duration, since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= period
}

impl Shortage {
    fn note_ended(&mut self, now: Instant, limit: usize) {
        self.last_ended = Some(now);
        self.ended_unlogged += 1;
        if self.is_to_be_logged(now) {
            tracing::warn!(
                limit,
                ended = self.ended_unlogged,
                "the milter port is full: idle connections are ended to make room; \
                 milter.max_connections must be above Postfix's process limit"
            );
            self.ended_unlogged = 0;
        }
    }

    fn set_stuck(&mut self, is_stuck: bool, limit: usize) {
        self.is_stuck = is_stuck;
        if is_stuck && self.is_to_be_logged(Instant::now()) {
            tracing::warn!(
                limit,
                "the milter port is full: each connection has a message on its way, and new \
                 ones wait; milter.max_connections must be above Postfix's process limit"
            );
        }
    }

    fn is_to_be_logged(&mut self, now: Instant) -> bool {
        let is_due = |logged| has_passed(RECENTLY, logged, now);
        let is_due = self.last_logged.is_none_or(is_due);
        if is_due {
            self.last_logged = Some(now);
        }
        is_due
    }
}

/// A connection. It counts until it is dropped.
pub(super) struct Connection {
    number: u64,
    progress: Arc<Mutex<Progress>>,
    all: Arc<Connections>,
}

impl Connection {
    /// Notes that bytes came.
    pub(super) fn moved(&self) {
        locked(&self.progress).moved = Instant::now();
    }

    /// Notes whether the gateway leaves bytes unread.
    pub(super) fn waits_for_us(&self, waits: bool) {
        let mut progress = locked(&self.progress);
        progress.waits_for_us = waits;
        progress.moved = Instant::now();
    }

    pub(super) fn is_at(&self, stage: Stage) {
        let mut progress = locked(&self.progress);
        if progress.stage != stage {
            progress.stage = stage;
            progress.since = Instant::now();
        }
    }

    /// Ends the connection, if it has not ended yet.
    pub(super) fn close(&self) {
        locked(&self.progress).end();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        open.progress.remove(&self.number);
        self.all.count_again(&open);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    type Admitted = (Connection, oneshot::Receiver<()>);

    /// A full port: connections at these stages, opened a second apart.
    async fn full_of(stages: &[Stage]) -> (Arc<Connections>, Vec<Admitted>) {
        let connections = Arc::new(Connections::new(stages.len()));
        let mut inside = Vec::new();
        for stage in stages {
            let admitted = connections.admit().await;
            admitted.0.is_at(*stage);
            inside.push(admitted);
            sleep(SECOND).await;
        }
        (connections, inside)
    }

    /// The numbers of the ended connections.
    fn ended(inside: &mut [Admitted]) -> Vec<usize> {
        let is_ended = |admitted: &mut Admitted| admitted.1.try_recv().is_ok();
        let inside = inside.iter_mut().enumerate();
        inside
            .filter_map(|(number, admitted)| is_ended(admitted).then_some(number))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_needed_least_makes_room() {
        use Stage::*;
        let (connections, mut inside) = full_of(&[
            AtWork,
            Envelope,
            BetweenMessages,
            BetweenMessages,
            Content,
            Opening,
            Opening,
        ])
        .await;
        sleep(STANDING_STILL).await;
        let mut order = Vec::new();
        while connections.make_room() {
            order.extend(ended(&mut inside));
        }
        assert_eq!(order, [5, 6, 4, 2, 3, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_is_no_worse_than_whoever_is_idle() {
        let (connections, mut inside) = full_of(&[Stage::BetweenMessages]).await;
        inside.push(connections.open());
        assert!(connections.make_room());
        assert_eq!(ended(&mut inside), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_moves_is_left_alone() {
        let (connections, mut inside) = full_of(&[Stage::Content, Stage::Envelope]).await;
        for _ in 0..10 {
            assert!(!connections.make_room());
            connections.end_standing_still();
            sleep(SECOND).await;
            inside.iter().for_each(|(connection, _)| connection.moved());
        }
        let (message, _) = inside.first().unwrap();
        message.waits_for_us(true);
        sleep(STANDING_STILL).await;
        connections.end_standing_still();
        assert!(ended(&mut inside).is_empty());
        let (message, _) = inside.first().unwrap();
        message.waits_for_us(false);
        sleep(STANDING_STILL).await;
        connections.end_standing_still();
        assert_eq!(ended(&mut inside), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_comes_in_when_the_ended_one_is_gone() {
        let (connections, mut inside) = full_of(&[Stage::BetweenMessages, Stage::AtWork]).await;
        let mut next = Box::pin(connections.admit());
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!(ended(&mut inside), [0]);
        inside.remove(0);
        let (_next, _) = next.await;
        assert!(ended(&mut inside).is_empty());
        let strain = connections.strain();
        assert!(strain.refuses.is_none(), "{strain:?}");
        let warning = strain.warning.unwrap();
        assert!(warning.contains("of 2 connections"), "{warning}");
        sleep(RECENTLY).await;
        assert_eq!(connections.strain(), Strain::default());
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_have_messages_the_next_waits_and_probes_hear_of_it() {
        let (connections, mut inside) = full_of(&[Stage::AtWork; 2]).await;
        let next = tokio::spawn({
            let connections = connections.clone();
            async move { connections.admit().await }
        });
        sleep(10 * SECOND).await;
        assert!(!next.is_finished());
        assert!(connections.strain().refuses.is_some());
        // A connection that becomes idle is ended.
        inside.first().unwrap().0.is_at(Stage::BetweenMessages);
        sleep(LOOK_AGAIN).await;
        assert_eq!(ended(&mut inside), [0]);
        inside.remove(0);
        let _next = next.await.unwrap();
        assert_eq!(connections.strain().refuses, None);
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_gone_when_the_last_is_dropped() {
        let (connections, inside) = full_of(&[Stage::AtWork; 2]).await;
        let gone = connections.clone();
        let gone = tokio::spawn(async move { gone.all_gone().await });
        sleep(SECOND).await;
        assert!(!gone.is_finished());
        drop(inside);
        gone.await.unwrap();
    }

    #[test]
    fn the_log_says_it_once_a_minute_with_all_that_were_ended() {
        let mut shortage = Shortage::default();
        let begin = Instant::now();
        let logged = (0..150).filter(|second| shortage.is_to_be_logged(begin + *second * SECOND));
        assert_eq!(logged.collect::<Vec<u32>>(), [0, 60, 120]);
    }
}
