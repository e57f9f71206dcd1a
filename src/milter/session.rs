//! One Postfix session as the gateway sees it: facts come in stage by stage,
//! the policy judges, the store takes the request, and an answer goes out.
//! Never sees the wire, so that it can be tested without one; knows nothing
//! of what becomes of a request later.

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
    clock::{Clock as _, WatchedClock},
    dnsbl::Blocklists,
    faults::{self, FaultPoint},
    kms::{Kms, RandomError, RequestId},
    mail::{Address, Client, GatewayAddresses, Request, ReversePath, Trace},
    measures::{NOT_STORED, NotStored},
    policy::{self, Asked, Envelope, Facts, Judgement, Listener, RuleName, Verdict, dnsbl::Score},
    store::{Accepted, NewRequest, NoticeSettings, Store, StoreError},
};

/// What a session needs of the gateway around it.
pub struct Gateway {
    /// Where requests and audit entries go.
    pub store: Arc<Store>,
    /// Who tells a module's own requests from others.
    pub kms: Arc<dyn Kms>,
    /// The time.
    pub clock: Arc<WatchedClock>,
    /// The rules in force; each message keeps those it began with.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Messages between MAIL and end-of-message.
    pub in_flight: InFlight,
    /// What messages may hold until they are on disk.
    pub memory: Arc<Memory>,
}

/// The part of the configuration that a message is judged by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whose mail is the gateway's.
    pub addresses: GatewayAddresses,
    /// Limits of the policy.
    pub policy: policy::Settings,
    /// The DNS blocklists to ask, if there are any.
    pub blocklists: Option<Arc<Blocklists>>,
    /// How much a sender may ask.
    pub throttle: policy::Throttle,
    /// Reverse path of notices; empty for null.
    pub reply_reverse_path: String,
    /// Characters that a notice repeats of what follows the service code in the
    /// Subject of a request that may be forged.
    pub max_stranger_subject: usize,
    /// `{daemon_name}` of the internal listener.
    pub internal_daemon_name: String,
    /// Delete gateway recipients rather than discard the message.
    pub keep_bcc: bool,
}

/// Why a message is not on disk.
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

/// A session: what is known of the connection, and the message on its way.
pub struct Session {
    gateway: Arc<Gateway>,
    listener: Listener,
    /// The name that our own Postfix writes into Received.
    host: String,
    client_address: Option<IpAddr>,
    /// What the client called itself last; for the audit only.
    helo: Option<String>,
    message: Option<Transaction>,
}

/// One message from MAIL to end-of-message.
struct Transaction {
    rules: Arc<Rules>,
    client: Client,
    reverse_path: String,
    recipients: Recipients,
    /// What blocklists say of the client, once they were asked.
    dnsbl: Option<Score>,
    content: Content,
    /// A verdict was told before: a recipient was refused.
    is_decided: bool,
    _counted: InFlightMessage,
}

impl Session {
    /// A session on a connection that Postfix has just announced.
    /// `daemon_name` and `host` are the macros `{daemon_name}` and `j`.
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

    /// HELO or EHLO, which a client may say again.
    pub fn helo(&mut self, name: &str) {
        self.helo = Some(name.chars().take(Entry::TEXT_LIMIT).collect());
    }

    /// MAIL: begins a message and forgets whatever was left of another. Of a path
    /// that is no address no more is kept than is shown.
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

    /// RCPT: `argument` as received, `normal_form` what Postfix makes of it
    /// (`{rcpt_addr}`). A recipient that is refused is as if it had not been
    /// given; for others' recipients nobody is asked anything.
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

    /// DATA: says whether Postfix need send the content at all.
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
            // Accepted, it would come back here until Postfix counts too many
            // hops; refused, our own Postfix would bounce it.
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

    /// One header field, its value raw.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        if let Some(Transaction { rules, content, .. }) = self.our_message() {
            content.field(name, value, &rules.policy);
        }
    }

    /// A piece of the body.
    pub fn body(&mut self, piece: &[u8]) {
        if let Some(Transaction { rules, content, .. }) = self.our_message() {
            content.body(piece, &rules.policy);
        }
    }

    /// The message on its way, if its content matters.
    fn our_message(&mut self) -> Option<&mut Transaction> {
        let message = self.message.as_mut();
        message.filter(|message| message.recipients.has_ours())
    }

    /// End-of-message: judges, stores, and says what becomes of the message.
    /// Anything but a temporary failure is on disk when this returns.
    pub async fn end_of_message(&mut self, queue_id: &str) -> Answer {
        // A Postfix with an older milter_protocol has not asked at DATA.
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
                    Some((id, accepted)) => decision.accepted(id, accepted).tell(),
                    None => decision.tell(),
                }
                message.taken(self.listener, &judgement)
            }
            Err(NotKept::Store(StoreError::Crowded { reason })) => {
                decision.crowded(reason.clone()).tell();
                message
                    .crowded_out(self, queue_id, &judgement, reason)
                    .await
            }
            Err(error) => message.waits(queue_id, &error),
        }
    }

    /// How far it has come. Content that nobody needs is none.
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

    /// The message was given up by the client.
    pub fn abort(&mut self) {
        self.message = None;
    }
}

impl Transaction {
    /// The recipient's address, if it is the gateway's. Postfix's normal form is
    /// for what is no address by itself, such as one without a domain: the macro
    /// stays until the next is sent, and must not be taken for another recipient's.
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

    /// Why a recipient that is the gateway's is refused, if it is.
    async fn refusal(&mut self, listener: Listener, recipient: &Address) -> Option<Judgement> {
        if self.dnsbl.is_none() {
            self.dnsbl = self.ask_blocklists(listener).await;
        }
        let reverse_path = ReversePath::from_smtp(&self.reverse_path);
        let envelope = self.envelope(listener, &reverse_path, std::slice::from_ref(recipient));
        policy::judge_recipients(&envelope).filter(|own| own.verdict() == Verdict::Reject)
    }

    /// Clients of the site's own are not looked up, and by the internal
    /// listener the client is our own Postfix.
    async fn ask_blocklists(&self, listener: Listener) -> Option<Score> {
        let blocklists = self.rules.blocklists.as_ref()?;
        let client = self.client.address?;
        let is_asked = listener == Listener::Outer && !self.rules.policy.trusts(&self.client);
        match is_asked {
            true => Some(blocklists.ask(client).await),
            false => None,
        }
    }

    /// Notes that a recipient is refused.
    async fn refuse(
        &mut self,
        session: &Session,
        queue_id: &str,
        argument: &CStr,
        judgement: &Judgement,
    ) -> SmtpReply {
        // Others of its recipients may be refused as well: the verdict is one.
        if !std::mem::replace(&mut self.is_decided, true) {
            Decision::judged(judgement, queue_id, &self.reverse_path).tell();
        }
        let gateway = &session.gateway;
        let now = gateway.clock.now();
        let entry = Entry {
            recipients: vec![for_audit(argument)],
            ..self.entry(session, queue_id, judgement, now)
        };
        if let Err(error) = gateway.store.note_rejected(entry).await {
            tracing::error!(queue_id, %error, "refusal not noted in the audit log");
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

    /// Room for what is made of the content until it is on disk.
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

    /// Puts the message, or what was decided of it, on disk. Of a request it says
    /// how the store took it.
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
                notice: NoticeSettings {
                    reverse_path: self.rules.reply_reverse_path.clone(),
                    max_stranger_subject: self.rules.max_stranger_subject,
                },
            },
            entry,
        );
        let accepted = gateway.store.accept(request).await?;
        faults::pass(FaultPoint::AfterSpoolCommit);
        faults::expect_answer();
        Ok(Some((id, accepted)))
    }

    /// The client that brought the message to our own Postfix, which is itself
    /// the client of the internal listener.
    fn brought_by(&self, session: &Session) -> Option<IpAddr> {
        match session.listener {
            Listener::Outer => self.client.address,
            Listener::Internal => self.trace(session).client,
        }
    }

    /// What our own Postfix noted of a message that comes out of its queue.
    fn trace(&self, session: &Session) -> Trace {
        Trace::of(&self.content.message().headers, &session.host)
    }

    /// How the message came. By the internal listener anybody's mail comes, so that
    /// a client of the site's own says nothing of who sent it.
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

    /// Who asks, who is answered, and what makes the message another: the
    /// allowances that the request is taken out of.
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
        // What comes by the internal listener, our own Postfix had in its queue.
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

    /// The message is ours and on disk, or not ours to keep.
    fn taken(&self, listener: Listener, judgement: &Judgement) -> Answer {
        match judgement.verdict() {
            Verdict::Pass => Answer::Continue,
            // Our own Postfix would bounce a 5xx on the internal listener, and
            // on the outer one it would take others' copies along.
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

    /// Notes that strangers have no room left, and has the message wait where it
    /// is: at the sender's server, or in our own Postfix's queue.
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
            rule: Some(RuleName::Crowded.to_string()),
            reason: Some(reason),
            ..self.entry(session, queue_id, judgement, now)
        };
        if let Err(error) = gateway.store.note_rejected(entry).await {
            tracing::error!(queue_id, %error, "message not taken, and not noted in the audit log");
        }
        self.not_kept(SmtpReply::crowded())
    }

    /// Says that the message is not on disk, and why.
    fn waits(&self, queue_id: &str, error: &NotKept) -> Answer {
        let reverse_path = self.reverse_path.as_str();
        tracing::error!(queue_id, reverse_path, %error, "message not stored");
        NOT_STORED.at(error.kind()).increment(1);
        self.not_kept(SmtpReply::trouble(error.kind()))
    }

    /// With others among the recipients the message goes on whole: Postfix's
    /// transport holds the gateway's copy until the internal listener takes it.
    fn not_kept(&self, reply: SmtpReply) -> Answer {
        if self.recipients.are_only_ours() {
            Answer::Tempfail(reply)
        } else {
            Answer::Continue
        }
    }
}
