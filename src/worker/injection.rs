//! Hands a reply to Postfix by SMTP, at its port for replies: one transaction for each
//! address. Strict about which answers count as taken, and about the subject of a refusal.
//! Knows SMTP, and nothing about requests.

use std::{fmt, net::SocketAddr, time::Duration};

use mail_send::SmtpClient;
use smtp_proto::{EXT_PIPELINING, EXT_SMTP_UTF8, Response};
use tokio::{io::BufWriter, net::TcpStream, time::timeout};

use crate::{
    faults::{self, FaultPoint},
    mail::Address,
};

/// The port for replies, and the gateway's name there.
#[derive(Clone, Debug)]
pub(crate) struct InjectionSettings {
    /// Postfix's port for replies, which has no gateway milter.
    pub(crate) server: SocketAddr,
    /// The gateway's name in EHLO.
    pub(crate) helo_name: String,
}

/// Bytes written at once: a whole reply, except with the largest key load files.
const WRITTEN_AT_ONCE: usize = 64 * 1024;

/// A step of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connection,
    Greeting,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    /// MAIL, RCPT and DATA in one go.
    Begin,
    /// The message, with this many bytes.
    Content(usize),
    FinalDot,
    Quit,
}

impl Stage {
    /// The shortest time limit that RFC 5321, 4.5.3.2, allows a client. A signing milter may
    /// need minutes at the end of a message, and a client that hangs up meanwhile sends a
    /// second copy. EHLO has the limit of MAIL. The RFC sets none for the connection and
    /// for QUIT.
    fn limit(self) -> Duration {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        match self {
            Self::Greeting | Self::Ehlo | Self::Mail | Self::Rcpt => minutes(5),
            Self::Data => minutes(2),
            Self::Begin => STAGES.into_iter().map(Self::limit).sum(),
            Self::Content(length) => {
                let blocks = length / WRITTEN_AT_ONCE + 1;
                minutes(3).saturating_mul(u32::try_from(blocks).unwrap_or(u32::MAX))
            }
            Self::FinalDot => minutes(10),
            Self::Connection | Self::Quit => Duration::from_secs(30),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Greeting => "greeting",
            Self::Ehlo => "EHLO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Begin => "MAIL, RCPT and DATA",
            Self::Content(_) => "content",
            Self::FinalDot => "end of message",
            Self::Quit => "QUIT",
        })
    }
}

/// An open SMTP session with Postfix.
pub struct Injector {
    /// Pipelined commands are written at once. Otherwise Postfix answers a part of them,
    /// and the kernel holds its next answer back for some 40 ms, until the first is
    /// acknowledged.
    client: SmtpClient<BufWriter<TcpStream>>,
    pipelining: bool,
    smtputf8: bool,
    /// Whether the server waits for a command.
    is_at_command: bool,
}

/// The reason why Postfix did not take a reply.
#[derive(Debug, thiserror::Error)]
pub enum InjectionError {
    /// Postfix refuses the address permanently.
    #[error("Postfix refuses the address for good: {0}")]
    NoSuchAddress(String),
    /// Postfix refuses the address temporarily.
    #[error("Postfix refuses the address for now: {0}")]
    AddressNotNow(String),
    /// The address can't be written in this session. The site has decided that for all
    /// such mail.
    #[error("{0} needs SMTPUTF8, which Postfix doesn't offer here (smtputf8_enable = yes)")]
    Smtputf8(Address),
    /// Postfix refuses the reply for a reason of the site's, and not for its address. The
    /// reason may concern this reply alone (a content filter) or every reply.
    #[error("Postfix refuses the reply, and not for its address: {0}")]
    Refused(String),
    /// The port takes no reply at all, for a reason of the site's.
    #[error("{0}")]
    Port(String),
    /// A fault of the gateway.
    #[error("a fault of the gateway: it panicked")]
    Fault,
}

impl Injector {
    /// Connects, reads the greeting and sends EHLO with `helo_name`.
    ///
    /// # Errors
    /// Always [`InjectionError::Port`]: a refusal before MAIL does not depend on the reply,
    /// and only the operator can mend it.
    pub async fn connect(server: SocketAddr, helo_name: &str) -> Result<Self, InjectionError> {
        let connecting = SmtpClient::connect(server, Stage::Connection.limit()).await;
        let SmtpClient { stream, .. } = connecting.map_err(port_at(Stage::Connection))?;
        stream
            .set_nodelay(true)
            .map_err(|error| InjectionError::Port(format!("{}: {error}", Stage::Connection)))?;
        let mut client = SmtpClient {
            stream: BufWriter::with_capacity(WRITTEN_AT_ONCE, stream),
            timeout: Stage::Ehlo.limit(),
        };
        let greeting = within(Stage::Greeting, client.read()).await;
        let greeting = greeting.map_err(InjectionError::Port)?;
        if !is_positive(&greeting) {
            return Err(InjectionError::Port(described(Stage::Greeting, &greeting)));
        }
        let offered = client.capabilities(helo_name, false).await;
        let offered = offered.map_err(port_at(Stage::Ehlo))?;
        Ok(Self {
            client,
            pipelining: offered.has_capability(EXT_PIPELINING),
            smtputf8: offered.has_capability(EXT_SMTP_UTF8),
            is_at_command: true,
        })
    }

    /// Whether addresses outside ASCII can be written in this session.
    #[must_use]
    pub(crate) fn offers_smtputf8(&self) -> bool {
        self.smtputf8
    }

    /// Sends the message to one address, in one transaction. Returns Postfix's answer to
    /// the final dot, which names its queue id.
    ///
    /// `reverse_path` is empty for the null reverse path.
    ///
    /// # Errors
    /// See [`InjectionError`]. After an error the session is of no use but for
    /// [`Injector::quit`].
    pub async fn send(
        &mut self,
        reverse_path: &str,
        target: &Address,
        message: &[u8],
    ) -> Result<String, InjectionError> {
        let [mail, rcpt] = self.envelope(reverse_path, target)?;
        faults::pass(FaultPoint::BeforeRecipient);
        self.is_at_command = false;
        let commands = [mail, rcpt, "DATA\r\n".to_owned()];
        let answers = self.ask(&commands).await?;
        self.is_at_command = !answers.iter().any(|answer| answer.code == DATA_GRANTED);
        granted(&answers)?;
        faults::pass(FaultPoint::AfterRecipient);
        // The library ends the message with CRLF "." CRLF of its own.
        let content = message.strip_suffix(b"\r\n").unwrap_or(message);
        faults::pass(FaultPoint::BeforeFinalDot);
        // From here on a session may fail because of the content.
        let written = self.client.write_message(content);
        within(Stage::Content(content.len()), written)
            .await
            .map_err(InjectionError::Refused)?;
        faults::pass(FaultPoint::AfterFinalDot);
        let readable = self.client.stream.get_ref().readable();
        within(Stage::FinalDot, readable)
            .await
            .map_err(InjectionError::Refused)?;
        faults::pass(FaultPoint::BeforeTaken);
        let answer = within(Stage::FinalDot, self.client.read()).await;
        let answer = answer.map_err(InjectionError::Refused)?;
        faults::pass(FaultPoint::AfterTaken);
        self.is_at_command = true;
        match is_positive(&answer) {
            true => Ok(describe(&answer)),
            false => Err(refusal(Stage::FinalDot, &answer)),
        }
    }

    /// Sends MAIL and RCPT, and then RSET: this shows whether replies would be taken, and
    /// delivers nothing.
    ///
    /// # Errors
    /// As [`Injector::send`].
    pub(crate) async fn rehearse(
        &mut self,
        reverse_path: &str,
        target: &Address,
    ) -> Result<(), InjectionError> {
        for (stage, command) in [Stage::Mail, Stage::Rcpt]
            .into_iter()
            .zip(self.envelope(reverse_path, target)?)
        {
            self.client.timeout = stage.limit();
            let answer = self.client.cmd(command).await.map_err(port_at(stage))?;
            if !is_positive(&answer) {
                return Err(refusal(stage, &answer));
            }
        }
        self.client.rset().await.map_err(port_at(Stage::Mail))
    }

    /// The commands MAIL and RCPT.
    fn envelope(
        &self,
        reverse_path: &str,
        target: &Address,
    ) -> Result<[String; 2], InjectionError> {
        let parameter = match (target.needs_smtputf8(), self.smtputf8) {
            (true, false) => return Err(InjectionError::Smtputf8(target.clone())),
            (true, true) => " SMTPUTF8",
            (false, _) => "",
        };
        Ok([
            format!("MAIL FROM:<{reverse_path}>{parameter}\r\n"),
            format!("RCPT TO:<{}>\r\n", target.to_wire()),
        ])
    }

    /// Sends MAIL, RCPT and DATA, and returns the answers. A server with PIPELINING
    /// (RFC 2920) gets all three at once, and answers each. Otherwise the first refusal
    /// ends it.
    async fn ask(
        &mut self,
        commands: &[String; 3],
    ) -> Result<Vec<Response<String>>, InjectionError> {
        if self.pipelining {
            self.client.timeout = Stage::Begin.limit();
            let answers = self.client.cmds(commands).await;
            return answers.map_err(port_at(Stage::Begin));
        }
        let mut answers = Vec::with_capacity(commands.len());
        for (command, stage) in commands.iter().zip(STAGES) {
            self.client.timeout = stage.limit();
            let answer = self.client.cmd(command).await.map_err(port_at(stage))?;
            let goes_on = answer.code < 400;
            answers.push(answer);
            if !goes_on {
                break;
            }
        }
        Ok(answers)
    }

    /// Sends QUIT if the server waits for a command. A server that waits for a message would
    /// read QUIT as a part of it (RFC 2920, 3.1).
    pub(crate) async fn quit(mut self) {
        if !self.is_at_command {
            return;
        }
        self.client.timeout = Stage::Quit.limit();
        if let Err(error) = self.client.quit().await {
            tracing::debug!(%error, "QUIT not answered");
        }
    }
}

/// The commands that begin a transaction.
const STAGES: [Stage; 3] = [Stage::Mail, Stage::Rcpt, Stage::Data];

/// The positive answer to DATA.
const DATA_GRANTED: u16 = 354;

/// "Service not available, closing transmission channel" (RFC 5321, 3.8): the server may
/// answer this to any command.
const GOING_AWAY: u16 = 421;

/// Verifies that MAIL, RCPT and DATA were granted. The first refusal counts.
fn granted(answers: &[Response<String>]) -> Result<(), InjectionError> {
    for (stage, answer) in STAGES.into_iter().zip(answers) {
        let is_granted = match stage {
            Stage::Data => answer.code == DATA_GRANTED,
            _ => is_positive(answer),
        };
        if !is_granted {
            return Err(refusal(stage, answer));
        }
    }
    match answers.len() == STAGES.len() {
        true => Ok(()),
        false => Err(InjectionError::Port("DATA: no answer".to_owned())),
    }
}

/// The subject of an answer to RCPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// The address, permanently.
    AddressForGood,
    /// The address, temporarily.
    AddressForNow,
    /// Anything else: this host, its network, the site's rules, its disks.
    Site,
}

/// Finds the subject of an answer by its enhanced status code (RFC 3463; RFC 7505 for
/// 5.1.10).
///
/// Subject 1 is about addresses, and subject 2 about the mailbox. Two kinds of codes count
/// as the site's. 5.1.7 and 5.1.8 are about the sender's address, and 5.1.0 may be: Postfix
/// answers it at RCPT for a sender as well. 5.7.1 may mean that relaying is denied because
/// `mynetworks` is wrong, or that a rule of the site's refuses the address.
fn about(answer: &Response<String>) -> About {
    let is_permanent = answer.code >= 500;
    match answer.esc {
        [_, 1, 1 | 2 | 3 | 4 | 6 | 10] | [_, 2, 1] if is_permanent => About::AddressForGood,
        [_, 1, 1 | 2 | 3 | 4 | 6 | 10] | [_, 2, _] => About::AddressForNow,
        _ => About::Site,
    }
}

fn refusal(stage: Stage, answer: &Response<String>) -> InjectionError {
    let text = described(stage, answer);
    match (stage, about(answer)) {
        // Even 421 may be due to the content here.
        (Stage::FinalDot, _) => InjectionError::Refused(text),
        _ if answer.code == GOING_AWAY => InjectionError::Port(text),
        // A refusal of MAIL concerns the gateway's reverse path, or every reply.
        (Stage::Mail, _) => InjectionError::Port(text),
        (Stage::Rcpt, About::AddressForGood) => InjectionError::NoSuchAddress(text),
        (Stage::Rcpt, About::AddressForNow) => InjectionError::AddressNotNow(text),
        _ => InjectionError::Refused(text),
    }
}

fn port_at(stage: Stage) -> impl Fn(mail_send::Error) -> InjectionError {
    move |error| InjectionError::Port(failed(stage, error))
}

/// Does a step within its time limit.
async fn within<T, E: Into<mail_send::Error>>(
    stage: Stage,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(stage.limit(), step).await {
        Ok(done) => done.map_err(|error| failed(stage, error.into())),
        Err(_) => Err(failed(stage, mail_send::Error::Timeout)),
    }
}

fn failed(stage: Stage, error: mail_send::Error) -> String {
    match error {
        mail_send::Error::Io(error) => format!("{stage}: {error}"),
        mail_send::Error::UnexpectedReply(answer) => described(stage, &answer),
        mail_send::Error::Timeout => {
            format!("{stage}: no answer within {} s", stage.limit().as_secs())
        }
        // A session that ended yields this error too.
        mail_send::Error::UnparseableReply => {
            format!("{stage}: the session ended without an answer, or the answer is not SMTP")
        }
        error => format!("{stage}: {error}"),
    }
}

fn is_positive(answer: &Response<String>) -> bool {
    (200..300).contains(&answer.code)
}

fn described(stage: Stage, answer: &Response<String>) -> String {
    format!("{stage}: {}", describe(answer))
}

fn describe(answer: &Response<String>) -> String {
    let [class, subject, detail] = answer.esc;
    format!(
        "{} {class}.{subject}.{detail} {}",
        answer.code,
        answer.message.trim()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::*;

    #[test]
    fn time_limits_are_those_of_rfc_5321() {
        let limits = [
            (Stage::Greeting, 5),
            (Stage::Mail, 5),
            (Stage::Rcpt, 5),
            (Stage::Data, 2),
            (Stage::Content(0), 3),
            (Stage::Content(2 * WRITTEN_AT_ONCE), 9),
            (Stage::FinalDot, 10),
            (Stage::Begin, 12),
        ];
        for (stage, minutes) in limits {
            assert_eq!(stage.limit().as_secs(), 60 * minutes, "{stage}");
        }
    }

    fn answer(code: u16, esc: [u8; 3]) -> Response<String> {
        Response {
            code,
            esc,
            message: "no".to_owned(),
        }
    }

    #[test]
    fn only_the_address_itself_is_refused_for_good() {
        let word = |stage, code, esc| match refusal(stage, &answer(code, esc)) {
            InjectionError::NoSuchAddress(_) => "for good",
            InjectionError::AddressNotNow(_) => "for now",
            InjectionError::Refused(_) => "kept",
            InjectionError::Port(_) => "port",
            other => panic!("{other}"),
        };
        // The cases in which Postfix answers so.
        let cases = [
            ("reject_unlisted_recipient", 550, [5, 1, 1], "for good"),
            (
                "reject_unknown_recipient_domain",
                550,
                [5, 1, 2],
                "for good",
            ),
            ("a bad address", 501, [5, 1, 3], "for good"),
            ("the mailbox has moved", 551, [5, 1, 6], "for good"),
            ("null MX", 556, [5, 1, 10], "for good"),
            ("a disabled mailbox", 550, [5, 2, 1], "for good"),
            ("a full mailbox", 552, [5, 2, 2], "for now"),
            ("a domain that is not found now", 450, [4, 1, 2], "for now"),
            ("greylisting", 450, [4, 2, 0], "for now"),
            ("relay access denied", 554, [5, 7, 1], "kept"),
            ("relay access denied for now", 454, [4, 7, 1], "kept"),
            ("an unknown sender, at RCPT", 550, [5, 1, 0], "kept"),
            ("a sender's domain, at RCPT", 550, [5, 1, 8], "kept"),
            ("server configuration error", 451, [4, 3, 5], "kept"),
            ("no enhanced status", 550, [0, 0, 0], "kept"),
            ("shutting down", 421, [4, 1, 1], "port"),
        ];
        for (what, code, esc, expected) in cases {
            assert_eq!(word(Stage::Rcpt, code, esc), expected, "{what}");
        }
        // At other stages no answer is about the target.
        assert_eq!(word(Stage::Mail, 550, [5, 1, 1]), "port");
        assert_eq!(word(Stage::Mail, 452, [4, 3, 1]), "port");
        assert_eq!(word(Stage::Data, 554, [5, 5, 1]), "kept");
        assert_eq!(word(Stage::FinalDot, 550, [5, 7, 1]), "kept");
        assert_eq!(word(Stage::FinalDot, 552, [5, 3, 4]), "kept");
        assert_eq!(word(Stage::FinalDot, 550, [5, 1, 1]), "kept");
        assert_eq!(word(Stage::FinalDot, 421, [4, 3, 2]), "kept");
    }

    #[test]
    fn the_first_refusal_counts_and_data_without_a_recipient_is_none() {
        let ok = || answer(250, [2, 1, 0]);
        let data = || answer(DATA_GRANTED, [0, 0, 0]);
        assert!(granted(&[ok(), ok(), data()]).is_ok());
        let no_such = || answer(550, [5, 1, 1]);
        let after_it = [answer(554, [5, 5, 1]), data()];
        for data in after_it {
            let refused = granted(&[ok(), no_such(), data]);
            assert!(matches!(refused, Err(InjectionError::NoSuchAddress(_))));
        }
        let unpipelined = granted(&[ok(), no_such()]);
        assert!(matches!(unpipelined, Err(InjectionError::NoSuchAddress(_))));
        for short in [&[ok(), ok()][..], &[]] {
            assert!(matches!(granted(short), Err(InjectionError::Port(_))));
        }
    }
}
