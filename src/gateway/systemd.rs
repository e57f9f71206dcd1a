//! What systemd is told, where it listens. Nobody waits for it: a thread of its
//! own sends, and what is too much for a systemd that doesn't listen is dropped.

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

/// Messages that may wait: more than a start, some reloads and an end make.
const ROOM: usize = 64;

/// How long the end waits for a systemd that doesn't listen.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// To the thread that sends.
static WAITING: OnceLock<SyncSender<Message>> = OnceLock::new();

enum Message {
    /// States, one a line.
    Told(String),
    /// To be answered when all before it is sent.
    Flush(Sender<()>),
}

/// Tells systemd, if it started this process.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let states: Vec<String> = states.iter().map(ToString::to_string).collect();
    let waiting = WAITING.get_or_init(start);
    if waiting.try_send(Message::Told(states.join("\n"))).is_err() {
        tracing::warn!("systemd not notified: it does not listen");
    }
}

/// Waits until systemd was told all, but not for long.
pub(super) fn flush() {
    let Some(waiting) = WAITING.get() else {
        return;
    };
    let (sender, sent) = channel();
    if waiting.try_send(Message::Flush(sender)).is_ok() {
        // An end without the last word is no trouble: systemd sees it.
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
            Message::Told(states) => {
                if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&states)]) {
                    tracing::warn!(%error, "systemd not notified");
                }
            }
            // Nobody waits any more if this fails.
            Message::Flush(done) => drop(done.send(())),
        }
    }
}
