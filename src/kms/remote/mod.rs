//! The external key management system: another process holds every key, and the
//! gateway asks it over a Unix socket. This side has no key and keeps nothing.
//!
//! `docs/kms-protocol.md` is the protocol. The request id makes sure that a request
//! has one result: asked again, the other side gives the same answer.

mod absence;
mod answers;
mod connection;
mod settings;
#[cfg(test)]
mod tests;
mod trouble;
mod wire;

use std::path::PathBuf;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::absence::Absence;
pub(crate) use self::settings::RemoteSettings;
use self::trouble::Trouble;
use self::wire::Question;
use crate::kms::interface::Kms;
use crate::kms::issue::{Issue, IssueQuestion, KmsError, PublicKeyAnswer, Refusal, sts_time};
use crate::kms::update_answer::{Update, UpdateQuestion, UpdateRefusal};
use crate::sts::{VkloadReq, file};

/// Number of questions at once about requests that are being accepted. Strangers
/// cause these questions, which must not keep the other side from the worker's.
const ACCEPTANCES_AT_ONCE: usize = 8;

/// A key management system in another process.
pub(crate) struct RemoteKms {
    socket: PathBuf,
    settings: RemoteSettings,
    acceptances: Semaphore,
    absence: Absence,
}

impl RemoteKms {
    /// The external system, if the settings name a socket. Each question is a
    /// connection of its own, so that a system that is back is found again.
    pub(crate) fn new(settings: RemoteSettings) -> Option<Self> {
        Some(Self {
            socket: settings.socket.clone()?,
            settings,
            acceptances: Semaphore::new(ACCEPTANCES_AT_ONCE),
            absence: Absence::default(),
        })
    }

    /// Asks `question` and turns the answer by `read` into the caller's.
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

    /// Asks even a system that seems to be away, because without an answer a
    /// module's request counts as a stranger's. These questions have a short limit
    /// and turns of their own.
    async fn ask_is_from_module(&self, question: Question) -> Result<bool, KmsError> {
        // The semaphore is never closed.
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

    /// An SMTP client waits for this answer, so one short limit covers all of it,
    /// the wait for a turn included.
    async fn is_from_module(&self, request: &VkloadReq, now: Timestamp) -> Result<bool, KmsError> {
        let question = Question::IsFromModule {
            record: request.text(),
            now: sts_time(now)?.to_string(),
        };
        let limit = self.settings.acceptance_timeout.as_std();
        match timeout(limit, self.ask_is_from_module(question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Slow {
                what: "the answer whether a module made a request",
                limit,
                setting: "acceptance_timeout",
            }
            .at(&self.socket)),
        }
    }

    async fn update(&self, question: &UpdateQuestion) -> Result<Update, KmsError> {
        // The protocol carries records only, and the other side would refuse
        // anything else for its format first.
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
