//! One Postfix session: facts come in stage by stage, the policy judges, the store takes
//! the request, and an answer goes out. Never sees the wire, so that it can be tested
//! without one. Does not know what becomes of a request later. It is over 500 lines
//! because a session and its transaction read each other's facts: in two files they
//! would import each other.

use std::{
    ffi::{CStr, CString},
    net::IpAddr,
    sync::Arc,
};

use tokio::sync::watch;

use super::{
    answer::{Answer, SmtpReply},
    connections::Stage,
    content::Content,
    decision::{Decision, count_passed},
    in_flight::{InFlight, InFlightMessage},
    intake::{self, Asking},
    memory::{Memory, NoMemory, Permit},
    recipients::{Recipients, for_audit},
    sender::{Origin, sender_of},
};
use crate::{
    audit::{Entry, Event},
    dnsbl::Blocklists,
    faults::{self, FaultPoint},
    kms::Kms,
    mail::{Address, Client, GatewayAddresses, Request, ReversePath, Trace},
    measures::{NOT_STORED, NotStored},
    policy::{self, Asked, Envelope, Facts, Judgement, Listener, RuleName, Verdict, dnsbl::Score},
    request_id::RequestId,
    secrets::RandomError,
    store::{Accepted, NewRequest, NoticeSettings, Store, StoreError},
    time::{Clock as _, WatchedClock},
};

/// The parts of the gateway that a session uses.
pub struct Gateway {
    /// Keeps requests and audit entries.
    pub store: Arc<Store>,
    /// Verifies which module made a request.
    pub kms: Arc<dyn Kms>,
    /// The clock for all times that the session notes.
    pub clock: Arc<WatchedClock>,
    /// The rules in force. Each message keeps the rules that it began with.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Messages between MAIL and end-of-message.
    pub in_flight: InFlight,
    /// The memory for messages until they are on disk.
    pub memory: Arc<Memory>,
}

/// The part of the configuration by which a message is judged.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The gateway's addresses.
    pub addresses: GatewayAddresses,
    /// The policy's settings.
    pub policy: policy::Settings,
    /// The DNS blocklists to ask, if there are any.
    pub blocklists: Option<Arc<Blocklists>>,
    /// The allowances of senders and targets.
    pub throttle: policy::Allowances,
    /// The settings of the notice that a request is done later.
    pub notice: NoticeSettings,
    /// `{daemon_name}` of the internal listener.
    pub internal_daemon_name: String,
    /// Delete the gateway's recipients instead of discarding the message, so that its
    /// copies stay.
    pub keep_bcc: bool,
}

/// The reason why a message is not on disk.
#[derive(Debug, thiserror::Error)]
enum NotKept {
    #[error(transparent)]
    Memory(#[from] NoMemory),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl NotKept {
    fn kind(&self) -> NotStored {
        match self {
            NotKept::Memory(_) => NotStored::NoMemory,
            NotKept::Store(error) if error.is_lack_of_room() => NotStored::NoRoom,
            NotKept::Store(_) | NotKept::Random(_) => NotStored::Trouble,
        }
    }
}

/// A session: facts about the connection, and the message that is arriving.
pub struct Session {
    gateway: Arc<Gateway>,
    listener: Listener,
    /// The name that the site's own Postfix writes into Received.
    host: String,
    client_address: Option<IpAddr>,
    /// The client's last HELO name; only for the audit log.
    helo: Option<String>,
    message: Option<Transaction>,
}

/// One message from MAIL to end-of-message.
struct Transaction {
    rules: Arc<Rules>,
    client: Client,
    reverse_path: String,
    recipients: Recipients,
    /// The client's score by the blocklists, once they were asked.
    dnsbl: Option<Score>,
    content: Content,
    /// A recipient was refused, and the verdict is logged.
    is_decided: bool,
    _counted: InFlightMessage,
}

impl Session {
    /// A session for a client that Postfix has just announced. `daemon_name` and `host`
    /// are the macros `{daemon_name}` and `j`.
    pub fn new(
        gateway: Arc<Gateway>,
        daemon_name: &str,
        host: String,
        client_address: Option<IpAddr>,
    ) -> Self {
        let internal = gateway.rules.borrow().internal_daemon_name == daemon_name;
        Self {
            gateway,
            listener: if internal {
                Listener::Internal
            } else {
                Listener::Outer
            },
            host,
            client_address,
            helo: None,
            message: None,
        }
    }

    /// HELO or EHLO. A client may repeat it.
    pub fn helo(&mut self, name: &str) {
        self.helo = Some(name.chars().take(Entry::TEXT_LIMIT).collect());
    }

    /// MAIL: begins a message, and forgets an unfinished one. A path longer than the
    /// audit log shows is cut.
    pub fn mail(&mut self, reverse_path: String, authenticated: bool) {
        let memory = &self.gateway.memory;
        self.message = Some(Transaction {
            rules: self.gateway.rules.borrow().clone(),
            client: Client {
                address: self.client_address,
                authenticated,
            },
            reverse_path: reverse_path.chars().take(Entry::TEXT_LIMIT + 1).collect(),
            recipients: Recipients::new(memory.share()),
            dnsbl: None,
            is_decided: false,
            content: Content::new(memory),
            _counted: self.gateway.in_flight.begin(),
        });
    }

    /// RCPT: `argument` as received, `normal_form` as Postfix rewrites it
    /// (`{rcpt_addr}`). A refused recipient does not count. Neither policy nor
    /// blocklists are asked about recipients that are not the gateway's.
    pub async fn recipient(
        &mut self,
        argument: CString,
        normal_form: Option<&str>,
        queue_id: &str,
    ) -> Answer {
        let Some(mut message) = self.message.take() else {
            return Answer::Continue;
        };
        let answer = match message.own_address(&argument, normal_form) {
            Some(address) => message.add_ours(self, queue_id, argument, address).await,
            None => {
                message.recipients.add_other(&argument);
                Answer::Continue
            }
        };
        self.message = Some(message);
        answer
    }

    /// DATA: decides whether Postfix need send the content at all.
    pub fn data(&mut self) -> Answer {
        let Some(message) = self
            .message
            .take_if(|message| !message.recipients.has_ours())
        else {
            return Answer::Continue;
        };
        match self.listener {
            Listener::Outer => {
                if !message.is_decided {
                    count_passed();
                }
                Answer::NotOurs
            }
            // If accepted, the message would come back here until Postfix counts too many
            // hops. If refused for good, the site's own Postfix would bounce it.
            Listener::Internal => {
                tracing::error!(
                    "mail for no configured address came by the internal listener; \
                     gateway.addresses and transport_maps must name the same addresses"
                );
                Answer::Tempfail(SmtpReply {
                    code: "451",
                    enhanced: "4.3.5",
                    text: "not a gateway address; transport_maps and the gateway's configuration differ"
                        .to_owned(),
                })
            }
        }
    }

    /// One header field with its raw value.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        if let Some(Transaction { rules, content, .. }) = self.our_message() {
            content.field(name, value, &rules.policy.limits);
        }
    }

    /// A piece of the body.
    pub fn body(&mut self, piece: &[u8]) {
        if let Some(Transaction { rules, content, .. }) = self.our_message() {
            content.body(piece, &rules.policy.limits);
        }
    }

    /// The message that is arriving, if it is for the gateway.
    fn our_message(&mut self) -> Option<&mut Transaction> {
        let message = self.message.as_mut();
        message.filter(|message| message.recipients.has_ours())
    }

    /// End-of-message: judges and stores the message, and answers. Unless the answer is
    /// a temporary failure, the decision is on disk when this returns.
    pub async fn end_of_message(&mut self, queue_id: &str) -> Answer {
        // A Postfix with an older milter_protocol has not sent DATA.
        match self.data() {
            Answer::Continue => {}
            answer => return answer,
        }
        let Some(message) = self.message.take() else {
            return Answer::Continue;
        };
        let _copies = match message.copies(&self.gateway.memory).await {
            Ok(room) => room,
            Err(error) => return message.waits(queue_id, &error.into()),
        };
        let judgement = message.judge(self.listener);
        let decision = Decision::judged(&judgement, queue_id, &message.reverse_path);
        match message.keep(self, queue_id, &judgement).await {
            Ok(kept) => {
                match kept {
                    Some((id, accepted)) => decision.accepted(id, accepted).report(),
                    None => decision.report(),
                }
                message.taken(self.listener, &judgement)
            }
            Err(NotKept::Store(StoreError::Crowded { reason })) => {
                decision.crowded(reason.clone()).report();
                message
                    .crowded_out(self, queue_id, &judgement, reason)
                    .await
            }
            Err(error) => message.waits(queue_id, &error),
        }
    }

    /// The session's stage. Content that is not for the gateway does not count.
    pub(super) fn stage(&self) -> Stage {
        match &self.message {
            None => Stage::BetweenMessages,
            Some(message) if message.content.size() == 0 => Stage::Envelope,
            Some(_) => Stage::Content,
        }
    }

    /// Bytes of the message held in memory.
    #[cfg(test)]
    pub(super) fn bytes_kept(&self) -> usize {
        self.message.as_ref().map_or(0, |message| {
            let kept = message.content.message();
            kept.headers.size() + kept.body.len()
        })
    }

    /// The client gave the message up.
    pub fn abort(&mut self) {
        self.message = None;
    }
}

impl Transaction {
    /// The recipient's address, if it is the gateway's. `normal_form` counts only if the
    /// argument is no address by itself, for example without a domain: Postfix keeps the
    /// macro until it sends the next, so that it may belong to another recipient.
    fn own_address(&self, argument: &CStr, normal_form: Option<&str>) -> Option<Address> {
        let path = ReversePath::from_smtp(&argument.to_string_lossy());
        let address = match path.address() {
            Some(address) => Some(address.clone()),
            None => normal_form.and_then(|text| Address::parse(text).ok()),
        };
        address.filter(|address| self.rules.addresses.contains(address))
    }

    async fn add_ours(
        &mut self,
        session: &Session,
        queue_id: &str,
        argument: CString,
        address: Address,
    ) -> Answer {
        if let Some(judgement) = self.refusal(session.listener, &address).await {
            let reply = self.refuse(session, queue_id, &argument, &judgement).await;
            return Answer::Reject(reply);
        }
        self.recipients
            .add_ours(argument, address)
            .map_or_else(Answer::Tempfail, |()| Answer::Continue)
    }

    /// The judgement by which a recipient of the gateway's is refused; none if it isn't.
    async fn refusal(&mut self, listener: Listener, recipient: &Address) -> Option<Judgement> {
        if self.dnsbl.is_none() {
            self.dnsbl = self.ask_blocklists(listener).await;
        }
        let reverse_path = ReversePath::from_smtp(&self.reverse_path);
        let envelope = self.envelope(listener, &reverse_path, std::slice::from_ref(recipient));
        policy::judge_recipients(&envelope).filter(|own| own.verdict() == Verdict::Reject)
    }

    /// Asks the blocklists about the client, unless it is one of the site's own: trusted,
    /// or the site's Postfix at the internal listener.
    async fn ask_blocklists(&self, listener: Listener) -> Option<Score> {
        let blocklists = self.rules.blocklists.as_ref()?;
        let client = self.client.address?;
        let is_asked = listener == Listener::Outer && !self.rules.policy.trusts(&self.client);
        match is_asked {
            true => Some(blocklists.ask(client).await),
            false => None,
        }
    }

    /// Logs and audits the refusal of a recipient.
    async fn refuse(
        &mut self,
        session: &Session,
        queue_id: &str,
        argument: &CStr,
        judgement: &Judgement,
    ) -> SmtpReply {
        // Several recipients may be refused, and the message still has one verdict.
        if !std::mem::replace(&mut self.is_decided, true) {
            Decision::judged(judgement, queue_id, &self.reverse_path).report();
        }
        let gateway = &session.gateway;
        let now = gateway.clock.now();
        let entry = Entry {
            recipients: vec![for_audit(argument)],
            ..self.entry(session, queue_id, judgement, now)
        };
        if let Err(error) = gateway.store.note_rejected(entry).await {
            tracing::error!(queue_id, %error, "refusal not written to the audit log");
        }
        SmtpReply::refusal(judgement.reason().unwrap_or("refused by policy"))
    }

    fn envelope<'a>(
        &'a self,
        listener: Listener,
        reverse_path: &'a ReversePath,
        recipients: &'a [Address],
    ) -> Envelope<'a> {
        Envelope {
            listener,
            client: self.client,
            reverse_path,
            recipients,
            gateway: &self.rules.addresses,
            dnsbl: self.dnsbl.as_ref(),
        }
    }

    /// Room for the copies of the content that are made until it is on disk.
    async fn copies(&self, memory: &Memory) -> Result<Permit, NoMemory> {
        memory.copies(self.content.held()?).await
    }

    fn judge(&self, listener: Listener) -> Judgement {
        let reverse_path = ReversePath::from_smtp(&self.reverse_path);
        let recipients = self.recipients.our_addresses();
        policy::judge(&Facts {
            envelope: self.envelope(listener, &reverse_path, &recipients),
            headers: &self.content.message().headers,
            structure: &self.content.message().structure(),
            size: self.content.size(),
            settings: &self.rules.policy,
        })
    }

    /// Writes the request or the decision to disk. Returns how the store took a request,
    /// and none for anything else.
    async fn keep(
        &self,
        session: &Session,
        queue_id: &str,
        judgement: &Judgement,
    ) -> Result<Option<(RequestId, Accepted)>, NotKept> {
        let gateway = &session.gateway;
        let now = gateway.clock.now();
        let entry = self.entry(session, queue_id, judgement, now);
        let asked = match judgement {
            Judgement::Request(asked) => asked,
            Judgement::Ruled(_) if judgement.verdict() == Verdict::Reject => {
                gateway.store.note_rejected(entry).await?;
                return Ok(None);
            }
            Judgement::Ruled(_) => {
                let network = self.brought_by(session).map(Into::into);
                gateway.store.note_ignored(entry, network).await?;
                return Ok(None);
            }
        };
        let id = RequestId::random()?;
        let asking = self.asking(session, queue_id, asked, now).await;
        let request = intake::request(
            id,
            intake::Arrival {
                queue_id,
                accepted_at: now,
                forget_before: gateway.clock.surely_before(NewRequest::IDENTITY_KEPT),
                reverse_path: &self.reverse_path,
                client: self.brought_by(session),
                message: self.content.message(),
                asking,
                notice: self.rules.notice.clone(),
            },
            entry,
        );
        let accepted = gateway.store.accept(request).await?;
        faults::pass(FaultPoint::AfterSpoolCommit);
        faults::expect_answer();
        Ok(Some((id, accepted)))
    }

    /// The client that sent the message to the site's own Postfix. At the internal
    /// listener that Postfix is the client, so that its trace is read instead.
    fn brought_by(&self, session: &Session) -> Option<IpAddr> {
        match session.listener {
            Listener::Outer => self.client.address,
            Listener::Internal => self.trace(session).client,
        }
    }

    /// The Received trace of the site's own Postfix, for a message out of its queue.
    fn trace(&self, session: &Session) -> Trace {
        Trace::of(&self.content.message().headers, &session.host)
    }

    /// The way by which the message came. Anybody's mail comes by the internal listener,
    /// so that a trusted client there says nothing about the sender.
    fn origin<'a>(
        &self,
        session: &Session,
        reverse_path: &'a ReversePath,
        authenticated: Option<Address>,
    ) -> Origin<'a> {
        let policy = &self.rules.policy;
        let brought_by = self.brought_by(session);
        let (client, is_trusted) = match session.listener {
            Listener::Outer => (brought_by, policy.trusts(&self.client)),
            Listener::Internal => (brought_by.filter(|own| !policy.is_trusted(*own)), false),
        };
        Origin {
            client,
            is_logged_in: self.client.authenticated,
            is_trusted,
            authenticated,
            reverse_path,
        }
    }

    /// The facts about a request that the store needs: reply targets, identity of the
    /// message, sender and allowances.
    async fn asking(
        &self,
        session: &Session,
        queue_id: &str,
        asked: &Asked,
        now: jiff::Timestamp,
    ) -> Asking {
        let message = self.content.message();
        let mut request = Request::judged(
            message,
            asked.service.clone(),
            asked.gateway.clone(),
            asked.targets.answered.clone(),
        );
        // The site's own Postfix had a message at the internal listener in its queue.
        let first_queue_id = match session.listener {
            Listener::Outer => None,
            Listener::Internal => self.trace(session).queue_id,
        };
        let identity = intake::identity(queue_id, first_queue_id.as_deref(), message, &request);
        let reverse_path = ReversePath::from_smtp(&self.reverse_path);
        let origin = self.origin(session, &reverse_path, asked.authenticated.clone());
        let kms = session.gateway.kms.as_ref();
        let Some(sender) = sender_of(&request, origin, kms, now).await else {
            return Asking::of_nobody(request);
        };
        request.targets.truncate(sender.most_targets());
        Asking {
            identity,
            trust: sender.trust(),
            network: sender.network(),
            charges: self.rules.throttle.charges(&sender, &request.targets),
            request,
        }
    }

    fn entry(
        &self,
        session: &Session,
        queue_id: &str,
        judgement: &Judgement,
        now: jiff::Timestamp,
    ) -> Entry {
        intake::entry(
            intake::Judged {
                queue_id,
                listener: session.listener,
                client: self.brought_by(session),
                helo: session.helo.as_deref(),
                reverse_path: &self.reverse_path,
                recipients: self.recipients.shown(),
                headers: &self.content.message().headers,
                size: self.content.size(),
                judgement,
            },
            now,
        )
    }

    /// The answer for a message that is on disk, or not the gateway's to keep.
    fn taken(&self, listener: Listener, judgement: &Judgement) -> Answer {
        match judgement.verdict() {
            Verdict::Pass => Answer::Continue,
            // The site's own Postfix would bounce a 5xx on the internal listener. On the
            // outer one a 5xx would refuse other recipients' copies too.
            Verdict::Reject if listener == Listener::Outer && self.recipients.are_only_ours() => {
                Answer::Reject(SmtpReply::refusal(
                    judgement.reason().unwrap_or("refused by policy"),
                ))
            }
            Verdict::Reject | Verdict::Ignore | Verdict::Defer | Verdict::Request => {
                self.remove_ours()
            }
        }
    }

    fn remove_ours(&self) -> Answer {
        if self.recipients.are_only_ours() && !self.rules.keep_bcc {
            return Answer::Discard;
        }
        Answer::DeleteRecipients(self.recipients.our_arguments())
    }

    /// Audits that the spool has no room left for strangers. The message waits at the
    /// sender's server, or in the queue of the site's own Postfix.
    async fn crowded_out(
        &self,
        session: &Session,
        queue_id: &str,
        judgement: &Judgement,
        reason: String,
    ) -> Answer {
        let gateway = &session.gateway;
        let now = gateway.clock.now();
        let entry = Entry {
            event: Event::Judged,
            verdict: Some(Verdict::Defer.to_string()),
            rule: Some(RuleName::CROWDED.to_string()),
            reason: Some(reason),
            ..self.entry(session, queue_id, judgement, now)
        };
        if let Err(error) = gateway.store.note_rejected(entry).await {
            tracing::error!(queue_id, %error, "message not taken, and not written to the audit log");
        }
        self.not_kept(SmtpReply::crowded())
    }

    /// Logs and counts a message that is not on disk, and answers.
    fn waits(&self, queue_id: &str, error: &NotKept) -> Answer {
        let reverse_path = self.reverse_path.as_str();
        tracing::error!(queue_id, reverse_path, %error, "message not stored");
        NOT_STORED.at(error.kind()).increment(1);
        self.not_kept(SmtpReply::trouble(error.kind()))
    }

    /// A message with other recipients goes on whole: Postfix's transport holds the
    /// gateway's copy until the internal listener takes it.
    fn not_kept(&self, reply: SmtpReply) -> Answer {
        if self.recipients.are_only_ours() {
            Answer::Tempfail(reply)
        } else {
            Answer::Continue
        }
    }
}
