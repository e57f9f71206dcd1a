//! Notices to systemd. A thread of its own sends them, so that the gateway never
//! waits for systemd. A notice that finds the queue full is dropped.

use std::{
    env,
    sync::{
        OnceLock,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use sd_notify::NotifyState;

/// Length of the queue: more notices than a start, some reloads and an end make.
const ROOM: usize = 64;

/// How long the end waits for a systemd that doesn't read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The queue of the sending thread.
static WAITING: OnceLock<SyncSender<Message>> = OnceLock::new();

enum Message {
    /// States, one a line.
    Notice(String),
    /// Asks for an answer when all messages before it are sent.
    Flush(Sender<()>),
}

/// Notifies systemd, if it started this process.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let states: Vec<String> = states.iter().map(ToString::to_string).collect();
    let waiting = WAITING.get_or_init(start);
    if waiting
        .try_send(Message::Notice(states.join("\n")))
        .is_err()
    {
        tracing::warn!("systemd not notified: it does not listen");
    }
}

/// Waits until all notices are sent, for at most [`LAST_WORDS`].
pub(super) fn flush() {
    let Some(waiting) = WAITING.get() else {
        return;
    };
    let (sender, sent) = channel();
    if waiting.try_send(Message::Flush(sender)).is_ok() {
        // A missing last notice is harmless: systemd sees the process end.
        let _ = sent.recv_timeout(LAST_WORDS);
    }
}

fn start() -> SyncSender<Message> {
    let (sender, waiting) = sync_channel(ROOM);
    let started = thread::Builder::new()
        .name("systemd".to_owned())
        .spawn(move || send(&waiting));
    if let Err(error) = started {
        tracing::warn!(%error, "systemd can't be notified");
    }
    sender
}

fn send(waiting: &Receiver<Message>) {
    for message in waiting {
        match message {
            Message::Notice(states) => {
                if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&states)]) {
                    tracing::warn!(%error, "systemd not notified");
                }
            }
            // Fails only if `flush` has given up.
            Message::Flush(done) => drop(done.send(())),
        }
    }
}
