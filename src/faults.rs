//! Places at which a test kills the gateway, or has it panic, each before or
//! after something that counts. Only a build with the feature `test-faults` has them: in any
//! other they do nothing, and nothing of them is in the program.

/// Where the gateway can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// A request is in the transaction that puts it on disk.
    BeforeSpoolCommit,
    /// It is on disk, and nobody knows yet.
    AfterSpoolCommit,
    /// Postfix is about to be told so.
    BeforeAnswer,
    /// Postfix was told.
    AfterAnswer,
    /// A worker is about to take a request.
    BeforeLease,
    /// It has taken one.
    AfterLease,
    /// The service is about to be carried out.
    BeforeIssue,
    /// It is carried out, its result in memory alone.
    AfterIssue,
    /// A result is in the transaction that puts it on disk.
    BeforeCompletionCommit,
    /// It is on disk, and nobody knows yet.
    AfterCompletionCommit,
    /// Postfix is about to be given a reply's recipient.
    BeforeRecipient,
    /// It has taken the recipient.
    AfterRecipient,
    /// It is about to be given the message.
    BeforeFinalDot,
    /// It was given all of it.
    AfterFinalDot,
    /// It has answered to that, and nobody has read it.
    BeforeTaken,
    /// It has the reply, and we know.
    AfterTaken,
    /// We are about to note that.
    BeforeNote,
    /// It is noted on disk.
    AfterNote,
    /// A secret was sealed anew in the transaction of another storage key.
    AmidResealing,
    /// Another master secret or storage key is in its transaction.
    BeforeSecretCommit,
    /// It is on disk, and what it replaced is still in the file.
    AfterSecretCommit,
    /// The file is built anew, and the write-ahead log not emptied.
    AfterVacuum,
}

impl FaultPoint {
    /// Those of a request's life, in its order.
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

    /// Those of a change of secrets, in its order.
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
    };

    use rustix::process::{Signal, getpid, kill_process};

    use super::FaultPoint;

    /// Names the point, as `{:?}` shows it, and a number: at which passing the
    /// gateway is killed. `AfterLease:3`, or `AfterLease:3:panic` for a panic.
    pub const VARIABLE: &str = "KMS_GATEWAY_FAULT";

    struct Fault {
        point: String,
        passings_left: AtomicU32,
        panics: bool,
    }

    fn fault() -> Option<&'static Fault> {
        static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
        let read = || {
            let value = env::var(VARIABLE).ok()?;
            let (point, passings) = value.split_once(':')?;
            let panicking = passings.strip_suffix(":panic");
            Some(Fault {
                point: point.to_owned(),
                passings_left: AtomicU32::new(panicking.unwrap_or(passings).parse().ok()?),
                panics: panicking.is_some(),
            })
        };
        FAULT.get_or_init(read).as_ref()
    }

    /// Kills the gateway if it is told to die here.
    #[allow(clippy::panic, reason = "as a fault of ours would")]
    pub(crate) fn pass(point: FaultPoint) {
        let Some(fault) = fault() else { return };
        if fault.point == format!("{point:?}")
            && fault.passings_left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            if fault.panics {
                panic!("told to panic {point:?}");
            }
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    /// Whether the next answer to be written is one that says a request is kept.
    static ANSWER_EXPECTED: AtomicBool = AtomicBool::new(false);

    /// The next answer says that a request is kept.
    pub(crate) fn expect_answer() {
        ANSWER_EXPECTED.store(true, Ordering::SeqCst);
    }

    /// An answer is about to be written to a milter connection.
    pub(crate) fn answering() {
        if ANSWER_EXPECTED.load(Ordering::SeqCst) {
            pass(FaultPoint::BeforeAnswer);
        }
    }

    /// It is written.
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
