//! `queue retry` and `queue drop`: the operator's orders, and what came of
//! them in words.

use clap::Args;
use jiff::Timestamp;

use super::{
    super::{CommandError, operator::order, relative::until, standard_output::write_lines},
    find,
    item::Item,
};
use crate::{
    kms::RequestId,
    printable::Printable,
    store::{Dropped, Store, ToDrop, ToRetry, WaitsEnded},
};

/// Try again now what waits for a time.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends the wait after a failed attempt, and that of a sender over his allowance,
of the request itself and of its replies. A running gateway notices within about
a second. What is in work stays with whoever has it, and what is behind another
stays there. The audit log says who ended the wait.

Examples:
  kms-gateway queue retry 0f3c52a1
  kms-gateway queue retry --all")]
pub(in super::super) struct Retry {
    /// The request's id, the beginning of one, or Postfix's queue id.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// All that waits.
    #[arg(long)]
    all: bool,
}

/// Drop a request that is not answered yet, or replies that are not handed over.
#[derive(Debug, Args)]
#[command(after_help = "\
Nobody is asked and nobody told: a dropped request is never answered, nor is
the same message if it comes again within 7 days, and a dropped reply never
sent. The audit log says who did it and why. Key load files that were issued are
not un-issued: the module may not ask with the same record again, and its history
names them. A request may be dropped while a worker has it, for what comes of
that is refused then; an external KMS may have issued a key load file even so. A
reply that is being handed to Postfix may not.

Examples:
  kms-gateway queue drop 0f3c52a1 --reason \"withdrawn by phone\"
  kms-gateway queue drop 0f3c52a1 --target jane@vendor.example --reason \"has left\"")]
pub(in super::super) struct Drop {
    /// The request's id, the beginning of one, or Postfix's queue id.
    id: String,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// Only the replies and notices for this address.
    #[arg(long, value_name = "ADDRESS")]
    target: Option<String>,
}

fn reason(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("say why, for whoever reads the audit log"),
        text => Ok(text.to_owned()),
    }
}

pub(super) async fn retry(store: &dyn Store, arguments: &Retry) -> Result<(), CommandError> {
    let Some(name) = &arguments.id else {
        let ended = store.retry(ToRetry::All, order()).await?;
        return write_lines([ended_text(ended)]);
    };
    let id = find(store, name).await?;
    let ended = store.retry(ToRetry::Request(id), order()).await?;
    let now = Timestamp::now();
    let story = store.request_story(id, now).await?;
    if story.waiting.is_empty() {
        return Err(finished(id));
    }
    let states = story.waiting.iter().map(|attempted| {
        let item = Item::new(&attempted.queued);
        let state = format!("{} {}: {}", item.what(), item.whom(), item.state(now));
        Printable(&state).to_string()
    });
    write_lines([ended_text(ended)].into_iter().chain(states))
}

fn ended_text(ended: WaitsEnded) -> String {
    match ended {
        WaitsEnded {
            requests: 0,
            replies: 0,
        } => "Nothing waits for a time.".to_owned(),
        WaitsEnded { requests, replies } => {
            format!("Waits ended: {requests} of requests, {replies} of replies.")
        }
    }
}

pub(super) async fn drop(store: &dyn Store, arguments: &Drop) -> Result<(), CommandError> {
    let request_id = find(store, &arguments.id).await?;
    let what = ToDrop {
        request_id,
        target: arguments.target.clone(),
        reason: arguments.reason.clone(),
    };
    let order = order();
    let now = order.at;
    match store.drop_request(what, order).await? {
        Dropped::Done {
            was_unanswered,
            targets,
        } => write_lines(done(request_id, was_unanswered, &targets)),
        refused => Err(refusal(request_id, &refused, now)),
    }
}

fn done(id: RequestId, was_unanswered: bool, targets: &[String]) -> Vec<String> {
    let request = was_unanswered.then(|| format!("Dropped: request {id}, never to be answered."));
    let replies = targets.iter().map(|target| {
        let what = if was_unanswered { "notice" } else { "reply" };
        format!("Dropped: the {what} for {}.", Printable(target))
    });
    request.into_iter().chain(replies).collect()
}

fn refusal(id: RequestId, refused: &Dropped, now: Timestamp) -> CommandError {
    match refused {
        Dropped::InWork {
            target,
            until: time,
        } => CommandError::other(format!(
            "nothing dropped: the reply for {} is being handed to Postfix just now; see what \
             became of it by queue show {id}, and if it still waits try again, {} at the latest",
            Printable(target),
            until(*time, now)
        )),
        Dropped::NoSuchTarget { targets } if targets.is_empty() => CommandError::other(format!(
            "nothing dropped: {id} is not answered yet and has no reply; without --target the \
             request itself is dropped"
        )),
        Dropped::NoSuchTarget { targets } => CommandError::other(format!(
            "nothing dropped: nothing of {id} waits for that address, only for {}",
            Printable(&targets.join(", "))
        )),
        Dropped::NotQueued | Dropped::Done { .. } => finished(id),
    }
}

fn finished(id: RequestId) -> CommandError {
    CommandError::other(format!(
        "nothing of {id} waits: it is finished; queue show {id} tells what became of it"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_reason_says_something() {
        assert_eq!(reason(" spam ").unwrap(), "spam");
        assert!(reason(" \t").is_err());
    }

    #[test]
    fn a_refusal_says_what_to_do_and_shows_no_address_raw() {
        let id = RequestId::from_bytes([1; 16]);
        let now = Timestamp::UNIX_EPOCH;
        let hostile = || "a\u{1b}[31m@b.example".to_owned();
        let refused = [
            (
                Dropped::InWork {
                    target: hostile(),
                    until: now,
                },
                "try again",
            ),
            (
                Dropped::NoSuchTarget {
                    targets: vec![hostile()],
                },
                "only for a",
            ),
            (
                Dropped::NoSuchTarget {
                    targets: Vec::new(),
                },
                "without --target",
            ),
            (Dropped::NotQueued, "queue show"),
        ];
        for (refused, says) in refused {
            let text = refusal(id, &refused, now).to_string();
            assert!(text.contains(says) && !text.contains('\u{1b}'), "{text}");
        }
        let done = done(id, false, &[hostile()]).concat();
        assert!(done.contains("the reply for a\\u{1b}"), "{done}");
    }
}
