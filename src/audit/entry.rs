//! One entry of the audit log and its canonical bytes. It may not know who
//! writes entries or where they are kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// The policy passed, ignored, deferred or rejected a message.
    Judged,
    /// A request is in the spool.
    Accepted,
    /// The same message came again and is answered already, or will be.
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
    /// The name that stands in the entry.
    pub fn as_str(self) -> &'static str {
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
    /// When it happened.
    #[serde(with = "timestamp")]
    pub time: Timestamp,
    /// What happened.
    pub event: Event,
    /// Postfix's queue id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<String>,
    /// The spool's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The SMTP client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What the client said in HELO or EHLO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    /// The envelope's reverse path, empty for the null one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_path: Option<String>,
    /// The envelope's recipients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// The message's From field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The message's Subject field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The message's Message-ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The message's size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The policy's verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The rule that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The service code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `Success`, `Error` or `Notice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The error or notice code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What the code alone doesn't say; never a body or a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The address that a reply goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The reply's Message-ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_message_id: Option<String>,
    /// Of how many alike, this one the last, the entry tells; or how many
    /// entries were cut, or waits ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How many attempts led here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The person whose hand it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

impl Entry {
    /// The longest text kept of one field, in bytes. A sender chooses most of
    /// them, and the log must not grow by his wish.
    pub const TEXT_LIMIT: usize = 1_000;

    /// How many recipients are kept.
    pub const RECIPIENT_LIMIT: usize = 50;

    /// An entry that says no more than when and what.
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
        }
    }

    /// The canonical text, whose bytes are stored and chained: JSON in the order
    /// of the fields, what is absent left out, each text and the list of
    /// recipients cut to their limits.
    ///
    /// # Errors
    /// None that can happen; the type is the serialiser's.
    pub fn canonical_json(mut self) -> Result<String, serde_json::Error> {
        self.bound();
        serde_json::to_string(&self)
    }

    /// Reads a stored text again.
    ///
    /// # Errors
    /// If it is no entry, or one of a newer version.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    fn bound(&mut self) {
        let beyond = self.recipients.len().saturating_sub(Self::RECIPIENT_LIMIT);
        self.recipients.truncate(Self::RECIPIENT_LIMIT);
        if beyond > 0 {
            self.recipients.push(format!("… and {beyond} more"));
        }
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
        ];
        let texts = optional.into_iter().flatten();
        texts.chain(&mut self.recipients).for_each(cut);
    }
}

/// Cuts a text to the limit at a character's boundary, and marks the cut.
fn cut(text: &mut String) {
    const MARK: char = '…';
    if text.len() > Entry::TEXT_LIMIT {
        text.truncate(text.floor_char_boundary(Entry::TEXT_LIMIT - MARK.len_utf8()));
        text.push(MARK);
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
    fn recipients_beyond_the_limit_are_counted() {
        let mut entry = Entry::new(noon(), Event::Judged);
        entry.recipients = vec!["a@b.example".to_owned(); Entry::RECIPIENT_LIMIT + 7];
        let read = Entry::from_json(&entry.canonical_json().unwrap()).unwrap();
        assert_eq!(read.recipients.len(), Entry::RECIPIENT_LIMIT + 1);
        assert_eq!(read.recipients[Entry::RECIPIENT_LIMIT], "… and 7 more");
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
        fn no_text_passes_the_limit(subject in "\\PC{0,3000}") {
            let mut entry = Entry::new(noon(), Event::Judged);
            entry.subject = Some(subject.clone());
            let text = entry.canonical_json().unwrap();
            let kept = Entry::from_json(&text).unwrap().subject.unwrap();
            prop_assert!(kept.len() <= Entry::TEXT_LIMIT);
            prop_assert_eq!(kept == subject, subject.len() <= Entry::TEXT_LIMIT);
        }
    }
}
