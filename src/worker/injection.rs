//! Hands a reply to Postfix by SMTP on its milter-free port: one transaction
//! an address, strict about what counts as taken. Knows SMTP, and nothing of
//! requests.

use std::{net::SocketAddr, time::Duration};

use mail_send::SmtpClient;
use smtp_proto::{EXT_PIPELINING, EXT_SMTP_UTF8, Response};
use tokio::{
    io::BufWriter,
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use crate::{
    faults::{self, FaultPoint},
    mail::Address,
};

/// For a connection to be taken, and for a good-bye: of both RFC 5321 says nothing.
const COURTESY_TIME: Duration = Duration::from_secs(30);

/// The least that RFC 5321, 4.5.3.2, has a client wait, for each of its steps. A
/// signing milter of the site's may take minutes over the end of a message, and
/// whoever hangs up meanwhile sends a second copy.
mod limits {
    use std::time::Duration;

    pub(super) const GREETING: Duration = Duration::from_secs(5 * 60);
    /// Of EHLO and RSET it says nothing; they are commands as MAIL is.
    pub(super) const COMMAND: Duration = Duration::from_secs(5 * 60);
    pub(super) const MAIL: Duration = COMMAND;
    pub(super) const RCPT: Duration = Duration::from_secs(5 * 60);
    pub(super) const DATA: Duration = Duration::from_secs(2 * 60);
    pub(super) const DATA_BLOCK: Duration = Duration::from_secs(3 * 60);
    pub(super) const FINAL_DOT: Duration = Duration::from_secs(10 * 60);
}

/// A whole reply, but for the largest key load files.
const WRITTEN_AT_ONCE: usize = 64 * 1024;

/// How long the content may take to be written.
fn content_time(length: usize) -> Duration {
    let blocks = length / WRITTEN_AT_ONCE + 1;
    limits::DATA_BLOCK.saturating_mul(u32::try_from(blocks).unwrap_or(u32::MAX))
}

/// An open SMTP session with Postfix.
pub struct Injector {
    /// What goes out together is written together: Postfix answers a part of it
    /// by itself, and then the kernel holds back its next answer until the first
    /// is acknowledged, for some 40 ms.
    client: SmtpClient<BufWriter<TcpStream>>,
    pipelining: bool,
    smtputf8: bool,
}

/// Why a reply wasn't taken.
#[derive(Debug, thiserror::Error)]
pub enum InjectionError {
    /// Postfix refused this address or message for good.
    #[error("Postfix refused it for good: {0}")]
    Refused(String),
    /// Postfix refused it for now; the session can go on.
    #[error("Postfix refused it for now: {0}")]
    Deferred(String),
    /// The address can't be written on this session.
    #[error("{0} needs SMTPUTF8, which Postfix doesn't offer here (smtputf8_enable = yes)")]
    Smtputf8(Address),
    /// The session is of no more use.
    #[error("the SMTP session failed: {0}")]
    Session(String),
}

impl From<mail_send::Error> for InjectionError {
    fn from(error: mail_send::Error) -> Self {
        Self::Session(error.to_string())
    }
}

impl From<std::io::Error> for InjectionError {
    fn from(error: std::io::Error) -> Self {
        Self::Session(error.to_string())
    }
}

impl From<Elapsed> for InjectionError {
    fn from(_: Elapsed) -> Self {
        Self::Session("no answer in time".to_owned())
    }
}

impl Injector {
    /// Connects, takes the greeting and says EHLO with `helo_name`.
    ///
    /// # Errors
    /// [`InjectionError::Session`] whatever goes wrong: before MAIL a refusal
    /// is the operator's matter and says nothing about a reply.
    pub async fn connect(server: SocketAddr, helo_name: &str) -> Result<Self, InjectionError> {
        let SmtpClient { stream, .. } = SmtpClient::connect(server, COURTESY_TIME).await?;
        stream.set_nodelay(true)?;
        let mut client = SmtpClient {
            stream: BufWriter::with_capacity(WRITTEN_AT_ONCE, stream),
            timeout: limits::COMMAND,
        };
        let greeting = timeout(limits::GREETING, client.read()).await??;
        if !is_positive(&greeting) {
            return Err(InjectionError::Session(describe(&greeting)));
        }
        let offered = client.capabilities(helo_name, false).await?;
        Ok(Self {
            client,
            pipelining: offered.has_capability(EXT_PIPELINING),
            smtputf8: offered.has_capability(EXT_SMTP_UTF8),
        })
    }

    /// One transaction for one address; gives Postfix's answer to the final
    /// dot, which names its queue id.
    ///
    /// `reverse_path` is empty for the null reverse path.
    ///
    /// # Errors
    /// See [`InjectionError`]. After [`InjectionError::Session`] this session
    /// must be dropped.
    pub async fn send(
        &mut self,
        reverse_path: &str,
        target: &Address,
        message: &[u8],
    ) -> Result<String, InjectionError> {
        let parameter = match (target.needs_smtputf8(), self.smtputf8) {
            (true, false) => return Err(InjectionError::Smtputf8(target.clone())),
            (true, true) => " SMTPUTF8",
            (false, _) => "",
        };
        let commands = [
            format!("MAIL FROM:<{reverse_path}>{parameter}\r\n"),
            format!("RCPT TO:<{}>\r\n", target.to_wire()),
            "DATA\r\n".to_owned(),
        ];
        faults::pass(FaultPoint::BeforeRecipient);
        self.begin(commands).await?;
        faults::pass(FaultPoint::AfterRecipient);
        // The library ends the message with CRLF "." CRLF of its own.
        let content = message.strip_suffix(b"\r\n").unwrap_or(message);
        faults::pass(FaultPoint::BeforeFinalDot);
        let limit = content_time(content.len());
        timeout(limit, self.client.write_message(content)).await??;
        faults::pass(FaultPoint::AfterFinalDot);
        let answered = self.client.stream.get_ref().readable();
        timeout(limits::FINAL_DOT, answered).await??;
        faults::pass(FaultPoint::BeforeTaken);
        let answer = timeout(limits::FINAL_DOT, self.client.read()).await??;
        faults::pass(FaultPoint::AfterTaken);
        if is_positive(&answer) {
            Ok(describe(&answer))
        } else {
            Err(refusal(&answer))
        }
    }

    /// MAIL, RCPT and DATA, in one go where the server allows it (RFC 2920).
    async fn begin(&mut self, commands: [String; 3]) -> Result<(), InjectionError> {
        let answers = if self.pipelining {
            // One limit for three answers.
            self.client.timeout = limits::MAIL + limits::RCPT + limits::DATA;
            self.client.cmds(&commands).await?
        } else {
            self.one_by_one(&commands).await?
        };
        self.client.timeout = limits::COMMAND;
        match answers.as_slice() {
            [mail, rcpt, data] if is_positive(mail) && is_positive(rcpt) && data.code == 354 => {
                Ok(())
            }
            // RFC 2920, 3.1: only closing the session takes a DATA back.
            [.., data] if data.code == 354 => Err(InjectionError::Session(
                "DATA granted without a recipient".to_owned(),
            )),
            // What MAIL says is about our reverse path, for an operator to mend.
            [mail, ..] if !is_positive(mail) => {
                self.client.rset().await?;
                Err(InjectionError::Deferred(describe(mail)))
            }
            [_, answer, ..] if !is_positive(answer) => {
                self.client.rset().await?;
                Err(refusal(answer))
            }
            [.., answer] => {
                self.client.rset().await?;
                Err(refusal(answer))
            }
            [] => Err(InjectionError::Session("no answer".to_owned())),
        }
    }

    async fn one_by_one(
        &mut self,
        commands: &[String],
    ) -> Result<Vec<Response<String>>, InjectionError> {
        let mut answers = Vec::with_capacity(commands.len());
        let limits = [limits::MAIL, limits::RCPT, limits::DATA];
        for (command, limit) in commands.iter().zip(limits) {
            self.client.timeout = limit;
            let answer = self.client.cmd(command).await?;
            let goes_on = answer.code < 400;
            answers.push(answer);
            if !goes_on {
                break;
            }
        }
        Ok(answers)
    }

    /// Says good-bye.
    pub async fn quit(mut self) {
        self.client.timeout = COURTESY_TIME;
        if let Err(error) = self.client.quit().await {
            tracing::debug!(%error, "QUIT not answered");
        }
    }
}

fn is_positive(answer: &Response<String>) -> bool {
    (200..300).contains(&answer.code)
}

fn refusal(answer: &Response<String>) -> InjectionError {
    let text = describe(answer);
    if answer.code >= 500 {
        InjectionError::Refused(text)
    } else {
        InjectionError::Deferred(text)
    }
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
    use super::*;

    #[test]
    fn time_limits_are_those_of_rfc_5321() {
        let minutes = [
            limits::GREETING,
            limits::MAIL,
            limits::RCPT,
            limits::DATA,
            limits::DATA_BLOCK,
            limits::FINAL_DOT,
        ]
        .map(|limit| limit.as_secs() / 60);
        assert_eq!(minutes, [5, 5, 5, 2, 3, 10]);
        assert_eq!(content_time(0), limits::DATA_BLOCK);
        assert_eq!(content_time(2 * WRITTEN_AT_ONCE), 3 * limits::DATA_BLOCK);
    }
}
