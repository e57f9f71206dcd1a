//! How far a run is, and what it has cost the gateway so far.

use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    growth::{Compared, Growth},
    harness::Usage,
};

/// How long everybody sends at least, in seconds.
const VARIABLE: &str = "KMS_GATEWAY_SOAK_SECONDS";
const DEFAULT_SECONDS: u64 = 60;

/// However long that takes, so that a leak of half a KiB a message is seen.
const LEAST_MESSAGES: usize = 4_400;

/// However short it takes.
const MOST_MESSAGES: usize = 200_000;

/// The gateway is measured each time after so many.
const MEASURED_EACH: usize = 20;

/// Counts the messages of all, and says when it is time to stop.
pub struct Progress {
    end: Instant,
    sent: AtomicUsize,
    usage: Usage,
    growth: Mutex<Growth>,
}

impl Progress {
    /// From now on, with the gateway of this process id.
    pub fn begin(gateway: u32) -> Self {
        let seconds = env::var(VARIABLE).map_or(DEFAULT_SECONDS, |text| {
            text.parse()
                .unwrap_or_else(|error| panic!("{VARIABLE}={text}: {error}"))
        });
        Self {
            end: Instant::now() + Duration::from_secs(seconds),
            sent: AtomicUsize::new(0),
            usage: Usage(gateway),
            growth: Mutex::default(),
        }
    }

    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn is_over(&self) -> bool {
        let sent = self.sent();
        sent >= MOST_MESSAGES || (sent >= LEAST_MESSAGES && Instant::now() >= self.end)
    }

    /// One message more.
    pub fn count(&self) {
        let sent = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        if sent.is_multiple_of(MEASURED_EACH) {
            let mut growth = self.growth.lock().expect("nobody failed");
            growth.measure(sent, self.usage);
        }
    }

    pub fn growth(&self) -> Compared {
        self.growth.lock().expect("nobody failed").compared()
    }
}
