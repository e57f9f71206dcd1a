//! Answers of the other side: each becomes an answer of the trait, or trouble of
//! the gateway that names the socket.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod answers;
mod trouble;

use std::future::pending;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    kms::{Applied, Effects, issue::AuthenticationFailure, update::SignatureFailure},
    request_id::RequestId,
    sts::{Record, TypedRecord as _},
    time::Period,
};

const NOW: &str = "2026-03-01T12:00:07.9Z";

/// Files and records that another program made, on the curve P-384.
fn vectors() -> Value {
    let all: Value =
        serde_json::from_str(include_str!("../../../../integration/vectors/vectors.json")).unwrap();
    all[0].clone()
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn request() -> VkloadReq {
    let record = Record::parse(vectors()["request"].as_str().unwrap()).unwrap();
    VkloadReq::from_record(&record).unwrap()
}

fn issue_question() -> IssueQuestion {
    IssueQuestion {
        request_id: RequestId::from_bytes([0xAB; 16]),
        request: request(),
        accepted_at: now(),
        now: now(),
    }
}

fn update_question(file: &[String]) -> UpdateQuestion {
    UpdateQuestion {
        request_id: RequestId::from_bytes([0xAB; 16]),
        file: file.join("\r\n").into_bytes(),
        accepted_at: now(),
        now: now(),
    }
}

fn texts(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The other side's way to treat a question.
#[derive(Clone)]
enum Manner {
    /// Answers with these bytes.
    Says(Vec<u8>),
    /// Accepts questions and never answers.
    Silent,
}

/// The other side.
struct Server {
    settings: RemoteSettings,
    asked: Arc<Mutex<Vec<Value>>>,
    serving: JoinHandle<()>,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    fn new(manner: Manner) -> Self {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("kms.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (heard, manner) = (heard.clone(), manner.clone());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    heard
                        .lock()
                        .unwrap()
                        .push(serde_json::from_str(&line).unwrap());
                    match manner {
                        Manner::Says(bytes) => drop(stream.write_all(&bytes).await),
                        Manner::Silent => pending().await,
                    }
                });
            }
        });
        Self {
            settings: RemoteSettings {
                socket: Some(socket),
                connect_timeout: Period::from_secs(5),
                answer_timeout: Period::from_secs(5),
                ..RemoteSettings::default()
            },
            asked,
            serving,
            _directory: directory,
        }
    }

    /// Gives this answer, with the envelope added.
    fn answering(mut answer: Value) -> Self {
        let object = answer.as_object_mut().unwrap();
        object.entry("version").or_insert(json!(1));
        object.entry("request_id").or_insert(json!("ab".repeat(16)));
        Self::new(Manner::Says(format!("{answer}\n").into_bytes()))
    }

    /// The same for a question that has no effect.
    fn answering_anyone(answer: Value) -> Self {
        let mut answer = answer;
        answer["request_id"] = Value::Null;
        Self::answering(answer)
    }

    fn kms(&self) -> RemoteKms {
        RemoteKms::new(self.settings.clone()).unwrap()
    }

    fn heard(&self) -> Value {
        self.asked.lock().unwrap()[0].clone()
    }
}

#[track_caller]
fn assert_trouble<T: std::fmt::Debug>(answer: Result<T, KmsError>, server: &Server, part: &str) {
    let Err(KmsError::Unavailable(text)) = answer else {
        panic!("no trouble: {answer:?}")
    };
    let socket = server.kms().socket.display().to_string();
    assert!(text.contains(&socket), "{text} does not name {socket}");
    assert!(text.contains(part), "{part:?} is not in {text:?}");
    assert!(text.len() < 1000 && !text.contains('\n'), "{text:?}");
    assert!(
        !text.contains("moon"),
        "what nobody knows is repeated: {text:?}"
    );
}
