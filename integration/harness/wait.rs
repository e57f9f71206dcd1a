//! Waiting on conditions.

use std::{
    thread,
    time::{Duration, Instant},
};

/// The time between two looks: a twentieth of the wait so far, within these bounds.
/// Many a look starts a program, which would take the CPU from what is waited for.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(250);

/// Asks `probe` again and again until it has an answer. Panics with `what`
/// was waited for when `limit` is over.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        let waited = started.elapsed();
        assert!(waited < limit, "not within {limit:?}: {what}");
        thread::sleep((waited / 20).clamp(SHORTEST, LONGEST));
    }
}
