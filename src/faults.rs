//! Points at which a test kills the gateway, stops it or makes it panic, each before or
//! after a step that counts. Only a build with the feature `test-faults` has them; any
//! other program contains nothing of them.

/// A point at which the gateway can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// A request is in the transaction that puts it on disk.
    BeforeSpoolCommit,
    /// The request is on disk, and no one was notified yet.
    AfterSpoolCommit,
    /// Postfix is about to be notified that the request is kept.
    BeforeAnswer,
    /// Postfix was notified.
    AfterAnswer,
    /// A worker is about to take a request.
    BeforeLease,
    /// The worker has taken the request.
    AfterLease,
    /// The service is about to be carried out.
    BeforeIssue,
    /// The service was carried out, and its result is in memory only.
    AfterIssue,
    /// A result is in the transaction that puts it on disk.
    BeforeCompletionCommit,
    /// The result is on disk, and no one was notified yet.
    AfterCompletionCommit,
    /// Postfix is about to be given a reply's recipient.
    BeforeRecipient,
    /// Postfix has taken the recipient.
    AfterRecipient,
    /// Postfix is about to be given the message.
    BeforeFinalDot,
    /// Postfix was given the whole message.
    AfterFinalDot,
    /// Postfix has answered, and the answer is not read yet.
    BeforeTaken,
    /// Postfix has the reply, and the worker has read the answer.
    AfterTaken,
    /// The worker is about to note the delivery.
    BeforeNote,
    /// The delivery is noted on disk.
    AfterNote,
    /// A secret was sealed anew, in the transaction of a new storage key.
    AmidResealing,
    /// A new master secret or storage key is in its transaction.
    BeforeSecretCommit,
    /// The new secret is on disk, and the replaced one is still in the file.
    AfterSecretCommit,
    /// The file is built anew, and the write-ahead log is not emptied yet.
    AfterVacuum,
}

impl FaultPoint {
    /// The points of a request's life, in order.
    pub const ALL: [FaultPoint; 18] = [
        FaultPoint::BeforeSpoolCommit,
        FaultPoint::AfterSpoolCommit,
        FaultPoint::BeforeAnswer,
        FaultPoint::AfterAnswer,
        FaultPoint::BeforeLease,
        FaultPoint::AfterLease,
        FaultPoint::BeforeIssue,
        FaultPoint::AfterIssue,
        FaultPoint::BeforeCompletionCommit,
        FaultPoint::AfterCompletionCommit,
        FaultPoint::BeforeRecipient,
        FaultPoint::AfterRecipient,
        FaultPoint::BeforeFinalDot,
        FaultPoint::AfterFinalDot,
        FaultPoint::BeforeTaken,
        FaultPoint::AfterTaken,
        FaultPoint::BeforeNote,
        FaultPoint::AfterNote,
    ];

    /// The points of a change of secrets, in order.
    pub const OF_A_SECRET_CHANGE: [FaultPoint; 4] = [
        FaultPoint::AmidResealing,
        FaultPoint::BeforeSecretCommit,
        FaultPoint::AfterSecretCommit,
        FaultPoint::AfterVacuum,
    ];
}

#[cfg(feature = "test-faults")]
mod deadly {
    use std::{
        env,
        sync::{
            OnceLock,
            atomic::{AtomicBool, AtomicU32, Ordering},
        },
        thread,
        time::Duration,
    };

    use rustix::process::{Signal, getpid, kill_process};

    use super::FaultPoint;

    /// Environment variable with a point, as `{:?}` shows it, and the number of the
    /// pass that kills the gateway: `AfterLease:3`, or `AfterLease:3:panic` for a
    /// panic, or `AfterLease:3:stop` to stop it until SIGCONT.
    pub const VARIABLE: &str = "KMS_GATEWAY_FAULT";

    /// Longer than a process goes on after it was stopped.
    const STOPPING: Duration = Duration::from_millis(200);

    struct Fault {
        point: String,
        passings_left: AtomicU32,
        act: Act,
    }

    enum Act {
        Kill,
        Panic,
        Stop,
    }

    fn fault() -> Option<&'static Fault> {
        static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
        let read = || {
            let value = env::var(VARIABLE).ok()?;
            let (point, passings) = value.split_once(':')?;
            let (passings, act) = match passings.split_once(':') {
                None => (passings, Act::Kill),
                Some((passings, "panic")) => (passings, Act::Panic),
                Some((passings, "stop")) => (passings, Act::Stop),
                Some(_) => return None,
            };
            Some(Fault {
                point: point.to_owned(),
                passings_left: AtomicU32::new(passings.parse().ok()?),
                act,
            })
        };
        FAULT.get_or_init(read).as_ref()
    }

    /// Kills, stops or panics if [`VARIABLE`] names this pass of this point.
    #[allow(clippy::panic, reason = "as a fault of ours would")]
    pub(crate) fn pass(point: FaultPoint) {
        let Some(fault) = fault() else { return };
        if fault.point == format!("{point:?}")
            && fault.passings_left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            match fault.act {
                Act::Kill => drop(kill_process(getpid(), Signal::KILL)),
                Act::Panic => panic!("ordered to panic {point:?}"),
                Act::Stop => {
                    let _ = kill_process(getpid(), Signal::STOP);
                    thread::sleep(STOPPING);
                }
            }
        }
    }

    /// Whether the next answer to Postfix says that a request is kept.
    static ANSWER_EXPECTED: AtomicBool = AtomicBool::new(false);

    /// Notes that the next answer says that a request is kept.
    pub(crate) fn expect_answer() {
        ANSWER_EXPECTED.store(true, Ordering::SeqCst);
    }

    /// Called before an answer is written to a milter connection.
    pub(crate) fn answering() {
        if ANSWER_EXPECTED.load(Ordering::SeqCst) {
            pass(FaultPoint::BeforeAnswer);
        }
    }

    /// Called after an answer was written.
    pub(crate) fn answered() {
        if ANSWER_EXPECTED.swap(false, Ordering::SeqCst) {
            pass(FaultPoint::AfterAnswer);
        }
    }
}

#[cfg(not(feature = "test-faults"))]
mod harmless {
    use super::FaultPoint;

    #[inline(always)]
    pub(crate) fn pass(_: FaultPoint) {}
    #[inline(always)]
    pub(crate) fn expect_answer() {}
    #[inline(always)]
    pub(crate) fn answering() {}
    #[inline(always)]
    pub(crate) fn answered() {}
}

#[cfg(feature = "test-faults")]
pub use deadly::VARIABLE;
#[cfg(feature = "test-faults")]
pub(crate) use deadly::{answered, answering, expect_answer, pass};
#[cfg(not(feature = "test-faults"))]
pub(crate) use harmless::{answered, answering, expect_answer, pass};
