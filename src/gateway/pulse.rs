//! Reports to systemd and to probes while the gateway runs: whether it is well,
//! and a status in plain words.

use std::{future::Future, sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{health::Vitals, line_queue::Losses, log::Log, reply_port, systemd::notify};
use crate::{
    kms::AlteredRows,
    measures::READY,
    milter::{Connections, Memory},
    store::{HandOver, SpoolUsage, Store, StoreError},
    time::{Clock as _, WatchedClock},
    worker::InjectionSettings,
};

/// How often the status is reported where no watchdog asks for more.
const LEISURELY: Duration = Duration::from_secs(30);

/// How often the store is looked at where probes may ask.
const FOR_PROBES: Duration = Duration::from_secs(5);

/// The longest silence of the store. A change may wait 10 s for another
/// process's lock, behind others that wait 10 s for it.
const LONGEST_SILENCE: Duration = Duration::from_secs(45);

/// Notifies systemd that the gateway is well, twice in each watchdog period.
///
/// The gateway is well as long as
/// - this runtime carries out tasks: otherwise nothing would be reported;
/// - milter, worker and upkeep run: `serve` ends by itself without one of them.
///   Their steps end too, as each wait for Postfix has a limit;
/// - the store answers a cheap change and a cheap read within
///   [`LONGEST_SILENCE`]. An error counts as an answer: the operator must mend a
///   full disk or a locked database, and a restart would not. Mail waits at
///   Postfix meanwhile, and status and log show the error. Only silence means
///   that something hangs here.
pub(super) struct Pulse {
    pub(super) store: Arc<Store>,
    pub(super) clock: Arc<WatchedClock>,
    /// Names the port for replies.
    pub(super) delivering: watch::Receiver<InjectionSettings>,
    /// The error in the newest configuration, if it has one.
    pub(super) bad_reload: watch::Receiver<Option<String>>,
    /// Connections of the milter port.
    pub(super) connections: Arc<Connections>,
    pub(super) altered_rows: watch::Receiver<AlteredRows>,
    /// Differences among the gateways of the database.
    pub(super) differences: watch::Receiver<Vec<String>>,
    pub(super) log: Log,
    /// Memory for messages.
    pub(super) memory: Arc<Memory>,
    /// Feeds the probes. None where there is no port for them.
    pub(super) vitals: Option<watch::Sender<Vitals>>,
}

impl Pulse {
    /// Beats for ever.
    pub(super) async fn run(self) {
        let watchdog = sd_notify::watchdog_enabled();
        let leisurely = self.vitals.as_ref().map_or(LEISURELY, |_| FOR_PROBES);
        let every = watchdog.map_or(leisurely, |limit| leisurely.min(limit / 2));
        // tokio refuses an interval of zero length.
        let every = every.max(Duration::from_millis(1));
        let report = |state: &State| {
            let mut warnings = self.warnings();
            warnings.extend(state.warnings());
            let status = state.status(&warnings);
            if let Some(vitals) = &self.vitals {
                let seen = state.vitals(warnings);
                let seen = seen
                    .or_refused(self.connections.strain().refuses)
                    .or_refused(self.memory.strain().refuses);
                READY.only().set(u8::from(seen.takes_requests()));
                vitals.send_replace(seen);
            }
            match watchdog.is_some() && state.is_well() {
                true => notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]),
                false => notify(&[NotifyState::Status(&status)]),
            }
        };
        beat(every, || self.look(), report).await;
    }

    /// Troubles outside the store that the operator should mend, although requests
    /// are taken.
    fn warnings(&self) -> Vec<String> {
        let bad_reload = self.bad_reload.borrow().as_deref().map(not_reloaded);
        let of_port = self.connections.strain().warning;
        let of_memory = self.memory.strain().warning;
        let of_log = lines_lost(self.log.losses());
        let doubt = self.clock.doubt().map(|doubt| doubt.to_string());
        let of_seals = self.altered_rows.borrow().alarm();
        let all = [bad_reload, of_port, of_memory, of_log, doubt, of_seals];
        let differences = self.differences.borrow().clone();
        all.into_iter().flatten().chain(differences).collect()
    }

    async fn look(&self) -> Look {
        // The cheap change: upkeep does the same each minute.
        self.store.settle_counts(self.clock.now()).await?;
        let usage = self.store.spool_usage().await?;
        let port = self.delivering.borrow().server;
        let hand_over = self.store.hand_over(port, self.clock.now()).await?;
        Seen::of(usage, hand_over, self.store.require_room().await)
    }
}

/// The status right after a reload.
pub(super) fn reloaded(bad_reload: Option<&str>) -> String {
    let warnings: Vec<String> = bad_reload.map(not_reloaded).into_iter().collect();
    State::default().status(&warnings)
}

/// Warns of lost lines until the log itself reports them.
fn lines_lost(losses: Losses) -> Option<String> {
    let lines = counted(losses.unreported, "line", "lines");
    (losses.unreported > 0).then(|| {
        format!("the log can't be written: {lines} lost; make room, or restart what reads it")
    })
}

fn not_reloaded(error: &str) -> String {
    format!("the old configuration is in force: {error}")
}

/// The store's answer, or its error.
type Look = Result<Seen, StoreError>;

/// The answer of a working store.
struct Seen {
    usage: SpoolUsage,
    hand_over: HandOver,
    /// Whether there is room for a request.
    room: Result<(), StoreError>,
}

impl Seen {
    /// An error other than a lack of room is trouble of the store, even if it began
    /// after the other questions were answered.
    fn of(usage: SpoolUsage, hand_over: HandOver, room: Result<(), StoreError>) -> Look {
        match room {
            Err(error) if !error.is_lack_of_room() => Err(error),
            room => Ok(Self {
                usage,
                hand_over,
                room,
            }),
        }
    }
}

/// Knowledge of the store at one beat.
#[derive(Default)]
struct State {
    newest: Option<Look>,
    /// Time of the question that the store has not answered yet.
    asked: Option<Instant>,
}

impl State {
    fn silence(&self) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| asked.elapsed())
    }

    fn is_well(&self) -> bool {
        self.silence() < LONGEST_SILENCE
    }

    fn warnings(&self) -> Vec<String> {
        match &self.newest {
            Some(Ok(seen)) => reply_port::warnings(&seen.hand_over),
            Some(Err(_)) | None => Vec::new(),
        }
    }

    fn vitals(&self, warnings: Vec<String>) -> Vitals {
        let refused = match &self.newest {
            Some(Err(error))
            | Some(Ok(Seen {
                room: Err(error), ..
            })) => Some(error.to_string()),
            Some(Ok(_)) => None,
            None => Vitals::unknown().refuses,
        };
        let silent = || {
            let silence = self.silence();
            (silence >= FOR_PROBES).then(|| silent_for(silence))
        };
        Vitals {
            hangs: (!self.is_well()).then(|| silent_for(self.silence())),
            refuses: match self.is_well() {
                true => refused.or_else(silent),
                false => None,
            },
            warnings,
        }
    }

    fn status(&self, warnings: &[String]) -> String {
        let mut status = match &self.newest {
            _ if !self.is_well() => {
                let silence = self.silence().as_secs();
                format!("The store has not answered for {silence} s.")
            }
            None => "Serving.".to_owned(),
            Some(Ok(Seen { usage, room, .. })) => format!(
                "Serving; {} to be answered, {} to be handed to Postfix.{}",
                counted(usage.requests, "request", "requests"),
                counted(usage.replies, "reply", "replies"),
                match room {
                    Ok(()) => String::new(),
                    Err(error) => format!(" New requests wait at Postfix: {error}."),
                },
            ),
            Some(Err(error)) => {
                format!("The store is in trouble, requests wait at Postfix: {error}.")
            }
        };
        for warning in warnings {
            status.push_str(&format!(" Warning: {warning}."));
        }
        status
    }
}

fn silent_for(silence: Duration) -> String {
    format!("the store has not answered for {} s", silence.as_secs())
}

fn counted(count: u64, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

/// Looks again and again, one look after the other, and reports at each beat and
/// after each look.
async fn beat<L: Future<Output = Look>>(
    every: Duration,
    look: impl Fn() -> L,
    report: impl Fn(&State),
) {
    let mut beats = interval(every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = State::default();
    loop {
        beats.tick().await;
        log_silence_and(&report, &state);
        state.asked = Some(Instant::now());
        let looked = look();
        tokio::pin!(looked);
        let found = loop {
            tokio::select! {
                found = &mut looked => break found,
                _ = beats.tick() => log_silence_and(&report, &state),
            }
        };
        state = State {
            newest: Some(found),
            asked: None,
        };
        log_silence_and(&report, &state);
    }
}

fn log_silence_and(report: &impl Fn(&State), state: &State) {
    if !state.is_well() {
        let silence = state.silence().as_secs();
        tracing::error!(
            silence,
            "the store does not answer; the watchdog notices to systemd stop"
        );
    }
    report(state);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::{cell::RefCell, future::pending};

    use tokio::time::{sleep, timeout};

    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    fn seen(requests: u64, replies: u64) -> Seen {
        let usage = SpoolUsage {
            requests,
            replies,
            bytes: 0,
        };
        Seen {
            usage,
            hand_over: HandOver::default(),
            room: Ok(()),
        }
    }

    fn full() -> StoreError {
        StoreError::Full {
            requests: 3,
            max_requests: 3,
            bytes: 1,
            max_bytes: 9,
        }
    }

    #[test]
    fn a_full_spool_is_told_from_a_store_in_trouble() {
        let status = |room| {
            let newest = Some(Seen::of(seen(1, 2).usage, HandOver::default(), room));
            State {
                newest,
                asked: None,
            }
            .status(&[])
        };
        assert_eq!(
            status(Err(full())),
            "Serving; 1 request to be answered, 2 replies to be handed to Postfix. New requests \
             wait at Postfix: the spool is full: 3 of 3 requests, 1 of 9 bytes."
        );
        assert_eq!(
            status(Err(StoreError::Closed)),
            format!(
                "The store is in trouble, requests wait at Postfix: {}.",
                StoreError::Closed
            )
        );
    }

    /// Runs the pulse for a time. Returns when it reported well, and the last status.
    async fn reported<L: Future<Output = Look>>(
        lasting: Duration,
        look: impl Fn() -> L,
    ) -> (Vec<Duration>, String) {
        let begin = Instant::now();
        let (well, last) = (RefCell::new(Vec::new()), RefCell::new(String::new()));
        let report = |state: &State| {
            if state.is_well() {
                well.borrow_mut().push(begin.elapsed());
            }
            *last.borrow_mut() = state.status(&[]);
        };
        assert!(timeout(lasting, beat(EVERY, look, report)).await.is_err());
        (well.into_inner(), last.into_inner())
    }

    fn longest_gap(beats: &[Duration]) -> Duration {
        let pairs = beats.iter().zip(beats.iter().skip(1));
        pairs.map(|(one, next)| *next - *one).max().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_is_well_however_slowly_and_whatever_it_says() {
        for seconds in [0, 1, 4, 6, 21] {
            let look = || async move {
                sleep(Duration::from_secs(seconds)).await;
                Err(StoreError::Closed)
            };
            let (beats, status) = reported(Duration::from_secs(600), look).await;
            assert!(longest_gap(&beats) <= EVERY, "{seconds}: {beats:?}");
            assert!(status.contains("trouble"), "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_says_nothing_is_not() {
        let (beats, status) = reported(Duration::from_secs(598), pending).await;
        let last = *beats.last().unwrap();
        assert!(
            last < LONGEST_SILENCE && last + EVERY >= LONGEST_SILENCE,
            "{last:?}"
        );
        assert_eq!(status, "The store has not answered for 595 s.");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_again_is_well_again() {
        let first = std::cell::Cell::new(true);
        let look = || {
            let silence = if first.take() { 300 } else { 0 };
            async move {
                sleep(Duration::from_secs(silence)).await;
                Ok(seen(1, 2))
            }
        };
        let (beats, status) = reported(Duration::from_secs(600), look).await;
        let silent = LONGEST_SILENCE..Duration::from_secs(300);
        assert!(!beats.iter().any(|beat| silent.contains(beat)), "{beats:?}");
        assert!(*beats.last().unwrap() >= Duration::from_secs(590));
        assert_eq!(
            status,
            "Serving; 1 request to be answered, 2 replies to be handed to Postfix."
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_is_told_why_no_request_is_taken() {
        let mut state = State::default();
        let refuses = |state: &State| state.vitals(Vec::new()).refuses;
        assert!(refuses(&state).is_some(), "nothing is known yet");
        state.newest = Some(Ok(seen(1, 2)));
        assert_eq!(state.vitals(Vec::new()), Vitals::default());

        state.newest = Some(Seen::of(seen(1, 2).usage, HandOver::default(), Err(full())));
        assert_eq!(refuses(&state), Some(full().to_string()));

        state.newest = Some(Ok(seen(1, 2)));
        state.asked = Some(Instant::now());
        assert_eq!(refuses(&state), None);
        sleep(FOR_PROBES).await;
        let silent = "the store has not answered for 5 s";
        assert_eq!(refuses(&state).as_deref(), Some(silent));
        assert_eq!(state.vitals(Vec::new()).hangs, None);
        sleep(LONGEST_SILENCE).await;
        assert!(state.vitals(Vec::new()).hangs.is_some());
    }

    #[test]
    fn warnings_show_in_the_status() {
        let warnings = ["one".to_owned(), "two".to_owned()];
        let status = State::default().status(&warnings);
        assert_eq!(status, "Serving. Warning: one. Warning: two.");
        assert_eq!(
            reloaded(Some("gateway.toml: x; mend it")),
            "Serving. Warning: the old configuration is in force: gateway.toml: x; mend it."
        );
    }
}
