//! Waiting on conditions.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Asks `probe` again and again until it has an answer. Panics with `what`
/// was waited for when `limit` is over.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
