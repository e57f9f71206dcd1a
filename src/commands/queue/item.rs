//! A waiting request or reply, in words and as JSON.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    mail::{Message, REPLY_PREFIX, gateway_result, parse_subject},
    printable::Printable,
    request_id::RequestId,
    store::{PortTrouble, QueueState, Queued, Trouble, Waits},
    time::relative::{ago, until},
};

/// Number of an id's characters that lists show to people.
const SHORT: usize = 8;

/// A waiting request or reply, with facts from its message's header.
pub(super) struct Item<'a> {
    pub(super) queued: &'a Queued,
    /// The trouble of the port that the reply waits for.
    pub(super) port: Option<&'a PortTrouble>,
    /// The code of the requested service.
    pub(super) service: Option<String>,
    /// The elements of a reply's `X-Gateway-Result`; empty for a request.
    pub(super) result: Vec<String>,
    pub(super) message_id: Option<String>,
}

impl<'a> Item<'a> {
    /// `port` is the trouble of Postfix's reply port, if there is any.
    pub(super) fn new(queued: &'a Queued, port: Option<&'a PortTrouble>) -> Self {
        let waits_for_port = matches!(
            (&queued.what, queued.state),
            (Waits::Reply { .. }, QueueState::Due)
        );
        let headers = Message::from_bytes(&queued.header).headers;
        let field = |name| headers.first(name).map(|field| field.unfolded());
        let result = field(gateway_result::NAME);
        let result = result.and_then(|value| gateway_result::read(value.trim_start()).ok());
        Self {
            queued,
            port: port.filter(|_| waits_for_port),
            service: headers.first("Subject").and_then(|subject| {
                let subject = subject.decoded();
                // A reply's Subject begins with a prefix.
                let asked = subject.strip_prefix(REPLY_PREFIX).unwrap_or(&subject);
                Some(parse_subject(asked).ok()?.to_string())
            }),
            result: result.unwrap_or_default(),
            message_id: field("Message-ID").map(|id| id.trim().to_owned()),
        }
    }

    /// The kind: `request`, `reply` or `notice`.
    pub(super) fn what(&self) -> &'static str {
        match &self.queued.what {
            Waits::Request { .. } => "request",
            Waits::Reply { .. } if self.is_notice() => "notice",
            Waits::Reply { .. } => "reply",
        }
    }

    fn is_notice(&self) -> bool {
        self.result.first().is_some_and(|kind| kind == "Notice")
    }

    /// A request's reverse path, or a reply's target.
    pub(super) fn whom(&self) -> &str {
        match &self.queued.what {
            Waits::Request { reverse_path } => reverse_path,
            Waits::Reply { target } => target,
        }
    }

    pub(super) fn state(&self, now: Timestamp) -> String {
        match self.queued.state {
            QueueState::Due if self.port.is_some() => "for the port".to_owned(),
            QueueState::Due => "waiting".to_owned(),
            QueueState::InWork { .. } => "in work".to_owned(),
            QueueState::PutOff { until: time } => format!("again {}", until(time, now)),
            QueueState::Throttled { until: time } => format!("its turn {}", until(time, now)),
            QueueState::Behind { request_id } if request_id == self.queued.request_id => {
                "behind its notice".to_owned()
            }
            QueueState::Behind { request_id } => format!("behind {}", short(request_id)),
        }
    }

    /// When the state changes by itself.
    pub(super) fn until(&self) -> Option<Timestamp> {
        match self.queued.state {
            QueueState::InWork { until }
            | QueueState::PutOff { until }
            | QueueState::Throttled { until } => Some(until),
            QueueState::Due => self.port.map(|trouble| trouble.until),
            QueueState::Behind { .. } => None,
        }
    }

    /// The sender or target, the gateway that has it, the number of attempts and the last trouble,
    /// in words.
    pub(super) fn whom_and_attempts(&self, now: Timestamp) -> String {
        let mut whom = match &self.queued.what {
            Waits::Request { reverse_path } => format!("from {}", Printable(reverse_path)),
            Waits::Reply { target } => format!("for {}", Printable(target)),
        };
        if let Some(node) = &self.queued.node {
            whom = format!("{whom}, at {}", Printable(node));
        }
        let attempts = match self.queued.attempts {
            0 => return whom,
            1 => "1 attempt".to_owned(),
            many => format!("{many} attempts"),
        };
        match &self.queued.last_trouble {
            Some(trouble) => {
                let text = Printable(&trouble.text);
                format!("{whom}, {attempts}, {}: {text}", ago(trouble.at, now))
            }
            None => format!("{whom}, {attempts}"),
        }
    }

    /// The JSON object of `queue list` and `queue show`; **contract**.
    pub(super) fn json(&self) -> Value {
        let queued = self.queued;
        let (state, behind) = match queued.state {
            QueueState::Due if self.port.is_some() => ("for-the-port", None),
            QueueState::Due => ("due", None),
            QueueState::InWork { .. } => ("in-work", None),
            QueueState::PutOff { .. } => ("put-off", None),
            QueueState::Throttled { .. } => ("throttled", None),
            QueueState::Behind { request_id } => ("behind", Some(request_id.to_string())),
        };
        let (sender, target) = match &queued.what {
            Waits::Request { reverse_path } => (Some(reverse_path), None),
            Waits::Reply { target } => (None, Some(target)),
        };
        json!({
            "request_id": queued.request_id.to_string(),
            "queue_id": queued.queue_id,
            "what": self.what(),
            "state": state,
            "until": self.until().map(|time| time.to_string()),
            "behind": behind,
            "accepted_at": queued.accepted_at.to_string(),
            "service": self.service,
            "sender": sender,
            "target": target,
            "client": queued.client.map(|client| client.to_string()),
            "rule": queued.rule,
            "node": queued.node,
            "result": self.result,
            "attempts": queued.attempts,
            "last_trouble": queued.last_trouble.as_ref().map(trouble_json),
            "port_trouble": self.port.map(|trouble| &trouble.trouble),
        })
    }
}

pub(super) fn trouble_json(trouble: &Trouble) -> Value {
    json!({
        "attempt": trouble.attempt,
        "at": trouble.at.to_string(),
        "trouble": trouble.text,
    })
}

/// The beginning of an id, for lists.
pub(super) fn short(id: RequestId) -> String {
    format!("{id:.SHORT$}")
}
