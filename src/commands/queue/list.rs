//! `queue list`: the waiting requests and replies, and why they wait.

use std::collections::HashSet;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::{
        CommandError,
        named_service::NamedService,
        standard_output::{write_json, write_lines},
        table::{Column, Table, cut, terminal_width},
    },
    counted::counted,
    item::{Item, short},
};
use crate::{
    config::{Config, Period},
    gateway::{clock, reply_port},
    printable::Printable,
    request_id::RequestId,
    store::{Selection, Store, Waits},
    time::relative::{ago, length},
};

/// List the requests that wait for an answer, and the replies that wait to be
/// handed to Postfix, each target on its own line; the oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
A second line shows the sender or the target, the gateway that has it in work,
the number of attempts, and the last trouble. A terminal cuts lines to its width, and ids to their beginning,
which queue show takes too.

--json prints an array of objects, each with
  request_id    the gateway's id of the request
  queue_id      Postfix's queue id of the request
  what          request, reply or notice (a Notice is not the final reply)
  state         due, in-work, put-off, throttled (its sender is over their
                allowance), behind (another comes first) or for-the-port (a
                reply that waits for Postfix's port, which is in trouble)
  until         the next attempt if put-off or throttled, the next trial of the
                port if for-the-port, the end of the lease if in-work; else null
  behind        the id of the request that comes first; else null
  accepted_at   when the request was accepted
  service       the service code, or null
  sender        a request's reverse path; else null
  client        the SMTP client that the request came from, or null
  rule          the rule that put a request off when it came (flood, blocked);
                else null
  node          the gateway that has it if in-work (gateway.node); else null
  target        the address that a reply goes to; else null
  result        the elements of a reply's X-Gateway-Result; empty for a request
  attempts      the number of attempts
  last_trouble  {attempt, at, trouble}, or null
  port_trouble  the trouble of the port that a reply waits for, or null
All times are exact, in UTC.

--sender, --service and --older-than are filters; all that are given must match.

Examples:
  kms-gateway queue list
  kms-gateway queue list --sender vendor.example --older-than 1h
  kms-gateway queue list --json | jq '.[] | select(.state == \"put-off\")'")]
pub(in super::super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

/// The filters of the list.
#[derive(Debug, Args)]
struct Filter {
    /// The reverse path or the reply's address contains this, or senders list names the
    /// sender so.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    sender: Option<String>,
    /// This service was asked for: Help. A service that does not exist is given by its
    /// whole code: {KMS:Foo}.
    #[arg(long, value_name = "SERVICE")]
    service: Option<NamedService>,
    /// The request was accepted at least this long ago: 30min, 2h, 1d.
    #[arg(long, value_name = "TIME")]
    older_than: Option<Period>,
}

pub(super) async fn run(
    config: &Config,
    store: &Store,
    arguments: &List,
) -> Result<(), CommandError> {
    let now = clock::now(store);
    let queue = store.queue(now).await?;
    let port = store.hand_over(config.reply.smtp, now).await?.trouble;
    let by_name = match &arguments.filter.sender {
        Some(sender) => requests_of(store, sender, now).await?,
        None => HashSet::new(),
    };
    let items: Vec<Item<'_>> = queue
        .iter()
        .map(|queued| Item::new(queued, port.as_ref()))
        .filter(|item| arguments.filter.selects(item, &by_name, now))
        .collect();
    if arguments.json {
        return write_json(&items.iter().map(Item::json).collect::<Value>());
    }
    if items.is_empty() && !queue.is_empty() {
        return write_lines(["Nothing that waits is selected."]);
    }
    write_lines(lines(&items, terminal_width(), now))
}

/// The requests of a sender that is named as in senders list.
async fn requests_of(
    store: &Store,
    sender: &str,
    now: Timestamp,
) -> Result<HashSet<RequestId>, CommandError> {
    let selection = Selection {
        sender: Some(sender.to_owned()),
        ..Selection::default()
    };
    let selected = store.selected(&selection, now).await?;
    Ok(selected.iter().map(|request| request.request_id).collect())
}

impl Filter {
    /// Whether the item passes. `by_name` holds the requests of the wanted sender.
    fn selects(&self, item: &Item<'_>, by_name: &HashSet<RequestId>, now: Timestamp) -> bool {
        let is_from = |sender: &String| {
            let whom = item.whom().to_lowercase();
            whom.contains(&sender.to_lowercase()) || by_name.contains(&item.queued.request_id)
        };
        let is_for =
            |service: &NamedService| item.service.as_deref().is_some_and(|code| service.is(code));
        let is_old = |age: &Period| now.duration_since(item.queued.accepted_at) >= age.as_signed();
        self.sender.as_ref().is_none_or(is_from)
            && self.service.as_ref().is_none_or(is_for)
            && self.older_than.as_ref().is_none_or(is_old)
    }
}

/// The table with a second line for each row, and the sum.
fn lines(items: &[Item<'_>], terminal: Option<usize>, now: Timestamp) -> Vec<String> {
    let fitting = |line: String| match terminal {
        Some(width) => cut(&line, width),
        None => line,
    };
    let mut of_items = table(items, terminal.is_some(), now)
        .lines(terminal)
        .into_iter();
    let names = of_items.next().filter(|_| !items.is_empty());
    let mut lines: Vec<String> = names.into_iter().collect();
    for (line, item) in of_items.zip(items) {
        lines.push(line);
        lines.push(fitting(format!("    {}", item.whom_and_attempts(now))));
    }
    lines.push(fitting(sum(items, now)));
    if let Some(trouble) = items.iter().find_map(|item| item.port) {
        lines.push(fitting(reply_port::sentence(trouble, now)));
    }
    lines
}

fn table(items: &[Item<'_>], is_short: bool, now: Timestamp) -> Table<6> {
    let mut table = Table::new([
        Column::whole("request"),
        Column::at_least(8, "queue id"),
        Column::whole("what"),
        Column::whole("state"),
        Column::whole("age"),
        Column::at_least(8, "service"),
    ]);
    for item in items {
        table.push(cells(item, is_short, now));
    }
    table
}

fn cells(item: &Item<'_>, is_short: bool, now: Timestamp) -> [String; 6] {
    let queued = item.queued;
    let id = match is_short {
        true => short(queued.request_id),
        false => queued.request_id.to_string(),
    };
    let service = item.service.as_deref().unwrap_or_default();
    [
        id,
        Printable(&queued.queue_id).to_string(),
        item.what().to_owned(),
        item.state(now),
        length(now.duration_since(queued.accepted_at)),
        Printable(service).to_string(),
    ]
}

/// The number of waiting requests and replies, and the age of the oldest.
fn sum(items: &[Item<'_>], now: Timestamp) -> String {
    let Some(oldest) = items.iter().map(|item| item.queued.accepted_at).min() else {
        return "Nothing waits.".to_owned();
    };
    let is_request = |item: &&Item<'_>| matches!(item.queued.what, Waits::Request { .. });
    let requests = items.iter().filter(is_request).count();
    format!(
        "{} and {} wait; the oldest was accepted {}.",
        counted(requests as u64, "request", "requests"),
        counted((items.len() - requests) as u64, "reply", "replies"),
        ago(oldest, now)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::net::SocketAddr;

    use jiff::SignedDuration;
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::{
        request_id::RequestId,
        store::{PortTrouble, QueueState, Queued, Trouble},
    };

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn request(state: QueueState) -> Queued {
        Queued {
            request_id: RequestId::from_bytes([0xAB; 16]),
            queue_id: "4Zx7Qh2vRzz1y3".to_owned(),
            accepted_at: now() - SignedDuration::from_mins(3),
            what: Waits::Request {
                reverse_path: "<alice@vendor.example>".to_owned(),
            },
            state,
            client: Some([192, 0, 2, 1].into()),
            rule: None,
            node: None,
            attempts: 2,
            last_trouble: Some(Trouble {
                attempt: 2,
                at: now() - SignedDuration::from_secs(9),
                text: "the KMS is away\r\n\u{1b}[31m".repeat(5),
            }),
            header: b"Subject: {KMS:GetKlfStsEd2} 1\r\n".to_vec(),
        }
    }

    fn reply(kind: &str) -> Queued {
        let header = format!(
            "Message-ID: <1@kms.example>\r\nSubject: Auto: {{KMS:Help}} x\r\n\
             X-Gateway-Result: {kind}\r\n"
        );
        Queued {
            what: Waits::Reply {
                target: format!("{}\u{1b}[2J@vendor.example", "日本".repeat(20)),
            },
            header: header.into_bytes(),
            attempts: 0,
            last_trouble: None,
            ..request(QueueState::Due)
        }
    }

    fn shown(queue: &[Queued], terminal: Option<usize>) -> Vec<String> {
        let items: Vec<Item<'_>> = queue.iter().map(|queued| Item::new(queued, None)).collect();
        lines(&items, terminal, now())
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_nothing_in_it_acts() {
        let until = now() + SignedDuration::from_secs(12);
        let queue = [
            request(QueueState::PutOff { until }),
            reply("Success\tdone"),
            reply("Notice\tDeferred\tlater"),
        ];
        for terminal in [Some(80), Some(40), Some(132), None] {
            let lines = shown(&queue, terminal);
            assert_eq!(lines.len(), 8, "{lines:#?}");
            for line in &lines {
                let width = line.as_str().width();
                assert!(terminal.is_none_or(|terminal| width <= terminal), "{line}");
                assert!(!line.contains(char::is_control), "{line}");
            }
        }
        let lines = shown(&queue, Some(80));
        for (line, begins) in [
            (0, "request   queue id        what     state"),
            (
                1,
                "abababab  4Zx7Qh2vRzz1y3  request  again in 12 s  3 min  {KMS:GetKlfStsEd2}",
            ),
            (
                2,
                "    from <alice@vendor.example>, 2 attempts, 9 s ago: the KMS is away\\r\\n",
            ),
            (3, "abababab  4Zx7Qh2vRzz1y3  reply    waiting"),
            (4, "    for 日本"),
            (5, "abababab  4Zx7Qh2vRzz1y3  notice   waiting"),
        ] {
            assert!(lines[line].starts_with(begins), "{begins}: {lines:#?}");
        }
        let whole = shown(&queue, None).join("\n");
        assert!(whole.contains(&"ab".repeat(16)) && !whole.contains('…'));
    }

    #[test]
    fn each_filter_lets_its_own_by_and_nothing_else() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            filter: Filter,
        }
        let queue = [request(QueueState::Due), reply("Success\tdone")];
        let selected = |arguments: &str| {
            let words = ["list"].into_iter().chain(arguments.split(' '));
            let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
            let items = queue.iter().map(|queued| Item::new(queued, None));
            let selects = |item: &Item<'_>| line.filter.selects(item, &HashSet::new(), now());
            let items = items.filter(selects);
            items.map(|item| item.what()).collect::<Vec<_>>().join(" ")
        };
        for (arguments, expected) in [
            ("--sender ALICE@vendor", "request"),
            ("--sender vendor.example", "request reply"),
            ("--sender -alice", ""),
            ("--service getklfstsed2", "request"),
            ("--service {KMS:Help}", "reply"),
            ("--service {KMS:Foo}", ""),
            ("--older-than 3min", "request reply"),
            ("--older-than 181s", ""),
            ("--sender vendor --service help", "reply"),
        ] {
            assert_eq!(selected(arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn what_is_in_work_shows_where() {
        let until = now() + SignedDuration::from_secs(12);
        let queued = Queued {
            node: Some("mx1".to_owned()),
            ..request(QueueState::InWork { until })
        };
        let lines = shown(std::slice::from_ref(&queued), None);
        assert!(lines[1].contains("  in work  "), "{lines:#?}");
        assert!(
            lines[2].starts_with("    from <alice@vendor.example>, at mx1, 2 attempts"),
            "{lines:#?}"
        );
        assert_eq!(Item::new(&queued, None).json()["node"], "mx1");
    }

    #[test]
    fn the_sum_says_how_many_and_since_when() {
        assert_eq!(shown(&[], Some(80)), ["Nothing waits."]);
        let queue = [request(QueueState::Due), reply("Success\tdone")];
        assert_eq!(
            shown(&queue, None).last().unwrap(),
            "1 request and 1 reply wait; the oldest was accepted 3 min ago."
        );
    }

    #[test]
    fn what_waits_for_the_port_says_so_and_why() {
        let until = now() + SignedDuration::from_secs(12);
        let trouble = PortTrouble {
            port: SocketAddr::from(([127, 0, 0, 1], 18025)),
            since: now() - SignedDuration::from_mins(2),
            tried_at: now(),
            until,
            is_being_tried: false,
            failures: 7,
            refuses: false,
            trouble: "connection: refused".to_owned(),
        };
        let queue = [request(QueueState::Due), reply("Success\tdone")];
        let items = queue.each_ref().map(|own| Item::new(own, Some(&trouble)));
        let lines = lines(&items, Some(120), now());
        assert!(lines[1].contains(" waiting "), "{lines:#?}");
        assert!(lines[3].contains(" for the port "), "{lines:#?}");
        assert!(
            lines[6].contains("began 2 min ago: connection: refused"),
            "{lines:#?}"
        );
        let json = items[1].json();
        assert_eq!(json["state"], "for-the-port");
        assert_eq!(json["until"], until.to_string());
        assert_eq!(json["port_trouble"], "connection: refused");
        assert_eq!(items[0].json()["port_trouble"], Value::Null);
    }

    #[test]
    fn json_has_every_field_that_the_help_names() {
        let queue = [
            request(QueueState::Behind {
                request_id: RequestId::from_bytes([1; 16]),
            }),
            reply("Error\tEVkloadExpired\told"),
        ];
        let json: Vec<Value> = queue
            .iter()
            .map(|queued| Item::new(queued, None).json())
            .collect();
        let help = <List as Args>::augment_args(clap::Command::new("list"))
            .render_long_help()
            .to_string();
        for (field, _) in json[0].as_object().unwrap() {
            assert!(help.contains(&format!("\n  {field} ")), "{field}: {help}");
        }
        assert_eq!(json[0].as_object().unwrap().len(), 17);
        assert_eq!(json[0]["state"], "behind");
        assert_eq!(json[0]["behind"], "01".repeat(16));
        assert_eq!(json[0]["accepted_at"], "2026-03-01T11:57:00Z");
        assert_eq!(json[0]["last_trouble"]["attempt"], 2);
        assert_eq!(json[1]["result"][1], "EVkloadExpired");
        assert_eq!(json[1]["service"], "{KMS:Help}");
    }
}
