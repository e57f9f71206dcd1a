//! `queue show`: a request's whole story, as far as the database and the audit log
//! still have it.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    super::{
        CommandError,
        explain::RulesToday,
        placed::Placed,
        standard_output::{write_json, write_lines},
    },
    item::{Item, trouble_json},
    named::find,
    story,
};
use crate::{
    audit::Entry,
    config::Config,
    gateway::{clock, reply_port},
    mail::Header,
    printable::Printable,
    store::{Attempted, PortTrouble, RequestStory, Store},
    time::relative::ago,
};

/// Show a request's whole story, finished or not.
#[derive(Debug, Args)]
#[command(after_help = "\
Shows the request's sender, judgement, troubles and result, and the result of
each reply, as long as the audit log has them. The last 20 attempts of a waiting
request or reply are kept with their troubles; a finished one keeps only their
number.

The judgement is the one at the acceptance. Until the request is answered, the
findings of the rules in force now are shown too, as explain does. These ask no
DNS blocklists and know no logins.

--json prints an object with
  request_id, queue_id, accepted_at, client, helo, reverse_path, recipients,
  from, subject, message_id, size, service
                facts of the message; null (recipients: empty) if they are no
                longer known
  judged        {verdict, rule, reason} at the acceptance, or null
  waiting       the waiting request or replies, objects as in queue list, each
                with its troubles: {attempt, at, trouble}
  history       the request's entries in the audit log, objects as in audit list
  rules_today   an array of {rule, looked_at, found, verdict}, or null

Examples:
  kms-gateway queue show 0f3c52a1
  kms-gateway queue show 4Zx7Qh2vRzz1y3")]
pub(in super::super) struct Show {
    /// The request's id, the beginning of its id, or Postfix's queue id.
    id: String,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    config: &Config,
    store: &Store,
    arguments: &Show,
) -> Result<(), CommandError> {
    let id = find(store, &arguments.id).await?;
    let now = clock::now(store);
    let port = store.hand_over(config.reply.smtp, now).await?.trouble;
    let shown = Shown::new(config, store.request_story(id, now).await?, port);
    match arguments.json {
        true => write_json(&shown.json()),
        false => write_lines(shown.lines(now)),
    }
}

/// A story with its entries read.
struct Shown {
    story: RequestStory,
    /// The trouble of Postfix's reply port.
    port: Option<PortTrouble>,
    history: Vec<Placed>,
    rules_today: Option<RulesToday>,
}

impl Shown {
    fn new(config: &Config, story: RequestStory, port: Option<PortTrouble>) -> Self {
        let history: Vec<Placed> = story.entries.iter().filter_map(Placed::read).collect();
        let rules_today = story
            .message
            .as_ref()
            .map(|message| RulesToday::of(config, message, story::acceptance(&history)));
        Self {
            story,
            port,
            history,
            rules_today,
        }
    }

    fn acceptance(&self) -> Option<&Entry> {
        story::acceptance(&self.history)
    }

    fn queue_id(&self) -> Option<&str> {
        let waiting = self.story.waiting.first();
        let waiting = waiting.map(|waiting| waiting.queued.queue_id.as_str());
        let logged = self.history.iter();
        let mut logged = logged.filter_map(|placed| placed.entry.queue_id.as_deref());
        waiting.or_else(|| logged.next())
    }

    fn accepted_at(&self) -> Option<Timestamp> {
        let waiting = self.story.waiting.first();
        let accepted = self.acceptance().map(|entry| entry.time);
        accepted.or_else(|| waiting.map(|waiting| waiting.queued.accepted_at))
    }

    fn lines(&self, now: Timestamp) -> Vec<String> {
        let mut lines = self.head(now);
        lines.push(String::new());
        if self.story.waiting.is_empty() {
            lines.push("Nothing of this request waits.".to_owned());
        }
        for attempted in &self.story.waiting {
            lines.extend(waiting_lines(attempted, self.port.as_ref(), now));
        }
        lines.push(String::new());
        lines.push("Its entries in the audit log:".to_owned());
        let history = story::lines(&self.history, now);
        lines.extend(history.into_iter().map(indented));
        if let Some(rules) = &self.rules_today {
            lines.push(String::new());
            lines.push(
                "Findings of the rules in force now (no DNS blocklists, no logins):".to_owned(),
            );
            lines.extend(rules.lines());
        }
        lines
    }

    /// The message's origin and its judgement.
    fn head(&self, now: Timestamp) -> Vec<String> {
        let entry = json!(self.acceptance());
        let text = |field| entry.get(field).and_then(Value::as_str).map(str::to_owned);
        let client = text("client").map(|client| match text("helo") {
            Some(helo) => format!("{client}, which called itself {helo}"),
            None => client,
        });
        let recipients = self.acceptance().map(|entry| entry.recipients.join(", "));
        let subject =
            text("subject").map(|subject| Header::new(b"Subject", subject.as_bytes()).decoded());
        let accepted = self.accepted_at();
        let accepted = accepted.map(|time| format!("{time}, {}", ago(time, now)));
        let size = entry.get("size").map(|size| format!("{size} bytes"));
        let rows = [
            ("request", Some(self.story.request_id.to_string())),
            ("queue id", self.queue_id().map(str::to_owned)),
            ("accepted", accepted),
            ("client", client),
            ("sender", text("reverse_path")),
            ("recipients", recipients),
            ("From", text("from")),
            ("Subject", subject),
            ("Message-ID", text("message_id")),
            ("size", size),
            ("service", text("service")),
        ];
        let known = rows.into_iter().filter_map(|(name, value)| {
            let value = value?;
            Some(format!("{name:<11} {}", Printable(&value)))
        });
        let judged = match self.acceptance() {
            Some(entry) => story::judgement(entry),
            None => "no longer in the audit log".to_owned(),
        };
        known
            .chain([format!("{:<11} {judged}", "judged")])
            .collect()
    }

    /// The JSON object; **contract**.
    fn json(&self) -> Value {
        let entry = json!(self.acceptance());
        let waiting = self.story.waiting.iter();
        let waiting = waiting.map(|attempted| waiting_json(attempted, self.port.as_ref()));
        let judged = self.acceptance().map(
            |entry| json!({"verdict": entry.verdict, "rule": entry.rule, "reason": entry.reason}),
        );
        json!({
            "request_id": self.story.request_id.to_string(),
            "queue_id": self.queue_id(),
            "accepted_at": self.accepted_at().map(|time| time.to_string()),
            "client": entry.get("client"),
            "helo": entry.get("helo"),
            "reverse_path": entry.get("reverse_path"),
            "from": entry.get("from"),
            "subject": entry.get("subject"),
            "message_id": entry.get("message_id"),
            "size": entry.get("size"),
            "service": entry.get("service"),
            "recipients": self.acceptance().map_or(&Vec::new(), |entry| &entry.recipients),
            "judged": judged,
            "waiting": waiting.collect::<Value>(),
            "history": self.history,
            "rules_today": self.rules_today.as_ref().map(RulesToday::json),
        })
    }
}

fn indented(line: String) -> String {
    format!("  {line}")
}

/// The state of a waiting request or reply, its attempts, and a reply's result.
fn waiting_lines(attempted: &Attempted, port: Option<&PortTrouble>, now: Timestamp) -> Vec<String> {
    let item = Item::new(&attempted.queued, port);
    let mut headline = format!("The {}", item.what());
    if item.what() != "request" {
        headline.push_str(&format!(" for {}", item.whom()));
    }
    headline.push_str(&format!(": {}", item.state(now)));
    if let Some(node) = &attempted.queued.node {
        headline.push_str(&format!(" at {node}"));
    }
    if let Some(until) = item.until() {
        headline.push_str(&format!(" ({until})"));
    }
    let mut lines = vec![Printable(&headline).to_string()];
    if !item.result.is_empty() {
        let id = item.message_id.as_deref().unwrap_or("no Message-ID");
        let result = format!("says {}; {id}", item.result.join(", "));
        lines.push(indented(Printable(&result).to_string()));
    }
    if let Some(trouble) = item.port {
        lines.push(indented(reply_port::sentence(trouble, now)));
    }
    for trouble in &attempted.troubles {
        lines.push(format!(
            "  attempt {}, {}, {}: {}",
            trouble.attempt,
            trouble.at,
            ago(trouble.at, now),
            Printable(&trouble.text)
        ));
    }
    let last_noted = attempted.troubles.last().map_or(0, |last| last.attempt);
    if attempted.queued.attempts > last_noted {
        let attempt = attempted.queued.attempts;
        lines.push(format!("  attempt {attempt}: no outcome noted yet"));
    }
    lines
}

fn waiting_json(attempted: &Attempted, port: Option<&PortTrouble>) -> Value {
    let mut object = Item::new(&attempted.queued, port).json();
    if let Some(fields) = object.as_object_mut() {
        let troubles = attempted.troubles.iter().map(trouble_json).collect();
        fields.insert("troubles".to_owned(), troubles);
    }
    object
}
