//! Hands a reply to Postfix by SMTP on its milter-free port: one transaction
//! an address, strict about what counts as taken, and about what a refusal is
//! about. Knows SMTP, and nothing of requests.

use std::{fmt, net::SocketAddr, time::Duration};

use mail_send::SmtpClient;
use smtp_proto::{EXT_PIPELINING, EXT_SMTP_UTF8, Response};
use tokio::{io::BufWriter, net::TcpStream, time::timeout};

use crate::{
    faults::{self, FaultPoint},
    mail::Address,
};

/// A whole reply, but for the largest key load files.
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
    /// The message, of so many bytes.
    Content(usize),
    FinalDot,
    Quit,
}

impl Stage {
    /// The least that RFC 5321, 4.5.3.2, has a client wait. A signing milter of the
    /// site's may take minutes over the end of a message, and whoever hangs up
    /// meanwhile sends a second copy. EHLO is a command as MAIL is; of a connection
    /// and a good-bye the RFC says nothing.
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
    /// What goes out together is written together: Postfix answers a part of it
    /// by itself, and then the kernel holds back its next answer until the first
    /// is acknowledged, for some 40 ms.
    client: SmtpClient<BufWriter<TcpStream>>,
    pipelining: bool,
    smtputf8: bool,
    /// Whether the server waits for a command.
    is_at_command: bool,
}

/// Why a reply wasn't taken.
#[derive(Debug, thiserror::Error)]
pub enum InjectionError {
    /// The address is what is refused, for good.
    #[error("Postfix refuses the address for good: {0}")]
    NoSuchAddress(String),
    /// The address is what is refused, for now.
    #[error("Postfix refuses the address for now: {0}")]
    AddressNotNow(String),
    /// The address can't be written on this session. That is what the site has
    /// decided for all such mail, and no trouble.
    #[error("{0} needs SMTPUTF8, which Postfix doesn't offer here (smtputf8_enable = yes)")]
    Smtputf8(Address),
    /// The reply is refused, and not for its address: a matter of the site's. It may
    /// be this reply's alone, as with a filter of contents, or any reply's.
    #[error("Postfix refuses the reply, and not for its address: {0}")]
    Refused(String),
    /// Nothing is taken, whatever the reply: a matter of the site's.
    #[error("{0}")]
    Port(String),
    /// A fault of ours.
    #[error("a fault of the gateway: it panicked")]
    Fault,
}

impl Injector {
    /// Connects, takes the greeting and says EHLO with `helo_name`.
    ///
    /// # Errors
    /// [`InjectionError::Port`] whatever goes wrong: before MAIL a refusal
    /// is the operator's matter and says nothing about a reply.
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

    /// Whether addresses outside ASCII can be written on this session.
    #[must_use]
    pub fn offers_smtputf8(&self) -> bool {
        self.smtputf8
    }

    /// One transaction for one address; gives Postfix's answer to the final
    /// dot, which names its queue id.
    ///
    /// `reverse_path` is empty for the null reverse path.
    ///
    /// # Errors
    /// See [`InjectionError`]. After any of them there is nothing left to do with
    /// the session but [`Injector::quit`].
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
        // From here on a session that fails may do so for the content's sake.
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

    /// Says as much of a transaction as shows whether replies would be taken, and
    /// nothing that could be delivered.
    ///
    /// # Errors
    /// As [`Injector::send`].
    pub async fn rehearse(
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

    /// MAIL and RCPT.
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

    /// MAIL, RCPT and DATA, in one go where the server allows it (RFC 2920): then
    /// there are as many answers.
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

    /// Says good-bye, where the server would hear it: one that waits for a message
    /// would take it for one (RFC 2920, 3.1), and one that failed hears nothing.
    pub async fn quit(mut self) {
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

/// The answer to DATA.
const DATA_GRANTED: u16 = 354;

/// The server goes away: "Service not available, closing transmission channel"
/// (RFC 5321, 3.8), whatever was asked.
const GOING_AWAY: u16 = 421;

/// Whether MAIL, RCPT and DATA were granted; if not, the first refusal counts.
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
    /// The address, and time mends nothing.
    AddressForGood,
    /// The address, for the time being.
    AddressForNow,
    /// Anything else: this host, its network, the site's rules, its disks.
    Site,
}

/// By the enhanced status code (RFC 3463; 5.1.10 is RFC 7505's): subject 1 is
/// about addresses and subject 2 about the mailbox. Of subject 1, details 7 and
/// 8 are about the sender's address, and 0 may be: Postfix says that of a sender
/// as well, at RCPT. 5.7.1 is what it says both of relaying, where `mynetworks` is
/// wrong, and of an address that the site refuses by a rule of its own.
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
        // It may go away for the content's sake.
        (Stage::FinalDot, _) => InjectionError::Refused(text),
        _ if answer.code == GOING_AWAY => InjectionError::Port(text),
        // MAIL is about our own reverse path, or about any reply.
        (Stage::Mail, _) => InjectionError::Port(text),
        (Stage::Rcpt, About::AddressForGood) => InjectionError::NoSuchAddress(text),
        (Stage::Rcpt, About::AddressForNow) => InjectionError::AddressNotNow(text),
        _ => InjectionError::Refused(text),
    }
}

fn port_at(stage: Stage) -> impl Fn(mail_send::Error) -> InjectionError {
    move |error| InjectionError::Port(failed(stage, error))
}

/// A step, in its time.
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
        // A session that ended reads like this.
        mail_send::Error::UnparseableReply => {
            format!("{stage}: the session ended without an answer, or the answer is none of SMTP")
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
        // With what Postfix says so of.
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
            ("an unknown sender, told at RCPT", 550, [5, 1, 0], "kept"),
            ("a sender's domain, told at RCPT", 550, [5, 1, 8], "kept"),
            ("server configuration error", 451, [4, 3, 5], "kept"),
            ("no enhanced status", 550, [0, 0, 0], "kept"),
            ("shutting down", 421, [4, 1, 1], "port"),
        ];
        for (what, code, esc, expected) in cases {
            assert_eq!(word(Stage::Rcpt, code, esc), expected, "{what}");
        }
        // Elsewhere nothing is about the target.
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
