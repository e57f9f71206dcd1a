//! One question over the socket: a connection, a line there, a line back. Every
//! wait has its limit, and so has the length of the answer.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::settings::RemoteSettings;
use super::trouble::{Trouble, excerpt};
use super::wire::{Answer, Asked, Envelope, Question, VERSION};

/// Length in bytes of the longest answer. It holds the largest file of records:
/// 1,000 records of 998 characters, with their quotes and commas.
pub(super) const LONGEST_ANSWER: usize = 1024 * 1024;

/// Asks a question and reads the answer by the rules of the protocol.
pub(super) async fn ask(
    socket: &Path,
    settings: &RemoteSettings,
    question: &Question,
) -> Result<Answer, Trouble> {
    let asked = Asked {
        version: VERSION,
        question,
    };
    let mut line = serde_json::to_vec(&asked).map_err(|error| Trouble::malformed(&error))?;
    line.push(b'\n');
    let line = exchange(socket, settings, &line).await?;
    read(&line, question)
}

async fn exchange(
    socket: &Path,
    settings: &RemoteSettings,
    question: &[u8],
) -> Result<Vec<u8>, Trouble> {
    let connecting = async {
        let connected = UnixStream::connect(socket).await;
        connected.map_err(Trouble::Connect)
    };
    let limit = settings.connect_timeout.as_std();
    let mut stream = within("connecting", limit, "connect_timeout", connecting).await?;

    let asking = async {
        let written = stream.write_all(question).await;
        written.map_err(Trouble::Broken)
    };
    let limit = settings.request_timeout.as_std();
    within("asking", limit, "request_timeout", asking).await?;

    let limit = settings.answer_timeout.as_std();
    within("the answer", limit, "answer_timeout", read_line(stream)).await
}

async fn within<T>(
    what: &'static str,
    limit: Duration,
    setting: &'static str,
    step: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let slow = |_| Trouble::Slow {
        what,
        limit,
        setting,
    };
    timeout(limit, step).await.map_err(slow)?
}

/// Reads a line and returns it without its end.
async fn read_line(stream: UnixStream) -> Result<Vec<u8>, Trouble> {
    let longest = u64::try_from(LONGEST_ANSWER).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    BufReader::new(stream.take(longest))
        .read_until(b'\n', &mut line)
        .await
        .map_err(broken)?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        _ if line.len() + 1 >= LONGEST_ANSWER => Err(Trouble::TooLong(LONGEST_ANSWER)),
        _ => Err(Trouble::CutShort),
    }
}

/// A process that ends before it reads the question resets the connection.
fn broken(error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionReset => Trouble::CutShort,
        _ => Trouble::Broken(error),
    }
}

fn read(line: &[u8], question: &Question) -> Result<Answer, Trouble> {
    let malformed = |error| Trouble::malformed(&error);
    let envelope: Envelope = serde_json::from_slice(line).map_err(malformed)?;
    if envelope.version != VERSION {
        return Err(Trouble::Version(envelope.version));
    }
    match serde_json::from_slice(line).map_err(malformed)? {
        Answer::Trouble { reason } => Err(Trouble::Its(excerpt(&reason))),
        Answer::ProtocolError { error, reason } => Err(Trouble::Refused {
            error: excerpt(&error),
            reason: excerpt(&reason),
        }),
        _ if envelope.request_id.as_deref() != question.request_id() => {
            Err(Trouble::unfit("it is for another request id"))
        }
        answer => Ok(answer),
    }
}
