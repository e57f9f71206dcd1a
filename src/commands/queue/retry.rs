//! `queue retry`: ends waits, and reports which.

use clap::Args;

use super::{
    super::{CommandError, confirmation::confirm, operator::order, standard_output::write_lines},
    counted::{Counted, counted, finished},
    item::Item,
    named::find,
};
use crate::{
    config::Config,
    gateway::clock,
    printable::Printable,
    store::{Selected, Selection, Store, ToRetry, WaitsEnded},
};

/// Try waiting requests and replies again now.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends the wait after a failed attempt, of the request itself and of its replies.
A running gateway notices within about a second. A request in work stays with
its worker, and one behind another stays there. If Postfix's reply port is in
trouble, the gateway tries it at once; replies for it go out when it works
again. The audit log names the person who ended the wait.

Requests that wait for their turn under an allowance are left alone. Many of
them may be a flood of strangers, and all replies would go out at once.
--throttled ends these waits too. With --all it prints how many they are and
asks; a script gives --yes. For one sender, senders unblock is the better way.

Examples:
  kms-gateway queue retry 0f3c52a1
  kms-gateway queue retry --all
  kms-gateway queue retry --all --throttled --yes")]
pub(in super::super) struct Retry {
    /// The request's id, the beginning of its id, or Postfix's queue id.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// All requests and replies that wait for a time, except for an allowance.
    #[arg(long)]
    all: bool,
    /// Also requests that wait for an allowance.
    #[arg(long)]
    throttled: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(
    config: &Config,
    store: &Store,
    arguments: &Retry,
) -> Result<(), CommandError> {
    match &arguments.id {
        Some(name) => one(config, store, name, arguments.throttled).await,
        None => all(store, arguments).await,
    }
}

async fn all(store: &Store, arguments: &Retry) -> Result<(), CommandError> {
    if arguments.throttled {
        let mut waiting = store
            .selected(&Selection::default(), clock::now(store))
            .await?;
        waiting.retain(|request| request.is_throttled);
        if !waiting.is_empty() {
            confirm(&let_go(&waiting), arguments.yes)?;
        }
    }
    let what = ToRetry {
        request: None,
        throttled: arguments.throttled,
    };
    let ended = store.retry(what, order(store)).await?;
    let left = (ended.throttled > 0).then(|| left_text(ended.throttled));
    write_lines([ended_text(ended)].into_iter().chain(left))
}

/// The effect of the order, for the question before it.
fn let_go(waiting: &[Selected]) -> String {
    let Counted {
        requests, senders, ..
    } = Counted::of(waiting);
    format!("This answers at once {requests} that wait for an allowance, of {senders}.")
}

async fn one(
    config: &Config,
    store: &Store,
    name: &str,
    throttled: bool,
) -> Result<(), CommandError> {
    let id = find(store, name).await?;
    let what = ToRetry {
        request: Some(id),
        throttled,
    };
    let ended = store.retry(what, order(store)).await?;
    let now = clock::now(store);
    let story = store.request_story(id, now).await?;
    if story.waiting.is_empty() {
        return Err(finished(id));
    }
    if ended.requests + ended.replies == 0 && ended.throttled > 0 {
        return Err(CommandError::other(format!(
            "{id} still waits for its turn under an allowance; give --throttled to answer it at \
             once, or end the sender's waits with senders unblock"
        )));
    }
    let port = store.hand_over(config.reply.smtp, now).await?.trouble;
    let states = story.waiting.iter().map(|attempted| {
        let item = Item::new(&attempted.queued, port.as_ref());
        let state = format!("{} {}: {}", item.what(), item.whom(), item.state(now));
        Printable(&state).to_string()
    });
    write_lines([ended_text(ended)].into_iter().chain(states))
}

fn ended_text(ended: WaitsEnded) -> String {
    if ended == WaitsEnded::default() {
        return "Nothing waits for a time.".to_owned();
    }
    let port = match ended.port {
        true => " Postfix's reply port is tried now.",
        false => "",
    };
    let (requests, replies) = (ended.requests, ended.replies);
    format!("Waits ended: {requests} of requests, {replies} of replies.{port}")
}

fn left_text(throttled: u64) -> String {
    let requests = counted(throttled, "request", "requests");
    format!("Left alone: {requests} that wait for an allowance; --throttled ends these waits too.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_alone_is_told() {
        let ended = |requests, replies, throttled| WaitsEnded {
            requests,
            replies,
            throttled,
            port: false,
        };
        assert_eq!(ended_text(ended(0, 0, 0)), "Nothing waits for a time.");
        assert_eq!(
            ended_text(ended(0, 0, 9)),
            "Waits ended: 0 of requests, 0 of replies."
        );
        assert_eq!(
            ended_text(ended(1, 2, 0)),
            "Waits ended: 1 of requests, 2 of replies."
        );
        let port = WaitsEnded {
            port: true,
            ..ended(0, 0, 0)
        };
        assert!(ended_text(port).ends_with("Postfix's reply port is tried now."));
        assert_eq!(
            left_text(1),
            "Left alone: 1 request that wait for an allowance; --throttled ends these waits too."
        );
    }
}
