//! `senders`: who asked too much lately.

use std::path::Path;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CommandError, Ending, environment::Environment, table::second};
use crate::{
    policy::throttle::Stage,
    store::{Store, ThrottledSender},
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    List(List),
    Unblock(Unblock),
}

/// List the senders that asked lately, those that asked last first.
#[derive(Debug, Args)]
#[command(after_help = "\
A sender is open (all is done at once), deferring (requests wait for their
turn) or blocked; the time is when a block ends, or when all that it asked is
worked off.

Example:
  kms-gateway senders list")]
pub(super) struct List {
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

/// End a sender's block, and do at once what waits for its turn.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway senders unblock \"address jane@vendor.example from 192.0.2.0/24\"")]
pub(super) struct Unblock {
    /// The sender, as senders list names it.
    sender: String,
}

pub(super) async fn run(path: &Path, action: Action) -> Result<Ending, CommandError> {
    let (_, environment) = Environment::load(path).await?;
    let store = environment.store.as_ref();
    let ending = match action {
        Action::List(arguments) => list(store, &arguments).await,
        Action::Unblock(arguments) => unblock(store, &arguments).await,
    };
    store.close().await;
    ending
}

async fn list(store: &dyn Store, arguments: &List) -> Result<Ending, CommandError> {
    let senders = store.throttled_senders(Timestamp::now()).await?;
    if arguments.json {
        let senders: Vec<Value> = senders.iter().map(as_json).collect();
        println!("{}", Value::Array(senders));
    } else {
        println!("{:<9}  {:<20}  sender", "stage", "until");
        for sender in &senders {
            println!("{}", as_line(sender));
        }
    }
    Ok(Ending::Done)
}

async fn unblock(store: &dyn Store, arguments: &Unblock) -> Result<Ending, CommandError> {
    if store.unblock(&arguments.sender, Timestamp::now()).await? {
        println!("unblocked: {}", arguments.sender.escape_debug());
        return Ok(Ending::Done);
    }
    Err(CommandError::other(format_args!(
        "no sender {:?}; write it as senders list does",
        arguments.sender
    )))
}

/// An address is whatever a sender wrote.
fn as_line(sender: &ThrottledSender) -> String {
    format!(
        "{:<9}  {:<20}  {}",
        stage(sender),
        until(sender),
        sender.key.escape_debug()
    )
}

fn as_json(sender: &ThrottledSender) -> Value {
    json!({"sender": sender.key, "stage": stage(sender), "until": until(sender)})
}

fn stage(sender: &ThrottledSender) -> &'static str {
    match sender.bucket.stage {
        Stage::Open => "open",
        Stage::Deferring => "deferring",
        Stage::Blocked { .. } => "blocked",
    }
}

fn until(sender: &ThrottledSender) -> String {
    let bucket = &sender.bucket;
    bucket
        .blocked_until()
        .or_else(|| bucket.seen.checked_add(bucket.backlog).ok())
        .map_or_else(String::new, second)
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
        assert_eq!(
            as_line(&sender(Stage::Blocked { left })),
            "blocked    2026-03-01T13:00:00Z  address a@b.example"
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
        let line = as_line(&sender);
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line}");
    }
}
