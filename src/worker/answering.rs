//! Turns the spooled bytes of a request into its completion: outcome, effects, finished
//! reply and audit entry. Knows no SMTP and no lease.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    audit::{Entry, Event},
    faults::{self, FaultPoint},
    kms::Kms,
    mail::{self, Message, ReplyStamp, Request, reply_message_id},
    services::{self, Answer, Call, Installation, ServiceError},
    store::{Completion, FinishedReply, LeasedRequest, WaitingRequest},
};

/// The settings of replies.
#[derive(Clone, Debug)]
pub(crate) struct ReplySettings {
    /// Most characters after the service code that a reply repeats of the Subject of a
    /// request that may be forged.
    pub(crate) max_stranger_subject: usize,
    /// Reverse path of replies; empty for the null reverse path.
    pub(crate) reverse_path: String,
    /// The facts about this installation that help texts name.
    pub(crate) installation: Installation,
}

/// Answers requests with one key management system.
pub(crate) struct Answering {
    /// The key management system that the services ask.
    pub(crate) kms: Arc<dyn Kms>,
    /// The settings of replies.
    pub(crate) settings: Arc<ReplySettings>,
}

impl Answering {
    /// The completion of a leased request.
    ///
    /// # Errors
    /// [`ServiceError`] when the request must be kept and tried again.
    pub(crate) async fn complete(
        &self,
        leased: &LeasedRequest,
        now: Timestamp,
    ) -> Result<Completion, ServiceError> {
        let request = self.request(leased);
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
    pub(crate) fn give_up(
        &self,
        leased: &LeasedRequest,
        reason: &str,
        now: Timestamp,
    ) -> Completion {
        self.finish(leased, &self.request(leased), services::failed(reason), now)
    }

    /// The notice to the sender of a request that waits for long.
    pub(crate) fn late_notice(&self, waiting: &WaitingRequest, now: Timestamp) -> FinishedReply {
        let WaitingRequest {
            service,
            gateway,
            targets,
            ..
        } = waiting.clone();
        let message = Message::from_bytes(&waiting.message);
        let request = Request::judged(&message, service, gateway, targets);
        let request = self.shortened(request, waiting.requester.may_be_forged());
        FinishedReply {
            message: mail::compose_late_notice(&request, &waiting.id.to_string(), now),
            reverse_path: self.settings.reverse_path.clone(),
            targets: request.targets.iter().map(ToString::to_string).collect(),
        }
    }

    /// The request as the policy judged it when it was accepted.
    fn request(&self, leased: &LeasedRequest) -> Request {
        let request = Request::judged(
            &Message::from_bytes(&leased.message),
            leased.service.clone(),
            leased.gateway.clone(),
            leased.targets.clone(),
        );
        self.shortened(request, leased.requester.may_be_forged())
    }

    fn shortened(&self, request: Request, may_be_forged: bool) -> Request {
        match may_be_forged {
            true => request.shortened(self.settings.max_stranger_subject),
            false => request,
        }
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
