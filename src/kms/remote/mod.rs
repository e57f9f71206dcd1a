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

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::absence::Absence;
use self::trouble::Trouble;
use self::wire::Question;
use crate::kms::Kms;
use crate::kms::issue::{Issue, IssueQuestion, KmsError, PublicKeyAnswer, Refusal, sts_time};
use crate::kms::update_answer::{Update, UpdateQuestion, UpdateRefusal};
use crate::sts::{VkloadReq, file};

/// The most questions at once about requests that are being accepted: they
/// come as mail does, and must not take the other side from the worker.
const ACCEPTANCES_AT_ONCE: usize = 8;

/// Where the external system is, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Its socket.
    pub socket: PathBuf,
    /// For a connection to be taken.
    pub connect_timeout: Duration,
    /// For a question to be read.
    pub request_timeout: Duration,
    /// From there to the end of the answer.
    pub answer_timeout: Duration,
    /// For all of it, where a message waits to be accepted.
    pub acceptance_timeout: Duration,
}

/// A key management system in another process.
pub struct RemoteKms {
    settings: RemoteSettings,
    acceptances: Semaphore,
    absence: Absence,
}

impl RemoteKms {
    /// Connects when it is asked, each time anew: who was away and is back is
    /// found again.
    #[must_use]
    pub fn new(settings: RemoteSettings) -> Self {
        Self {
            settings,
            acceptances: Semaphore::new(ACCEPTANCES_AT_ONCE),
            absence: Absence::default(),
        }
    }

    fn socket(&self) -> &Path {
        &self.settings.socket
    }

    /// Asks, and has `read` make what the trait answers of it.
    async fn ask<T>(
        &self,
        question: Question,
        read: impl FnOnce(wire::Answer) -> Result<T, Trouble>,
    ) -> Result<T, KmsError> {
        self.absence
            .unless_away(connection::ask(&self.settings, &question))
            .await
            .and_then(read)
            .map_err(|trouble| trouble.at(self.socket()))
    }

    /// Asks even a system that seems to be away: these questions have a short limit
    /// and turns of their own, and a module's request that is not known as one
    /// is a stranger's.
    async fn ask_is_from_module(&self, question: Question) -> Result<bool, KmsError> {
        // Never closed.
        let _turn = self.acceptances.acquire().await;
        connection::ask(&self.settings, &question)
            .await
            .and_then(answers::is_from_module)
            .map_err(|trouble| trouble.at(self.socket()))
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
        let limit = self.settings.acceptance_timeout;
        match timeout(limit, self.ask_is_from_module(question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Slow {
                what: "its word whether a module made a request",
                limit,
                setting: "acceptance_timeout",
            }
            .at(self.socket())),
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
