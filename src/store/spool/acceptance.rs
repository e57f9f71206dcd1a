//! Takes requests into the spool: within its bounds, and each message once.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::replies::{self, Answered, FinishedReply, NOTICE, ReplyKind};
use super::usage::{self, Spooled};
use crate::audit::{Entry, Event};
use crate::faults::{self, FaultPoint};
use crate::mail::{self, NoticeCode, Request};
use crate::policy::{Charges, ClientNetwork, Requester, RuleName, Trust, Verdict};
use crate::request_id::RequestId;
use crate::store::audit::counts;
use crate::store::database::{
    Changes, Connection, DatabaseError, Failure, Store, StoreError, Text, room,
};
use crate::store::throttle::acquaintance::Acquaintance;
use crate::store::throttle::allowances::{Charged, Later, Turn, charge};
use crate::store::throttle::{buckets, shares};

/// A request for the spool.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// Id from here to the end.
    pub id: RequestId,
    /// When the end of the message arrived, kept to the microsecond. Freshness is judged at this
    /// time.
    pub accepted_at: Timestamp,
    /// Postfix's queue id.
    pub queue_id: String,
    /// Reverse path of the envelope.
    pub reverse_path: String,
    /// The SMTP client that brought the message to our own Postfix.
    pub client: Option<IpAddr>,
    /// Key of the sender. Requests of one sender are answered in order.
    pub sender: String,
    /// How far the sender is known to be the sender.
    pub trust: Trust,
    /// The client's network, if it says something about the sender.
    pub network: Option<ClientNetwork>,
    /// The request as the policy judged it. The store keeps service, gateway address and targets,
    /// so that a configuration that changes meanwhile changes no accepted request.
    pub request: Request,
    /// Identities of messages accepted before then are forgotten: they are surely older than
    /// [`Self::IDENTITY_KEPT`].
    pub forget_before: Timestamp,
    /// Equal for copies of one message. None if that can't be known.
    pub identity: Option<[u8; 32]>,
    /// The message as it came.
    pub message: Vec<u8>,
    /// The allowances that the request is taken out of.
    pub charges: Charges,
    /// Settings of the notice, should one be due.
    pub notice: NoticeSettings,
    /// The audit entry. The store sets its event, and adds the outcome of the allowances.
    pub audit: Entry,
}

impl NewRequest {
    /// Time for which an accepted message is recognised again.
    pub const IDENTITY_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

    pub(crate) fn charged(&self) -> Charged<'_> {
        Charged {
            at: self.accepted_at,
            sender: &self.sender,
            trust: self.trust,
            targets: &self.request.targets,
            charges: &self.charges,
        }
    }
}

/// Settings of the notice that a request is done later.
#[derive(Clone, Debug, Default)]
pub struct NoticeSettings {
    /// Reverse path of the notice, empty for null.
    pub reverse_path: String,
    /// Characters that a notice repeats of the Subject after the service code, if the request may
    /// be forged.
    pub max_stranger_subject: usize,
}

/// Outcome of an acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The request is in the spool and on the disk.
    New,
    /// The same, but the request is done later: its sender is over an allowance.
    Deferred {
        /// When the turn of the request comes.
        until: Timestamp,
        /// The notice that the sender gets.
        notice: Option<NoticeCode>,
    },
    /// The sender is blocked and has a notice of that. The request is in the audit log only.
    Blocked {
        /// When the block ends.
        until: Timestamp,
    },
    /// The same message was accepted before, under this id.
    Duplicate(RequestId),
}

impl Accepted {
    /// The rule that decided, if it was one that only the store looks at, and its verdict.
    pub(crate) fn ruling(self) -> Option<(Verdict, RuleName)> {
        match self {
            Accepted::New | Accepted::Duplicate(_) => None,
            Accepted::Deferred { notice, .. } => Some((Verdict::Defer, rule_of(notice))),
            Accepted::Blocked { .. } => Some((Verdict::Ignore, RuleName::BLOCKED)),
        }
    }
}

/// The rule by which a request with this notice is put off.
fn rule_of(notice: Option<NoticeCode>) -> RuleName {
    match notice {
        Some(NoticeCode::Blocked) => RuleName::BLOCKED,
        Some(NoticeCode::Deferred) | None => RuleName::FLOOD,
    }
}

impl Store {
    /// Puts a request into the spool, or recognises it as one that was accepted within
    /// [`NewRequest::IDENTITY_KEPT`] at least. Takes it out of its allowances in the same
    /// transaction. A duplicate costs nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`] beyond the bounds of the spool. [`StoreError::NoRoom`] where the
    /// reserve of the file system begins. [`StoreError::Crowded`] if a stranger's request has no
    /// room in its share, or the notice that it waits has none.
    pub async fn accept(&self, request: NewRequest) -> Result<Accepted, StoreError> {
        self.change(move |changes| accept(&request, changes)).await
    }
}

/// Refuses before it changes anything, so that in a flood of refusals there is nothing to undo.
fn accept(request: &NewRequest, changes: &mut Changes<'_>) -> Result<Accepted, Failure> {
    let size = request.message.len();
    room::require(size, changes)?;
    if let Some(original) = accepted_before(request, changes.connection)? {
        let entry = Entry {
            request_id: Some(original.to_string()),
            ..request.entry(Event::Duplicate)
        };
        request.note(&entry, changes)?;
        return Ok(Accepted::Duplicate(original));
    }
    let of_first = request.acquaintance(changes.connection)?;
    let requester = of_first.requester(request.trust, request.network);
    shares::require(requester, request.network, size, changes)?;
    let (turn, spent) = charge(request.charged(), &of_first, changes.connection)?;
    let notice = request.notice(&turn, requester);
    if !matches!(turn, Turn::Never { .. }) {
        let of_notice = notice.as_ref().map_or(0, |notice| notice.message.len());
        let messages = 1 + u64::from(notice.is_some());
        usage::require(messages, size + of_notice, changes)?;
    }
    spent.keep(buckets::KEPT, changes.connection)?;
    match turn {
        Turn::Now => {
            let (entry, due) = (request.entry(Event::Accepted), request.accepted_at);
            request.take(entry, due, false, requester, changes)?;
            Ok(Accepted::New)
        }
        Turn::Later(later) => {
            let accepted = Accepted::Deferred {
                until: later.until,
                notice: later.notice,
            };
            request.put_off(later, notice, requester, changes)?;
            Ok(accepted)
        }
        Turn::Never { until, because_of } => {
            let entry = Entry {
                request_id: None,
                verdict: Some(Verdict::Ignore.to_string()),
                rule: Some(RuleName::BLOCKED.to_string()),
                reason: Some(format!("{because_of} is blocked until {until}")),
                ..request.entry(Event::Judged)
            };
            request.note(&entry, changes)?;
            Ok(Accepted::Blocked { until })
        }
    }
}

impl NewRequest {
    /// Notes in the audit log a request that is not taken, or counts it with others there.
    fn note(&self, entry: &Entry, changes: &mut Changes<'_>) -> Result<(), Failure> {
        let network = self.client.map(Into::into);
        counts::note_by_network(entry, network, changes)
    }

    fn entry(&self, event: Event) -> Entry {
        Entry {
            event,
            queue_id: Some(self.queue_id.clone()),
            request_id: Some(self.id.to_string()),
            ..self.audit.clone()
        }
    }

    /// Reads what is known of the address that is answered first.
    fn acquaintance(&self, connection: &mut Connection) -> Result<Acquaintance, DatabaseError> {
        match self.request.targets.first() {
            Some(target) => Acquaintance::with(&target.to_string(), connection),
            None => Ok(Acquaintance::default()),
        }
    }

    /// Puts the request into the spool. `notified` if the sender has a notice that it waits.
    fn take(
        &self,
        entry: Entry,
        due: Timestamp,
        notified: bool,
        requester: Requester,
        changes: &mut Changes<'_>,
    ) -> Result<(), Failure> {
        insert(self, &entry, due, notified, requester, changes.connection)?;
        changes.due.requests += 1;
        changes.audit(entry)?;
        faults::pass(FaultPoint::BeforeSpoolCommit);
        Ok(())
    }

    fn put_off(
        &self,
        later: Later,
        notice: Option<FinishedReply>,
        requester: Requester,
        changes: &mut Changes<'_>,
    ) -> Result<(), Failure> {
        let until = later.until;
        let mut entry = Entry {
            verdict: Some(Verdict::Defer.to_string()),
            rule: Some(rule_of(later.notice).to_string()),
            reason: Some(format!(
                "{} is over its allowance: done at {until}",
                later.because_of
            )),
            ..self.entry(Event::Accepted)
        };
        if let Some(notice) = notice {
            entry.result = Some(NOTICE.to_owned());
            entry.code = later.notice.map(|code| code.to_string());
            let of = Answered {
                request: self.id,
                queue_id: self.queue_id.clone(),
                accepted_at: self.accepted_at,
                requester,
                network: self.network.map(|network| network.to_string()),
            };
            let kind = ReplyKind::Notice;
            replies::insert(&notice, kind, true, &of, self.accepted_at, changes)?;
        }
        self.take(entry, until, true, requester, changes)
    }

    /// Composes the notice, if one is due. It is done here, in the transaction that puts the request
    /// off, so that none is lost and none comes twice.
    fn notice(&self, turn: &Turn, requester: Requester) -> Option<FinishedReply> {
        let Turn::Later(Later {
            until,
            notice: Some(code),
            ..
        }) = *turn
        else {
            return None;
        };
        let mut request = self.request.clone();
        if requester.may_be_forged() {
            request = request.shortened(self.notice.max_stranger_subject);
        }
        let id = self.id.to_string();
        Some(FinishedReply {
            message: mail::compose_notice(&request, &id, code, until, self.accepted_at),
            reverse_path: self.notice.reverse_path.clone(),
            targets: request.targets.iter().map(ToString::to_string).collect(),
        })
    }
}

/// The id under which the same message is known. A copy that nothing vouches for is never taken for
/// one with a verified sender.
fn accepted_before(
    request: &NewRequest,
    connection: &mut Connection,
) -> Result<Option<RequestId>, DatabaseError> {
    let Some(identity) = &request.identity else {
        return Ok(None);
    };
    let known = connection.optional(
        "SELECT request_id FROM identities
         WHERE identity = $1 AND vouched >= $2 AND accepted_at >= $3",
        &[identity, &is_vouched(request), &request.forget_before],
    )?;
    known.map(|row| row.text("request_id")).transpose()
}

/// Whether something vouches for the sender.
fn is_vouched(request: &NewRequest) -> bool {
    request.trust != Trust::Stranger
}

/// Puts a request into the spool. It has the turn if its sender has no other.
fn insert(
    request: &NewRequest,
    entry: &Entry,
    due: Timestamp,
    notified: bool,
    requester: Requester,
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    let targets = request.request.targets.iter();
    let targets: Vec<String> = targets.map(ToString::to_string).collect();
    let network = request.network.map(|network| network.to_string());
    let size = request.message.len() as i64;
    let sequence = connection.insert(
        "INSERT INTO requests (id, accepted_at, queue_id, reverse_path, client, sender, size,
             waits_since, waits_until, notified, rule, service, gateway, targets, target, requester,
             network, turn)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $2, $8, $9, $10, $11, $12, $13, $14, $15, $16,
             CASE WHEN EXISTS (SELECT 1 FROM requests WHERE sender = $6) THEN 0 ELSE 1 END)",
        &[
            &Text(request.id),
            &request.accepted_at,
            &request.queue_id,
            &request.reverse_path,
            &request.client.map(Text),
            &request.sender,
            &size,
            &due,
            &notified,
            &entry.rule,
            &Text(&request.request.code),
            &Text(&request.request.from_gateway),
            &targets.join("\n"),
            &targets.first().map(|first| first.to_lowercase()),
            &requester.as_str(),
            &network,
        ],
    )?;
    connection.execute(
        "INSERT INTO request_messages (request, message) VALUES ($1, $2)",
        &[&sequence, &request.message],
    )?;
    usage::add(
        Spooled::Request,
        size,
        requester,
        network.as_deref(),
        connection,
    )?;
    keep_identity(request, connection)
}

/// Keeps the identity of an accepted message, if it has one. Forgets identities that are surely old.
fn keep_identity(request: &NewRequest, connection: &mut Connection) -> Result<(), DatabaseError> {
    let Some(identity) = &request.identity else {
        return Ok(());
    };
    connection.execute(
        "DELETE FROM identities WHERE accepted_at < $1",
        &[&request.forget_before],
    )?;
    connection.execute(
        "INSERT INTO identities (identity, request_id, accepted_at, vouched)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (identity) DO UPDATE SET request_id = excluded.request_id,
             accepted_at = excluded.accepted_at, vouched = excluded.vouched",
        &[
            identity,
            &Text(request.id),
            &request.accepted_at,
            &is_vouched(request),
        ],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
