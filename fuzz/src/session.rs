//! A milter session with any sequence of commands, compared with a model of the
//! answers to Postfix. A message is accepted exactly if it is on disk. Copies
//! for other recipients stay as they are. The internal listener neither refuses
//! a message permanently nor passes one on.

use std::ffi::CString;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use kms_gateway::audit::Event;
use kms_gateway::mail::{Address, ReversePath};
use kms_gateway::milter::{Answer, Session, SmtpReply};
use tokio::runtime::{Builder, Runtime};

use super::gateway;
use super::house::{House, INTERNAL, rules};

/// The host name of our own Postfix, the macro `j`.
const HOST: &str = "mail.kms.example.org";

/// Commands of one input that are carried out at most.
const COMMANDS: usize = 200;

/// One gateway for many inputs, as making one takes most of the time.
static HOUSE: Mutex<Option<(Runtime, House)>> = Mutex::new(None);

/// Takes the octets as commands, one a line: `CONNECT name`, `HELO name`, `MAIL
/// path`, `LOGIN path` (MAIL after a login), `RCPT argument[HTAB normal form]`,
/// `DATA`, `HEADER name:value`, `BODY text`, `EOM`, `ABORT`, and `KEEP` or
/// `DROP` for `milter.keep_bcc`. Any other line is a piece of the body.
pub fn check(data: &[u8]) {
    // A poisoned mutex is empty, because the input that panicked had taken the
    // gateway out.
    let mut place = HOUSE.lock().unwrap_or_else(PoisonError::into_inner);
    let (runtime, house) = place.take().unwrap_or_else(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let house = runtime.block_on(House::new());
        (runtime, house)
    });
    let is_crowded = runtime.block_on(async {
        let is_crowded = house.is_crowded().await;
        run(&house, data).await;
        is_crowded
    });
    match is_crowded {
        true => runtime.block_on(house.close()),
        false => *place = Some((runtime, house)),
    }
}

async fn run(house: &House, data: &[u8]) {
    let mut model = Model::connected(house, "smtpd");
    for (number, line) in data
        .split(|&octet| octet == b'\n')
        .take(COMMANDS)
        .enumerate()
    {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let blank = line.iter().position(|&octet| octet == b' ');
        let (command, argument) = line.split_at(blank.unwrap_or(line.len()));
        let argument = argument.get(1..).unwrap_or_default();
        model.hear(command, argument, number).await;
        assert_eq!(
            house.gateway.in_flight.count(),
            usize::from(model.transaction.is_some())
        );
    }
    drop(model);
    assert_eq!(house.gateway.in_flight.count(), 0);
}

/// The session, and the state that predicts its answers.
struct Model<'a> {
    house: &'a House,
    session: Session,
    is_internal: bool,
    transaction: Option<Transaction>,
}

/// A message in transit, as the model knows it.
struct Transaction {
    is_strangers: bool,
    keep_bcc: bool,
    ours: Vec<CString>,
    has_others: bool,
}

impl<'a> Model<'a> {
    fn connected(house: &'a House, daemon_name: &str) -> Self {
        let client = Some(IpAddr::from([192, 0, 2, 1]));
        Model {
            house,
            session: Session::new(house.gateway.clone(), daemon_name, HOST.to_owned(), client),
            is_internal: daemon_name == INTERNAL,
            transaction: None,
        }
    }

    async fn hear(&mut self, command: &[u8], argument: &[u8], number: usize) {
        let text = String::from_utf8_lossy(argument);
        match command {
            b"CONNECT" => *self = Self::connected(self.house, &text),
            b"HELO" => self.session.helo(&text),
            b"MAIL" => self.mail(&text, false),
            b"LOGIN" => self.mail(&text, true),
            b"RCPT" => self.recipient(&text).await,
            b"DATA" => {
                let answer = self.session.data();
                self.check_data(answer);
            }
            b"HEADER" => {
                let colon = argument.iter().position(|&octet| octet == b':');
                let (name, value) = argument.split_at(colon.unwrap_or(argument.len()));
                self.session
                    .header(name, value.get(1..).unwrap_or_default());
            }
            b"EOM" => self.end_of_message(&format!("4{number}")).await,
            b"ABORT" => {
                self.session.abort();
                self.transaction = None;
            }
            b"KEEP" => drop(self.house.rules.send_replace(rules(true))),
            b"DROP" => drop(self.house.rules.send_replace(rules(false))),
            _ => self
                .session
                .body(&[command, b" ", argument, b"\r\n"].concat()),
        }
    }

    fn mail(&mut self, reverse_path: &str, authenticated: bool) {
        self.session.mail(reverse_path.to_owned(), authenticated);
        self.transaction = Some(Transaction {
            is_strangers: !authenticated,
            keep_bcc: self.house.rules.borrow().keep_bcc,
            ours: Vec::new(),
            has_others: false,
        });
    }

    async fn recipient(&mut self, text: &str) {
        let (argument, normal_form) = match text.split_once('\t') {
            Some((argument, normal_form)) => (argument, Some(normal_form)),
            None => (text, None),
        };
        let Ok(argument) = CString::new(argument) else {
            return;
        };
        let answer = self
            .session
            .recipient(argument.clone(), normal_form, "NOQUEUE")
            .await;
        assert_eq!(answer, Answer::Continue);
        match &mut self.transaction {
            Some(message) if is_ours(&argument, normal_form) => message.ours.push(argument),
            Some(message) => message.has_others = true,
            None => (),
        }
    }

    /// Checks the answer to DATA. Without a DATA the end of the message gets
    /// the same answer.
    fn check_data(&mut self, answer: Answer) {
        let without_ours = |message: &mut Transaction| message.ours.is_empty();
        match self.transaction.take_if(without_ours) {
            None => assert_eq!(answer, Answer::Continue),
            Some(_) if self.is_internal => assert_tempfail(&answer, "451", "4.3.5"),
            Some(_) => assert_eq!(answer, Answer::NotOurs),
        }
    }

    async fn end_of_message(&mut self, queue_id: &str) {
        let before = self.house.on_disk().await;
        let answer = self.session.end_of_message(queue_id).await;
        let after = self.house.on_disk().await;
        let has_ours = |message: &mut Transaction| !message.ours.is_empty();
        let Some(message) = self.transaction.take_if(has_ours) else {
            assert_eq!(after, before);
            return self.check_data(answer);
        };
        match answer {
            Answer::Discard => assert!(!message.has_others && !message.keep_bcc),
            Answer::DeleteRecipients(deleted) => {
                assert!(message.has_others || message.keep_bcc);
                assert_eq!(deleted, message.ours);
            }
            answer => return message.check_not_taken(&answer, before, after),
        }
        self.check_taken(queue_id, before, after).await;
    }

    /// An accepted message is on disk: an audit entry, and a request if the
    /// entry says so.
    async fn check_taken(&self, queue_id: &str, before: (u64, i64), after: (u64, i64)) {
        let entries = self.house.entries_after(before.1).await;
        let [entry, ..] = &entries[..] else {
            panic!("taken, and nothing on disk");
        };
        assert_eq!(entry.queue_id.as_deref(), Some(queue_id));
        let requests = entries
            .iter()
            .filter(|entry| entry.event == Event::Accepted)
            .count();
        assert_eq!(after.0, before.0 + u64::try_from(requests).unwrap());
        if requests == 0 {
            assert!(matches!(entry.event, Event::Judged | Event::Duplicate));
        }
    }
}

impl Transaction {
    /// The spool is full, or strangers have used their share of it, which the
    /// audit log records. Other recipients still get their mail.
    fn check_not_taken(&self, answer: &Answer, before: (u64, i64), after: (u64, i64)) {
        assert_eq!(after.0, before.0);
        let is_noted = after.1 != before.1;
        match answer {
            Answer::Continue => assert!(self.has_others),
            Answer::Tempfail(SmtpReply { code: "450", .. }) => {
                assert!(self.is_strangers && !self.has_others);
                return assert_tempfail(answer, "450", "4.3.2");
            }
            answer => {
                assert!(!self.has_others && !is_noted);
                assert_tempfail(answer, "452", "4.3.1");
            }
        }
        assert!(self.is_strangers || !is_noted);
    }
}

/// Decides as Postfix's own lookup: by the argument, or by its normal form if
/// the argument is no address.
fn is_ours(argument: &CString, normal_form: Option<&str>) -> bool {
    let address = match ReversePath::from_smtp(&argument.to_string_lossy()) {
        ReversePath::Address(address) => Some(address),
        _ => normal_form.and_then(|text| Address::parse(text).ok()),
    };
    address.is_some_and(|address| gateway::addresses().contains(&address))
}

#[track_caller]
fn assert_tempfail(answer: &Answer, code: &str, enhanced: &str) {
    let Answer::Tempfail(SmtpReply {
        code: own,
        enhanced: own_enhanced,
        text,
    }) = answer
    else {
        panic!("{answer:?}");
    };
    assert_eq!((*own, *own_enhanced), (code, enhanced));
    assert!(text.is_ascii() && !text.contains(['\r', '\n']), "{text}");
}
