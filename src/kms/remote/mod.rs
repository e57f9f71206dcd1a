//! The external key management system: a process of its own that is asked over
//! a Unix socket and holds every key. This side has none, and keeps nothing.
//!
//! `docs/kms-protocol.md` is the protocol. That one request has one result
//! rests on the request id: asked again, the other side answers as it did.

mod absence;
mod answers;
mod connection;
#[cfg(test)]
mod tests;
mod trouble;
mod wire;

use std::path::PathBuf;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::absence::Absence;
use self::trouble::Trouble;
use self::wire::Question;
use crate::kms::Kms;
use crate::kms::issue::{Issue, IssueQuestion, KmsError, PublicKeyAnswer, Refusal, sts_time};
use crate::kms::update_answer::{Update, UpdateQuestion, UpdateRefusal};
use crate::period::Period;
use crate::sts::{VkloadReq, file};

/// The most questions at once about requests that are being accepted: they
/// come as mail does, and must not take the other side from the worker.
const ACCEPTANCES_AT_ONCE: usize = 8;

/// `[kms]`: an external key management system instead of the embedded one.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteSettings {
    /// The system's Unix socket. Without one the embedded system answers.
    pub socket: Option<PathBuf>,
    /// The longest time for a connection to be taken.
    pub connect_timeout: Period,
    /// The longest time for a question to be read.
    pub request_timeout: Period,
    /// The longest time from there to the end of the answer.
    pub answer_timeout: Period,
    /// The longest time for a whole question while a message waits to be accepted,
    /// to learn whether a module made the request. After that the sender counts as a
    /// stranger.
    pub acceptance_timeout: Period,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            socket: None,
            connect_timeout: Period::from_secs(2),
            request_timeout: Period::from_secs(5),
            answer_timeout: Period::from_secs(20),
            acceptance_timeout: Period::from_secs(1),
        }
    }
}

/// A key management system in another process.
pub struct RemoteKms {
    socket: PathBuf,
    settings: RemoteSettings,
    acceptances: Semaphore,
    absence: Absence,
}

impl RemoteKms {
    /// The external system, if the settings name a socket. Each question is a
    /// connection of its own, so that a system that is back is found again.
    #[must_use]
    pub fn new(settings: RemoteSettings) -> Option<Self> {
        Some(Self {
            socket: settings.socket.clone()?,
            settings,
            acceptances: Semaphore::new(ACCEPTANCES_AT_ONCE),
            absence: Absence::default(),
        })
    }

    /// Asks, and has `read` make what the trait answers of it.
    async fn ask<T>(
        &self,
        question: Question,
        read: impl FnOnce(wire::Answer) -> Result<T, Trouble>,
    ) -> Result<T, KmsError> {
        self.absence
            .unless_away(connection::ask(&self.socket, &self.settings, &question))
            .await
            .and_then(read)
            .map_err(|trouble| trouble.at(&self.socket))
    }

    /// Asks even a system that seems to be away: these questions have a short limit
    /// and turns of their own, and a module's request that is not known as one
    /// is a stranger's.
    async fn ask_is_from_module(&self, question: Question) -> Result<bool, KmsError> {
        // Never closed.
        let _turn = self.acceptances.acquire().await;
        connection::ask(&self.socket, &self.settings, &question)
            .await
            .and_then(answers::is_from_module)
            .map_err(|trouble| trouble.at(&self.socket))
    }
}

#[async_trait]
impl Kms for RemoteKms {
    async fn public_key(&self, now: Timestamp) -> Result<PublicKeyAnswer, KmsError> {
        let now = sts_time(now)?;
        let question = Question::PublicKey {
            now: now.to_string(),
        };
        self.ask(question, |answer| answers::public_key(answer, now))
            .await
    }

    async fn issue(&self, question: &IssueQuestion) -> Result<Issue, KmsError> {
        let accepted_at = sts_time(question.accepted_at)?;
        let request = &question.request;
        let question = Question::Issue {
            request_id: question.request_id.to_string(),
            record: request.text(),
            accepted_at: accepted_at.to_string(),
            now: sts_time(question.now)?.to_string(),
        };
        self.ask(question, |answer| {
            answers::issue(answer, request, accepted_at)
        })
        .await
    }

    async fn foretell(&self, question: &IssueQuestion) -> Result<Option<Refusal>, KmsError> {
        let accepted_at = sts_time(question.accepted_at)?;
        let request = &question.request;
        let question = Question::Foretell {
            record: request.text(),
            accepted_at: accepted_at.to_string(),
            now: sts_time(question.now)?.to_string(),
        };
        self.ask(question, |answer| {
            answers::foretold(answer, request, accepted_at)
        })
        .await
    }

    /// A client waits for its answer to the end of the message: all of it, a
    /// turn included, has one short limit.
    async fn is_from_module(&self, request: &VkloadReq, now: Timestamp) -> Result<bool, KmsError> {
        let question = Question::IsFromModule {
            record: request.text(),
            now: sts_time(now)?.to_string(),
        };
        let limit = self.settings.acceptance_timeout.as_std();
        match timeout(limit, self.ask_is_from_module(question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Slow {
                what: "its word whether a module made a request",
                limit,
                setting: "acceptance_timeout",
            }
            .at(&self.socket)),
        }
    }

    async fn update(&self, question: &UpdateQuestion) -> Result<Update, KmsError> {
        // What is no file of records has no form in which it could be asked
        // about, and would be refused for that first.
        let records = match file::parse(&question.file) {
            Ok(records) => records,
            Err(error) => return Ok(Update::Refused(UpdateRefusal::Format(error.to_string()))),
        };
        let texts = records.iter().map(|record| record.text().to_owned());
        let question = Question::Update {
            request_id: question.request_id.to_string(),
            file: texts.collect(),
            accepted_at: sts_time(question.accepted_at)?.to_string(),
            now: sts_time(question.now)?.to_string(),
        };
        self.ask(question, |answer| answers::update(answer, &records))
            .await
    }
}
