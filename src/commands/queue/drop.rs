//! `queue drop`: ends requests and replies without an answer: one by its id, or many
//! by sender, client or rule.

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use jiff::Timestamp;

use super::{
    super::{CommandError, confirmation::confirm, operator::order, standard_output::write_lines},
    counted::{Counted, counted, finished},
    named::find,
};
use crate::{
    gateway::clock,
    policy::{Network, RuleName},
    printable::Printable,
    request_id::RequestId,
    store::{Dropped, DroppedAll, Selected, Selection, Store, ToDrop, ToDropAll},
    time::relative::until,
};

/// Number of requests dropped in one transaction. The running gateway waits for the
/// transaction.
const AT_ONCE: usize = 100;

/// The rules that put requests off until an allowance has room.
const PUTTING_OFF: [RuleName; 2] = [RuleName::FLOOD, RuleName::BLOCKED];

/// Drop requests that are not answered yet, or replies that are not handed over.
#[derive(Debug, Args)]
#[command(after_help = "\
The senders are not notified. A dropped request is never answered, and neither
is the same message if it comes again within 7 days. A dropped reply is never
sent. The audit log names the person and the reason of each drop.

A key load file that was issued stays issued: the module can't ask with the same
record again, and its history names the file. A request may be dropped while a
worker has it, and the worker's result is refused. An external key management
system may have issued a key load file even so. A reply that is being handed to
Postfix can't be dropped.

--sender, --client and --rule select many requests; all that are given must
match. The notices of a request are dropped with it, and so are the replies of
an answered one. The command prints how many they are and asks; a script gives
--yes. It does not ask for an id.

Examples:
  kms-gateway queue drop 0f3c52a1 --reason \"withdrawn by phone\"
  kms-gateway queue drop 0f3c52a1 --target jane@vendor.example --reason \"has left\"
  kms-gateway queue drop --client 192.0.2.0/24 --rule flood --reason \"a flood\"
  kms-gateway queue drop --sender jane@vendor.example --reason \"asked for it\" --yes")]
pub(in super::super) struct Drop {
    /// The request's id, the beginning of its id, or Postfix's queue id.
    #[arg(
        required_unless_present_any = ["sender", "client", "rule"],
        conflicts_with_all = ["sender", "client", "rule"]
    )]
    id: Option<String>,
    /// The reason, for the audit log.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// Only the replies and notices for this address.
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "id",
        allow_hyphen_values = true
    )]
    target: Option<String>,
    /// Requests of this sender: the address in the reverse path, or the sender as
    /// senders list names it.
    #[arg(long, value_name = "SENDER", allow_hyphen_values = true)]
    sender: Option<String>,
    /// Requests from this client, or from the clients of this network.
    #[arg(long, value_name = "NETWORK")]
    client: Option<Network>,
    /// Requests that wait for an allowance by this rule.
    #[arg(long, value_name = "NAME", value_parser = putting_off())]
    rule: Option<RuleName>,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

fn putting_off() -> impl TypedValueParser<Value = RuleName> {
    let names = PUTTING_OFF.map(RuleName::as_str);
    PossibleValuesParser::new(names).try_map(|name| {
        let rule = PUTTING_OFF.into_iter().find(|rule| rule.as_str() == name);
        rule.ok_or("not a rule that puts off")
    })
}

fn reason(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("say why, for whoever reads the audit log"),
        text => Ok(text.to_owned()),
    }
}

pub(super) async fn run(store: &Store, arguments: &Drop) -> Result<(), CommandError> {
    match &arguments.id {
        Some(name) => one(store, name, arguments).await,
        None => many(store, arguments).await,
    }
}

async fn many(store: &Store, arguments: &Drop) -> Result<(), CommandError> {
    let selection = Selection {
        sender: arguments.sender.clone(),
        client: arguments.client.map(|Network(network)| network),
        rule: arguments.rule,
    };
    let selected = store.selected(&selection, clock::now(store)).await?;
    if selected.is_empty() {
        return write_lines(["Nothing that waits is selected."]);
    }
    confirm(&loss(&selected), arguments.yes)?;
    let mut dropped = DroppedAll::default();
    for some in selected.chunks(AT_ONCE) {
        let what = ToDropAll {
            requests: some.iter().map(|request| request.request_id).collect(),
            only_throttled: arguments.rule.is_some(),
            reason: arguments.reason.clone(),
        };
        let of_some = store.drop_all(what, order(store)).await?;
        dropped.requests += of_some.requests;
        dropped.replies += of_some.replies;
        dropped.in_work += of_some.in_work;
        dropped.gone += of_some.gone;
    }
    write_lines(all_done(dropped))
}

/// The effect of the order, for the question before it.
fn loss(selected: &[Selected]) -> String {
    let Counted {
        requests,
        replies,
        senders,
    } = Counted::of(selected);
    format!("This drops {requests} and {replies}, of {senders}.")
}

fn all_done(dropped: DroppedAll) -> Vec<String> {
    let requests = counted(dropped.requests, "request", "requests");
    let replies = counted(dropped.replies, "reply or notice", "replies and notices");
    let mut lines = vec![format!("Dropped: {requests} and {replies}.")];
    if dropped.in_work > 0 {
        let requests = counted(dropped.in_work, "request", "requests");
        lines.push(format!(
            "Left: the replies of {requests}, as one of them is being handed to Postfix; try again."
        ));
    }
    if dropped.gone > 0 {
        let requests = counted(dropped.gone, "request", "requests");
        lines.push(format!("Left: {requests} no longer selected."));
    }
    lines
}

async fn one(store: &Store, name: &str, arguments: &Drop) -> Result<(), CommandError> {
    let request_id = find(store, name).await?;
    let what = ToDrop {
        request_id,
        target: arguments.target.clone(),
        reason: arguments.reason.clone(),
    };
    let order = order(store);
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
            "nothing dropped: the reply for {} is being handed to Postfix; queue show {id} shows \
             the result; if it still waits then, try again, {} at the latest",
            Printable(target),
            until(*time, now)
        )),
        Dropped::NoSuchTarget { targets } if targets.is_empty() => CommandError::other(format!(
            "nothing dropped: {id} is not answered yet and has no reply; to drop the request \
             itself, leave --target out"
        )),
        Dropped::NoSuchTarget { targets } => CommandError::other(format!(
            "nothing dropped: no reply of {id} waits for that address; give one of {}",
            Printable(&targets.join(", "))
        )),
        Dropped::NotQueued | Dropped::Done { .. } => finished(id),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_many_orders_did_is_told_in_a_sum() {
        let dropped = DroppedAll {
            requests: 1_920,
            replies: 1,
            in_work: 1,
            gone: 2,
        };
        assert_eq!(
            all_done(dropped),
            [
                "Dropped: 1920 requests and 1 reply or notice.",
                "Left: the replies of 1 request, as one of them is being handed to Postfix; try \
                 again.",
                "Left: 2 requests no longer selected.",
            ]
        );
        assert_eq!(all_done(DroppedAll::default()).len(), 1);
    }

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
                "give one of a",
            ),
            (
                Dropped::NoSuchTarget {
                    targets: Vec::new(),
                },
                "leave --target out",
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
