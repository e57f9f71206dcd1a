//! Reports the final decision on a message: one log line with Postfix's queue id,
//! and one count. Knows verdicts, and not how they are reached.

use crate::{
    measures::{Decided, MESSAGES, NOTICES, NoticeSent},
    policy::{Judgement, RuleName, Verdict},
    request_id::RequestId,
    store::Accepted,
};

/// A final verdict on one message for the gateway.
pub(super) struct Decision<'a> {
    decided: Decided,
    queue_id: &'a str,
    reverse_path: &'a str,
    reason: Option<String>,
    service: Option<String>,
    request: Option<RequestId>,
}

impl<'a> Decision<'a> {
    /// The policy's judgement. It is final for everything but requests.
    pub(super) fn judged(judgement: &Judgement, queue_id: &'a str, reverse_path: &'a str) -> Self {
        Self {
            decided: Decided {
                verdict: Some(judgement.verdict()),
                rule: judgement.rule(),
            },
            queue_id,
            reverse_path,
            reason: judgement.reason().map(str::to_owned),
            service: judgement.asked().map(|asked| asked.service.to_string()),
            request: None,
        }
    }

    /// The decision after the store has taken the request with this id.
    pub(super) fn accepted(self, id: RequestId, accepted: Accepted) -> Self {
        let (reason, request) = match accepted {
            Accepted::New => (None, Some(id)),
            Accepted::Deferred { until, .. } => {
                let reason = format!("its sender is over an allowance: done at {until}");
                (Some(reason), Some(id))
            }
            Accepted::Blocked { until } => {
                (Some(format!("its sender is blocked until {until}")), None)
            }
            Accepted::Duplicate(original) => {
                let reason = "the same message was accepted before";
                (Some(reason.to_owned()), Some(original))
            }
        };
        if let Accepted::Deferred {
            notice: Some(code), ..
        } = accepted
        {
            NOTICES.at(NoticeSent(code)).increment(1);
        }
        let verdict = match accepted {
            Accepted::Duplicate(_) => None,
            _ => Some(
                accepted
                    .ruling()
                    .map_or(Verdict::Request, |(verdict, _)| verdict),
            ),
        };
        Self {
            decided: Decided {
                verdict,
                rule: accepted.ruling().map(|(_, rule)| rule),
            },
            reason,
            request,
            ..self
        }
    }

    /// The decision where the spool has no room left for strangers.
    pub(super) fn crowded(self, reason: String) -> Self {
        Self {
            decided: Decided {
                verdict: Some(Verdict::Defer),
                rule: Some(RuleName::Crowded),
            },
            reason: Some(reason),
            ..self
        }
    }

    /// Logs and counts the decision.
    pub(super) fn report(self) {
        tracing::info!(
            queue_id = self.queue_id,
            verdict = self.decided.verdict(),
            rule = self.decided.rule.map(RuleName::as_str),
            reason = self.reason,
            service = self.service,
            request = self.request.map(tracing::field::display),
            reverse_path = self.reverse_path,
            "judged"
        );
        MESSAGES.at(self.decided).increment(1);
    }
}

/// Counts a message that is not for the gateway. The log does not mention it.
pub(super) fn count_passed() {
    let rule = Some(RuleName::NotForGateway);
    let verdict = Some(Verdict::Pass);
    MESSAGES.at(Decided { verdict, rule }).increment(1);
}
