//! Turns the spooled bytes of a request into its completion: outcome, effects, finished
//! reply and audit entry. Knows no SMTP and no lease.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    audit::{Entry, Event},
    faults::{self, FaultPoint},
    kms::{Effects, Kms},
    mail::{self, Address, Message, ReplyStamp, Request, RequestError, reply_message_id},
    policy::{Requester, whom_to_answer},
    services::{self, Answer, Call, Installation, ServiceError},
    store::{Completion, FinishedReply, LeasedRequest, WaitingRequest},
};

/// The settings of replies.
#[derive(Clone, Debug)]
pub struct ReplySettings {
    /// The gateway's addresses.
    pub addresses: mail::GatewayAddresses,
    /// The most addresses that get the reply to one request.
    pub max_targets: usize,
    /// Most characters after the service code that a reply repeats of the Subject of a
    /// request that may be forged.
    pub max_stranger_subject: usize,
    /// Reverse path of replies; empty for the null reverse path.
    pub reverse_path: String,
    /// The facts about this installation that help texts name.
    pub installation: Installation,
}

/// Answers requests with one key management system.
pub struct Answering {
    /// The key management system that the services ask.
    pub kms: Arc<dyn Kms>,
    /// The settings of replies.
    pub settings: Arc<ReplySettings>,
}

impl Answering {
    /// The completion of a leased request.
    ///
    /// # Errors
    /// [`ServiceError`] when the request must be kept and tried again.
    pub async fn complete(
        &self,
        leased: &LeasedRequest,
        now: Timestamp,
    ) -> Result<Completion, ServiceError> {
        let request = match self.read(&leased.message, &leased.targets, leased.requester) {
            Ok(request) => request,
            Err(error) => return Ok(unanswerable(leased, &error, now)),
        };
        faults::pass(FaultPoint::BeforeIssue);
        let answer = services::answer(Call {
            kms: self.kms.as_ref(),
            installation: &self.settings.installation,
            id: &leased.id,
            request: &request,
            may_be_forged: leased.requester.may_be_forged(),
            accepted_at: leased.accepted_at,
            now,
        })
        .await?;
        faults::pass(FaultPoint::AfterIssue);
        Ok(self.finish(leased, &request, answer, now))
    }

    /// The completion of a request that is given up after `reason`.
    pub fn give_up(&self, leased: &LeasedRequest, reason: &str, now: Timestamp) -> Completion {
        match self.read(&leased.message, &leased.targets, leased.requester) {
            Ok(request) => self.finish(leased, &request, services::failed(reason), now),
            Err(error) => unanswerable(leased, &error, now),
        }
    }

    /// The notice to the sender of a request that waits for long; none if nobody can be
    /// notified.
    pub fn late_notice(&self, waiting: &WaitingRequest, now: Timestamp) -> Option<FinishedReply> {
        let request = self
            .read(&waiting.message, &waiting.targets, waiting.requester)
            .ok()?;
        Some(FinishedReply {
            message: mail::compose_late_notice(&request, &waiting.id.to_string(), now),
            reverse_path: self.settings.reverse_path.clone(),
            targets: request.targets.iter().map(ToString::to_string).collect(),
            late_notice: None,
        })
    }

    /// Reads the request. Its targets are those that the milter judged.
    fn read(
        &self,
        message: &[u8],
        targets: &[String],
        requester: Requester,
    ) -> Result<Request, RequestError> {
        let message = Message::from_bytes(message);
        let addresses = &self.settings.addresses;
        let mut targets: Vec<Address> = targets
            .iter()
            .filter_map(|target| Address::parse(target).ok())
            .collect();
        // A request that an older version accepted has no targets.
        if targets.is_empty() {
            let limit = self.settings.max_targets;
            targets = whom_to_answer(&message.headers, addresses, limit).answered;
        }
        let request = Request::from_message(&message, addresses, targets)?;
        Ok(match requester.may_be_forged() {
            true => request.shortened(self.settings.max_stranger_subject),
            false => request,
        })
    }

    fn finish(
        &self,
        leased: &LeasedRequest,
        request: &Request,
        answer: Answer,
        now: Timestamp,
    ) -> Completion {
        let stamp = ReplyStamp {
            message_id: reply_message_id(
                &leased.id.to_string(),
                "result",
                request.from_gateway.domain(),
            ),
            date: now,
        };
        let message = mail::compose(request, &answer.outcome, &answer.text, &stamp);
        Completion {
            at: now,
            audit: Entry {
                reply_message_id: Some(stamp.message_id),
                ..entry(leased, request, &answer, now)
            },
            effects: answer.effects,
            reply: Some(FinishedReply {
                message,
                reverse_path: self.settings.reverse_path.clone(),
                targets: request.targets.iter().map(ToString::to_string).collect(),
                late_notice: Some(mail::compose_late_notice(
                    request,
                    &leased.id.to_string(),
                    now,
                )),
            }),
        }
    }
}

fn entry(leased: &LeasedRequest, request: &Request, answer: &Answer, now: Timestamp) -> Entry {
    Entry {
        queue_id: Some(leased.queue_id.clone()),
        request_id: Some(leased.id.to_string()),
        reverse_path: Some(leased.reverse_path.clone()),
        message_id: request.message_id.clone(),
        service: Some(request.code.to_string()),
        result: Some(answer.outcome.kind().to_owned()),
        code: answer.outcome.code().map(str::to_owned),
        detail: answer.detail.clone(),
        smid: answer.smid.as_ref().map(ToString::to_string),
        recipients: request.targets.iter().map(ToString::to_string).collect(),
        ..Entry::new(now, Event::Completed)
    }
}

/// The completion of a message that is no request. The policy accepts none; one can only
/// come of a configuration that changed before the answer. It ends in the audit log.
fn unanswerable(leased: &LeasedRequest, error: &RequestError, now: Timestamp) -> Completion {
    tracing::warn!(queue_id = leased.queue_id, request = %leased.id, %error, "request can't be answered");
    Completion {
        at: now,
        reply: None,
        effects: Effects::None,
        audit: Entry {
            queue_id: Some(leased.queue_id.clone()),
            request_id: Some(leased.id.to_string()),
            detail: Some(error.to_string()),
            ..Entry::new(now, Event::Completed)
        },
    }
}
