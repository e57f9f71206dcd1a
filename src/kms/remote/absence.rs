//! Remembers whether the external system is away. While it is, one question at a
//! time tries it, and all others end at once. Otherwise thousands of requests would
//! each wait for it, and keep the worker from requests that need no key. Knows no
//! protocol.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::trouble::Trouble;

/// The wait after the first failure. Each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait between two trials, so that waiting requests are answered soon
/// after the system is back. Each trial has its line in the log.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The absence of a system, shared by all questions to it.
#[derive(Default)]
pub(super) struct Absence(Mutex<Option<Away>>);

struct Away {
    /// Trials in a row without an answer.
    failures: u32,
    /// No trial begins before.
    until: Instant,
    is_being_tried: bool,
    /// Why the last trial had no answer.
    trouble: String,
}

impl Absence {
    /// Awaits `question`, unless the system is away and must not be tried now.
    ///
    /// # Errors
    /// [`Trouble::Away`] if no attempt was made; otherwise the question's own.
    pub(super) async fn unless_away<T>(
        &self,
        question: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let attempt = self.begin()?;
        let answer = question.await;
        match &answer {
            Err(trouble) if trouble.is_silence() => attempt.fails(trouble),
            _ => *self.known() = None,
        }
        answer
    }

    fn begin(&self) -> Result<Attempt<'_>, Trouble> {
        let mut known = self.known();
        let Some(away) = known.as_mut() else {
            return Ok(Attempt {
                absence: self,
                is_trial: false,
            });
        };
        let now = Instant::now();
        if away.is_being_tried || now < away.until {
            return Err(Trouble::Away {
                trouble: away.trouble.clone(),
                again_in: match away.is_being_tried {
                    true => wait(away.failures),
                    false => away.until.duration_since(now),
                },
            });
        }
        away.is_being_tried = true;
        Ok(Attempt {
            absence: self,
            is_trial: true,
        })
    }

    fn known(&self) -> MutexGuard<'_, Option<Away>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question on its way. If it is dropped, another question may try.
struct Attempt<'a> {
    absence: &'a Absence,
    is_trial: bool,
}

impl Attempt<'_> {
    /// Several questions may be on their way when the system goes away. Only the
    /// first failure counts.
    fn fails(&self, trouble: &Trouble) {
        let mut known = self.absence.known();
        let failures = match &*known {
            Some(_) if !self.is_trial => return,
            Some(away) => away.failures.saturating_add(1),
            None => 1,
        };
        *known = Some(Away {
            failures,
            until: Instant::now() + wait(failures),
            is_being_tried: false,
            trouble: trouble.to_string(),
        });
    }
}

/// The wait after this number of failures in a row.
fn wait(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_trial
            && let Some(away) = self.absence.known().as_mut()
        {
            away.is_being_tried = false;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use std::future::{pending, ready};
    use std::io;

    use futures_util::FutureExt as _;
    use tokio::time::{advance, pause};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused() -> Trouble {
        Trouble::Connect(io::Error::from(io::ErrorKind::ConnectionRefused))
    }

    /// Whether the system, which gives this answer, was asked at all.
    async fn is_asked(absence: &Absence, answer: Result<(), Trouble>) -> bool {
        let mut asked = false;
        let question = async {
            asked = true;
            answer
        };
        let _ = absence.unless_away(question).await;
        asked
    }

    #[tokio::test]
    async fn while_it_is_away_it_is_tried_ever_less_often() {
        pause();
        let absence = Absence::default();
        assert!(is_asked(&absence, Err(refused())).await);
        let mut waits = Vec::new();
        let mut waited = 0;
        while waits.len() < 7 {
            advance(SECOND).await;
            waited += 1;
            if is_asked(&absence, Err(refused())).await {
                waits.push(std::mem::take(&mut waited));
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        advance(LONGEST_WAIT).await;
        assert!(is_asked(&absence, Ok(())).await);
        assert!(is_asked(&absence, Err(refused())).await);
        assert!(!is_asked(&absence, Ok(())).await, "begins anew");
        advance(SECOND).await;
        assert!(is_asked(&absence, Ok(())).await);
    }

    #[tokio::test]
    async fn one_question_at_a_time_tries_it() {
        pause();
        let absence = Absence::default();
        assert!(is_asked(&absence, Err(refused())).await);
        advance(SECOND).await;
        let mut trial = Box::pin(absence.unless_away(pending::<Result<(), Trouble>>()));
        assert!((&mut trial).now_or_never().is_none(), "on its way");
        assert!(!is_asked(&absence, Ok(())).await);
        drop(trial);
        assert!(is_asked(&absence, Ok(())).await);
    }

    #[tokio::test]
    async fn whatever_answers_is_not_away() {
        let absence = Absence::default();
        for answer in [
            Trouble::Its("a disk is full".to_owned()),
            Trouble::Malformed("it is not JSON at column 1".to_owned()),
        ] {
            let _ = absence.unless_away(ready(Err::<(), _>(answer))).await;
            assert!(is_asked(&absence, Ok(())).await);
        }
    }

    #[tokio::test]
    async fn a_question_that_is_not_asked_gets_the_reason() {
        pause();
        let absence = Absence::default();
        assert!(is_asked(&absence, Err(refused())).await);
        let answer = absence.unless_away(ready(Ok(()))).await;
        let Err(trouble @ Trouble::Away { again_in, .. }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(again_in, FIRST_WAIT);
        let expected = format!(
            "it was not asked, because it did not answer a moment ago: {}",
            refused()
        );
        assert_eq!(trouble.to_string(), expected);
    }
}
