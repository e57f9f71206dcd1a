//! One entry of the audit log and its canonical bytes. Knows neither who writes
//! entries nor where they are kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The kind of event that an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// The policy passed, ignored, deferred or rejected a message.
    Judged,
    /// A request is in the spool.
    Accepted,
    /// A message came again. It is answered already, or will be.
    Duplicate,
    /// A request has its final result: effects and reply are committed.
    Completed,
    /// A request or a delivery was put off for the first time.
    Postponed,
    /// Postfix took the reply for one target.
    Delivered,
    /// Postfix refused the reply for one target for good.
    Undeliverable,
    /// The tables of the key management system were changed.
    KmsChanged,
    /// Retention cut the oldest entries of this log.
    Pruned,
    /// An operator ended a sender's block.
    SenderUnblocked,
    /// The master secret was changed: from this entry on the chain is under the
    /// key of the new one.
    MasterSecretChanged,
    /// An operator ended the wait of a request or of replies.
    Retried,
    /// An operator dropped a request, or a reply for one target: its end.
    Dropped,
}

impl Event {
    /// The event's name in the entry.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Completed => "completed",
            Self::Postponed => "postponed",
            Self::Delivered => "delivered",
            Self::Undeliverable => "undeliverable",
            Self::KmsChanged => "kms-changed",
            Self::Pruned => "pruned",
            Self::SenderUnblocked => "sender-unblocked",
            Self::MasterSecretChanged => "master-secret-changed",
            Self::Retried => "retried",
            Self::Dropped => "dropped",
        }
    }
}

/// One entry. The order of the fields is the order of the canonical bytes, so a
/// field may be added but none moved, renamed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Time of the event.
    #[serde(with = "timestamp")]
    pub(crate) time: Timestamp,
    /// Kind of the event.
    pub event: Event,
    /// Postfix's queue id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<String>,
    /// The spool's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The SMTP client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
    /// The client's name for itself in HELO or EHLO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) helo: Option<String>,
    /// The envelope's reverse path, empty for the null one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reverse_path: Option<String>,
    /// The envelope's recipients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) recipients: Vec<String>,
    /// The message's From field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// The message's Subject field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The message's Message-ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<String>,
    /// The message's size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    /// The policy's verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<String>,
    /// The rule that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    /// The reason, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The service code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    /// `Success`, `Error` or `Notice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<String>,
    /// The error or notice code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    /// Details that the code alone doesn't give; never a body or a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// The address that a reply goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// The reply's Message-ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reply_message_id: Option<String>,
    /// Number of identical events that this entry, the last of them, stands for. Or
    /// number of entries that were cut, or of waits that were ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
    /// Number of attempts up to this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<u32>,
    /// The person who gave the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) operator: Option<String>,
    /// Network of the clients whose events the entry counts, or `others` for all
    /// networks that are not counted separately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<String>,
    /// The SMID of the security module that a request names, authentic or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) smid: Option<String>,
    /// Name of the gateway at which it happened. For an order, where it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
}

impl Entry {
    /// Length of the longest text kept of one field, in bytes as stored: JSON writes
    /// a control character in six. Senders choose most texts, and must not be able
    /// to fill the log.
    pub(crate) const TEXT_LIMIT: usize = 1_000;

    /// Number of recipients that are kept.
    pub(crate) const RECIPIENT_LIMIT: usize = 50;

    /// Number of bytes that are kept of all recipients together.
    const RECIPIENTS_LIMIT: usize = 4 * Self::TEXT_LIMIT;

    /// An entry with its time and event only.
    pub fn new(time: Timestamp, event: Event) -> Self {
        Self {
            time,
            event,
            queue_id: None,
            request_id: None,
            client: None,
            helo: None,
            reverse_path: None,
            recipients: Vec::new(),
            from: None,
            subject: None,
            message_id: None,
            size: None,
            verdict: None,
            rule: None,
            reason: None,
            service: None,
            result: None,
            code: None,
            detail: None,
            target: None,
            reply_message_id: None,
            count: None,
            attempts: None,
            operator: None,
            network: None,
            smid: None,
            node: None,
        }
    }

    /// The canonical text; its bytes are stored and chained. It is JSON in the order
    /// of the fields, without absent fields. Each text and the list of recipients
    /// are cut to their limits.
    ///
    /// # Errors
    /// The serialiser's error, which never happens.
    pub(crate) fn canonical_json(mut self) -> Result<String, serde_json::Error> {
        self.bound();
        serde_json::to_string(&self)
    }

    /// Reads a stored text.
    ///
    /// # Errors
    /// The text is not an entry, or an entry of a newer version.
    pub(crate) fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    fn bound(&mut self) {
        let optional = [
            &mut self.queue_id,
            &mut self.request_id,
            &mut self.client,
            &mut self.helo,
            &mut self.reverse_path,
            &mut self.from,
            &mut self.subject,
            &mut self.message_id,
            &mut self.verdict,
            &mut self.rule,
            &mut self.reason,
            &mut self.service,
            &mut self.result,
            &mut self.code,
            &mut self.detail,
            &mut self.target,
            &mut self.reply_message_id,
            &mut self.operator,
            &mut self.network,
            &mut self.smid,
            &mut self.node,
        ];
        let texts = optional.into_iter().flatten();
        texts.chain(&mut self.recipients).for_each(cut);
        self.bound_recipients();
    }

    /// The mark at the end counts as a recipient, so that a list that was bounded
    /// once stays as it is.
    fn bound_recipients(&mut self) {
        let lengths: Vec<usize> = self
            .recipients
            .iter()
            .map(|text| stored_length(text))
            .collect();
        let all: usize = lengths.iter().sum();
        if lengths.len() <= Self::RECIPIENT_LIMIT && all <= Self::RECIPIENTS_LIMIT {
            return;
        }
        let mut room = Self::RECIPIENTS_LIMIT - "… and 18446744073709551615 more".len();
        let fitting = lengths.iter().take_while(|length| {
            let left = room.checked_sub(**length);
            room = left.unwrap_or(0);
            left.is_some()
        });
        let kept = fitting.count().min(Self::RECIPIENT_LIMIT - 1);
        self.recipients.truncate(kept);
        self.recipients
            .push(format!("… and {} more", lengths.len() - kept));
    }
}

/// Cuts a text to the limit at a character's boundary, and marks the cut.
fn cut(text: &mut String) {
    const MARK: char = '…';
    if stored_length(text) <= Entry::TEXT_LIMIT {
        return;
    }
    let mut room = Entry::TEXT_LIMIT - MARK.len_utf8();
    let end = text.char_indices().find_map(|(at, c)| {
        let left = room.checked_sub(stored_length_of(c));
        room = left.unwrap_or(room);
        left.is_none().then_some(at)
    });
    text.truncate(end.unwrap_or(text.len()));
    text.push(MARK);
}

/// Length in bytes of a text between the quotes of JSON.
fn stored_length(text: &str) -> usize {
    text.chars().map(stored_length_of).sum()
}

fn stored_length_of(c: char) -> usize {
    match c {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..='\u{1f}' => 6,
        c => c.len_utf8(),
    }
}

/// RFC 3339 text, as [`Timestamp`] displays itself.
mod timestamp {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use proptest::prelude::*;

    fn noon() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let text = Entry::new(noon(), Event::KmsChanged)
            .canonical_json()
            .unwrap();
        assert_eq!(
            text,
            r#"{"time":"2026-03-01T12:00:00Z","event":"kms-changed"}"#
        );
    }

    #[test]
    fn an_event_is_written_by_its_name() {
        for event in [
            Event::Judged,
            Event::Accepted,
            Event::Duplicate,
            Event::Completed,
            Event::Postponed,
            Event::Delivered,
            Event::Undeliverable,
            Event::KmsChanged,
            Event::Pruned,
            Event::SenderUnblocked,
            Event::MasterSecretChanged,
            Event::Retried,
            Event::Dropped,
        ] {
            let written = serde_json::to_string(&event).unwrap();
            assert_eq!(written, format!("\"{}\"", event.as_str()));
        }
    }

    #[test]
    fn a_control_character_counts_as_long_as_it_is_stored() {
        let hostile: String = "\u{1}\u{1b}\"\\\t".repeat(3_000);
        let mut entry = Entry::new(noon(), Event::Judged);
        for text in [
            &mut entry.from,
            &mut entry.subject,
            &mut entry.message_id,
            &mut entry.reason,
        ] {
            *text = Some(hostile.clone());
        }
        entry.recipients = vec![hostile; Entry::RECIPIENT_LIMIT];
        let text = entry.canonical_json().unwrap();
        assert!(text.len() <= 8 * Entry::TEXT_LIMIT + 300, "{}", text.len());
        let read = Entry::from_json(&text).unwrap();
        assert_eq!(read.recipients.last().unwrap(), "… and 47 more");
        assert_eq!(read.canonical_json().unwrap(), text, "as it was read");
    }

    #[test]
    fn recipients_beyond_the_limit_are_counted() {
        let mut entry = Entry::new(noon(), Event::Judged);
        entry.recipients = vec!["a@b.example".to_owned(); Entry::RECIPIENT_LIMIT + 7];
        let read = Entry::from_json(&entry.canonical_json().unwrap()).unwrap();
        assert_eq!(read.recipients.len(), Entry::RECIPIENT_LIMIT);
        assert_eq!(read.recipients.last().unwrap(), "… and 8 more");
    }

    proptest! {
        #[test]
        fn stored_text_reads_back(subject in ".{0,60}", recipients in prop::collection::vec(".{0,30}", 0..9)) {
            let mut entry = Entry::new(noon(), Event::Accepted);
            entry.subject = Some(subject);
            entry.recipients = recipients;
            let text = entry.clone().canonical_json().unwrap();
            prop_assert_eq!(Entry::from_json(&text).unwrap(), entry);
        }

        #[test]
        fn no_text_passes_the_limit(subject in "(\\PC|[\\x00-\\x7f]){0,1500}") {
            let mut entry = Entry::new(noon(), Event::Judged);
            entry.subject = Some(subject.clone());
            let text = entry.canonical_json().unwrap();
            let kept = Entry::from_json(&text).unwrap().subject.unwrap();
            let stored = |text: &str| serde_json::to_string(text).unwrap().len() - 2;
            prop_assert!(stored(&kept) <= Entry::TEXT_LIMIT);
            prop_assert_eq!(kept == subject, stored(&subject) <= Entry::TEXT_LIMIT);
        }
    }
}
