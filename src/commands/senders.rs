//! `senders`: lists the senders that sent too many requests, and unblocks them.

use std::path::Path;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    CommandError,
    form::Form,
    named::Named,
    operator::order,
    standard_output::write_line,
    table::{Column, Table, second, terminal_width},
};
use crate::{
    config::Config,
    gateway::{clock, environment::Environment},
    policy::throttle::Stage,
    printable::Printable,
    store::{Store, ThrottledSender},
    time::relative::until,
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List the senders of recent requests, the latest first.
    #[command(after_help = "\
A sender is open (its requests are answered at once), deferring (they wait for
their turn) or blocked. Under \"ends\" is when the block ends, or when its
backlog is worked off. Long names are cut on a terminal, but not in a pipe.

--json prints an array of {sender, stage, until}, the names whole and the times
exact.

Example:
  kms-gateway senders list")]
    List(Form),
    Unblock(Unblock),
}

/// End a sender's block, and answer its waiting requests at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway senders unblock \"address jane@vendor.example from 192.0.2.0/24\"")]
pub(super) struct Unblock {
    /// The sender as senders list names it, or a beginning that no other has.
    sender: String,
}

pub(super) async fn run(path: &Path, action: Action) -> Result<(), CommandError> {
    let environment = Environment::open(path, &Config::load(path)?).await?;
    let store = environment.store.as_ref();
    let ending = match action {
        Action::List(form) => list(store, &form).await,
        Action::Unblock(arguments) => unblock(store, &arguments).await,
    };
    store.close().await;
    ending
}

async fn list(store: &Store, form: &Form) -> Result<(), CommandError> {
    let now = clock::now(store);
    let senders = store.throttled_senders(now).await?;
    let lines = || table(&senders, now).lines(terminal_width());
    form.write_table(&senders, as_json, lines)
}

async fn unblock(store: &Store, arguments: &Unblock) -> Result<(), CommandError> {
    let senders = store.throttled_senders(clock::now(store)).await?;
    let named = SENDERS.find(&arguments.sender, &senders, |sender| &sender.key)?;
    if store.unblock(&named.key, order(store)).await? {
        return write_line(format_args!("unblocked: {}", Printable(&named.key)));
    }
    Err(CommandError::other(format_args!(
        "{:?} is no longer among the senders; see senders list",
        named.key
    )))
}

const SENDERS: Named = Named {
    one: "sender",
    many: "senders",
    remedy: "write a sender, or its beginning, as senders list does",
};

fn table(senders: &[ThrottledSender], now: Timestamp) -> Table<3> {
    let mut table = Table::new([
        Column::whole("stage"),
        Column::whole("ends"),
        Column::at_least(20, "sender"),
    ]);
    for sender in senders {
        table.push([
            stage(sender).to_owned(),
            end(sender).map_or_else(String::new, |end| until(end, now)),
            // An address can hold anything that a sender wrote.
            Printable(&sender.key).to_string(),
        ]);
    }
    table
}

fn as_json(sender: &ThrottledSender) -> Value {
    let until = end(sender).map_or_else(String::new, second);
    json!({"sender": sender.key, "stage": stage(sender), "until": until})
}

fn stage(sender: &ThrottledSender) -> &'static str {
    match sender.bucket.stage {
        Stage::Open => "open",
        Stage::Deferring => "deferring",
        Stage::Blocked { .. } => "blocked",
    }
}

/// When the sender's block ends, or its backlog is worked off.
fn end(sender: &ThrottledSender) -> Option<Timestamp> {
    let bucket = &sender.bucket;
    let worked_off = || bucket.seen.checked_add(bucket.backlog).ok();
    bucket.blocked_until().or_else(worked_off)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::SignedDuration;

    use super::*;
    use crate::policy::throttle::Bucket;

    fn sender(stage: Stage) -> ThrottledSender {
        ThrottledSender {
            key: "address a@b.example".to_owned(),
            bucket: Bucket {
                seen: "2026-03-01T12:00:00Z".parse().unwrap(),
                backlog: SignedDuration::from_mins(3),
                stage,
            },
        }
    }

    #[test]
    fn a_line_says_until_when() {
        let left = SignedDuration::from_hours(1);
        let blocked = sender(Stage::Blocked { left });
        let now = blocked.bucket.seen + SignedDuration::from_secs(90);
        assert_eq!(
            table(&[blocked], now).lines(None),
            [
                "stage    ends       sender",
                "blocked  in 58 min  address a@b.example"
            ]
        );
        assert_eq!(
            as_json(&sender(Stage::Deferring)),
            json!({
                "sender": "address a@b.example",
                "stage": "deferring",
                "until": "2026-03-01T12:03:00Z",
            })
        );
    }

    #[test]
    fn no_key_reaches_a_terminal_raw() {
        let mut sender = sender(Stage::Open);
        sender.key = "address \u{1b}[31m\u{202e}@b.example".to_owned();
        let lines = table(&[sender], Timestamp::UNIX_EPOCH).lines(None).concat();
        assert!(!lines.contains(['\u{1b}', '\u{202e}']), "{lines}");
    }
}
