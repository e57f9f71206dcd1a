//! `queue show`: a request's whole story, as far as the database or the audit
//! log still has it.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    super::{
        CommandError,
        explain::RulesToday,
        relative::ago,
        reply_port,
        standard_output::{write_json, write_lines},
    },
    find,
    item::{Item, trouble_json},
    story::{self, Placed},
};
use crate::{
    audit::Entry,
    config::Config,
    mail::Header,
    printable::Printable,
    store::{Attempted, PortTrouble, RequestStory, Store},
};

/// Tell a request's whole story, finished or not.
#[derive(Debug, Args)]
#[command(after_help = "\
Who sent it, how it was judged, what went wrong, its result, and what became of
each reply, as long as the audit log has it. Of what still waits the last 20
attempts are kept, each with its trouble; of what is finished how many there
were. The judgement is the one of its acceptance. Until it is answered, what the
rules as they are now find is shown too, as explain does: DNS blocklists are not
asked, and logins not known.

--json prints one object with
  request_id, queue_id, accepted_at, client, helo, reverse_path, recipients,
  from, subject, message_id, size, service
                as the message came; null (recipients: none) where it is no
                longer known
  judged        {verdict, rule, reason} at its acceptance, or null
  waiting       what waits, objects as of queue list, each with its troubles:
                {attempt, at, trouble}
  history       what the audit log has of it, objects as of audit list
  rules_today   {rule, looked_at, found, verdict} each, or null

Examples:
  kms-gateway queue show 0f3c52a1
  kms-gateway queue show 4Zx7Qh2vRzz1y3")]
pub(in super::super) struct Show {
    /// The request's id, the beginning of one, or Postfix's queue id.
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
    let now = Timestamp::now();
    let port = store.hand_over(config.reply.smtp, now).await?.trouble;
    let told = Told::new(config, store.request_story(id, now).await?, port);
    match arguments.json {
        true => write_json(&told.json()),
        false => write_lines(told.lines(now)),
    }
}

/// A story, read.
struct Told {
    story: RequestStory,
    /// The trouble of Postfix's reply port.
    port: Option<PortTrouble>,
    history: Vec<Placed>,
    rules_today: Option<RulesToday>,
}

impl Told {
    fn new(config: &Config, story: RequestStory, port: Option<PortTrouble>) -> Self {
        let history = story::read(&story.entries);
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
            lines.push("Nothing of it waits.".to_owned());
        }
        for attempted in &self.story.waiting {
            lines.extend(waiting_lines(attempted, self.port.as_ref(), now));
        }
        lines.push(String::new());
        lines.push("What the audit log tells of it:".to_owned());
        let history = story::lines(&self.history, now);
        lines.extend(history.into_iter().map(indented));
        if let Some(rules) = &self.rules_today {
            lines.push(String::new());
            lines.push(
                "What the rules as they are now find (no DNS blocklists, no logins):".to_owned(),
            );
            lines.extend(rules.lines());
        }
        lines
    }

    /// How the message came, and how it was judged.
    fn head(&self, now: Timestamp) -> Vec<String> {
        let entry = self.acceptance();
        let text = |of: fn(&Entry) -> &Option<String>| entry.and_then(|entry| of(entry).clone());
        let client = text(|entry| &entry.client).map(|client| match text(|entry| &entry.helo) {
            Some(helo) => format!("{client}, which called itself {helo}"),
            None => client,
        });
        let recipients = entry.map(|entry| entry.recipients.join(", "));
        let subject = text(|entry| &entry.subject)
            .map(|subject| Header::new(b"Subject", subject.as_bytes()).decoded());
        let accepted_at = self.accepted_at();
        let rows = [
            ("request", Some(self.story.request_id.to_string())),
            ("queue id", self.queue_id().map(str::to_owned)),
            (
                "accepted",
                accepted_at.map(|time| format!("{time}, {}", ago(time, now))),
            ),
            ("client", client),
            ("sender", text(|entry| &entry.reverse_path)),
            ("recipients", recipients),
            ("From", text(|entry| &entry.from)),
            ("Subject", subject),
            ("Message-ID", text(|entry| &entry.message_id)),
            (
                "size",
                entry.and_then(|entry| Some(format!("{} bytes", entry.size?))),
            ),
            ("service", text(|entry| &entry.service)),
        ];
        let known = rows.into_iter().filter_map(|(name, value)| {
            let value = value?;
            Some(format!("{name:<11} {}", Printable(&value)))
        });
        let judged = match entry {
            Some(entry) => story::judgement(entry),
            None => "no longer in the audit log".to_owned(),
        };
        known
            .chain([format!("{:<11} {judged}", "judged")])
            .collect()
    }

    fn json(&self) -> Value {
        let entry = self.acceptance();
        let field = |name: &str| {
            let entry = entry.and_then(|entry| serde_json::to_value(entry).ok());
            entry.and_then(|entry| entry.get(name).cloned())
        };
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("request_id", self.story.request_id.to_string().into());
        put("queue_id", self.queue_id().into());
        put(
            "accepted_at",
            self.accepted_at().map(|time| time.to_string()).into(),
        );
        for name in [
            "client",
            "helo",
            "reverse_path",
            "from",
            "subject",
            "message_id",
            "size",
            "service",
        ] {
            put(name, field(name).unwrap_or_default());
        }
        put("recipients", field("recipients").unwrap_or(json!([])));
        let judged = entry.map(
            |entry| json!({"verdict": entry.verdict, "rule": entry.rule, "reason": entry.reason}),
        );
        put("judged", judged.into());
        put(
            "waiting",
            self.story
                .waiting
                .iter()
                .map(|attempted| waiting_json(attempted, self.port.as_ref()))
                .collect(),
        );
        put("history", self.history.iter().map(placed_json).collect());
        let rules_today = self.rules_today.as_ref().map(RulesToday::json);
        put("rules_today", rules_today.into());
        Value::Object(object)
    }
}

fn indented(line: String) -> String {
    format!("  {line}")
}

/// Where it stands, its attempts, and what a reply would say.
fn waiting_lines(attempted: &Attempted, port: Option<&PortTrouble>, now: Timestamp) -> Vec<String> {
    let item = Item::new(&attempted.queued, port);
    let mut headline = format!("The {}", item.what());
    if item.what() != "request" {
        headline.push_str(&format!(" for {}", item.whom()));
    }
    headline.push_str(&format!(": {}", item.state(now)));
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
    let last_told = attempted.troubles.last().map_or(0, |last| last.attempt);
    if attempted.queued.attempts > last_told {
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

fn placed_json(placed: &Placed) -> Value {
    let mut object = serde_json::to_value(&placed.entry).unwrap_or_default();
    if let Some(fields) = object.as_object_mut() {
        fields.insert("sequence".to_owned(), placed.sequence.into());
    }
    object
}
