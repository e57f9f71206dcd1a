//! Strangers who ask, many at once, each under an address that never asked
//! before, or in somebody's name.

use std::{
    fmt::{self, Display, Formatter},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::harness::{GATEWAY, Site};

/// Sessions at once.
const SESSIONS: usize = 8;

/// A request without anything that it doesn't need.
pub fn minimal(from: &str, service: &str, number: usize, reply_to: &[&str]) -> Vec<u8> {
    let mut message =
        format!("From: {from}\r\nTo: {GATEWAY}\r\nSubject: {{KMS:{service}}} {number}\r\n");
    if !reply_to.is_empty() {
        message.push_str(&format!("Reply-To: {}\r\n", reply_to.join(", ")));
    }
    message.push_str("\r\n\r\n");
    message.into_bytes()
}

/// The service that strangers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    Help,
    /// Nothing that the gateway answers.
    Nothing,
}

/// A flood to come.
#[derive(Clone, Debug)]
pub struct Flood {
    messages: usize,
    networks: usize,
    asking: Asking,
    victim: Option<String>,
}

impl Flood {
    pub fn of(messages: usize) -> Self {
        Self {
            messages,
            networks: 1,
            asking: Asking::Help,
            victim: None,
        }
    }

    /// From so many client networks.
    pub fn networks(self, networks: usize) -> Self {
        Self { networks, ..self }
    }

    pub fn asking(self, asking: Asking) -> Self {
        Self { asking, ..self }
    }

    /// All in this one's name.
    pub fn forging(self, victim: &str) -> Self {
        Self {
            victim: Some(victim.to_owned()),
            ..self
        }
    }

    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Sends it, and says what became of it.
    pub fn run(&self, site: &Site) -> Flooded {
        let flooded = Flooded::default();
        self.run_into(site, &flooded);
        flooded
    }

    /// The same, to be looked at meanwhile.
    pub fn run_into(&self, site: &Site, flooded: &Flooded) {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..SESSIONS {
                scope.spawn(|| self.send(site, &next, flooded));
            }
        });
    }

    /// One session after the other, each of one network.
    fn send(&self, site: &Site, next: &AtomicUsize, flooded: &Flooded) {
        const IN_A_SESSION: usize = 50;
        loop {
            let first = next.fetch_add(IN_A_SESSION, Ordering::Relaxed);
            if first >= self.messages {
                return;
            }
            let network = (first / IN_A_SESSION) % self.networks;
            let mut smtp = site.smtp();
            smtp.speak_for(&format!("ADDR=198.51.{network}.9"));
            for number in first..self.messages.min(first + IN_A_SESSION) {
                let from = match &self.victim {
                    Some(victim) => victim.clone(),
                    None => format!("stranger{number}@elsewhere.example"),
                };
                let message = match self.asking {
                    Asking::Help => minimal(&from, "Help", number, &[]),
                    Asking::Nothing => format!(
                        "From: {from}\r\nTo: {GATEWAY}\r\nSubject: hello {number}\r\n\r\n\r\n"
                    )
                    .into_bytes(),
                };
                let reply = smtp.send("mallory@attacker.example", &[GATEWAY], &message);
                let count = match reply.code {
                    250 => &flooded.taken,
                    450 => &flooded.refused,
                    _ => panic!("{reply:?}"),
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// How a flood was answered.
#[derive(Debug, Default)]
pub struct Flooded {
    taken: AtomicUsize,
    refused: AtomicUsize,
}

impl Flooded {
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub fn count(&self) -> usize {
        self.taken() + self.refused()
    }

    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Display for Flooded {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} got 250, {} got 450", self.taken(), self.refused())
    }
}
