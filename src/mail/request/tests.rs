//! Requests, as people's mail programs and Python's `email` package write them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use encodify::base64;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::Serialize;

use super::super::targets::reply_targets;
use super::super::{python, subject};
use super::*;

fn gateway() -> GatewayAddresses {
    let addresses = ["gateway@kms.example.org", "stsa_kmc_01@stskms.org.za"];
    GatewayAddresses::new(
        addresses.map(|text| Address::parse(text).unwrap()).to_vec(),
        "+",
    )
}

fn read(source: &str) -> Result<Request, RequestError> {
    let message = Message::from_bytes(source.replace('\n', "\r\n").as_bytes());
    Request::from_message(&message, &gateway(), targets(&message))
}

fn targets(message: &Message) -> Vec<Address> {
    let is_automatic = |address: &Address| address.local().starts_with("owner-");
    reply_targets(&message.headers, &gateway(), is_automatic)
        .limited(5)
        .answered
}

const ORDINARY: &str = "From: User <user@example.com>\n\
    To: KMC <Stsa_Kmc_01+x@stskms.org.za>, gateway@kms.example.org\n\
    Subject: {KMS:Help} order-17\n\
    Message-ID: <1@example.com>\n\
    References: <0@example.com>\n";

#[test]
fn an_ordinary_request() {
    let request = read(&format!("{ORDINARY}\nhello\n")).unwrap();
    assert_eq!(request.code, ServiceCode::Help);
    assert_eq!(request.subject, "{KMS:Help} order-17");
    assert_eq!(request.from_gateway.to_wire(), "stsa_kmc_01@stskms.org.za");
    assert_eq!(
        request.targets,
        [Address::parse("user@example.com").unwrap()]
    );
    assert_eq!(request.message_id.as_deref(), Some("<1@example.com>"));
    assert_eq!(request.references, ["<0@example.com>", "<1@example.com>"]);
    assert_eq!(request.body, Body::Plain("hello\r\n".to_owned()));
    assert!(request.attachments.is_empty());
}

#[test]
fn html_alone_is_a_request_still() {
    let request = read(&format!("{ORDINARY}Content-Type: text/html\n\n<p>\n")).unwrap();
    assert_eq!(request.body, Body::NotPlain);
}

#[test]
fn an_unknown_code_is_a_request_still() {
    let request = read("From: u@x.org\nTo: gateway@kms.example.org\nSubject: {KMS:x}\n\n").unwrap();
    assert_eq!(request.code, ServiceCode::Unknown("{KMS:x}".to_owned()));
}

#[test]
fn files_come_along() {
    let request = read(&format!(
        "{ORDINARY}Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n--b\n\
         Content-Type: text/plain; name=u.txt\nContent-Disposition: attachment\n\
         Content-Transfer-Encoding: base64\n\neA==\n--b--\n"
    ))
    .unwrap();
    assert_eq!(
        request.attachments,
        [Attachment {
            content_type: "text/plain".to_owned(),
            declared: true,
            name: Some("u.txt".to_owned()),
            content: b"x".to_vec(),
        }]
    );
}

#[test]
fn what_is_no_request() {
    let subject = |error| Err(RequestError::Subject(error));
    for (source, expected) in [
        (
            "From: u@x.org\nTo: gateway@kms.example.org\n\n",
            subject(SubjectError::Absent),
        ),
        (
            "From: u@x.org\nTo: gateway@kms.example.org\nSubject: hi\n\n",
            subject(SubjectError::NoCode),
        ),
        (
            "From: u@x.org\nTo: \"gateway@kms.example.org\" <v@x.org>\nCc: gateway@kms.example.org\n\
             Subject: {KMS:Help}\n\n",
            Err(RequestError::NotInTo),
        ),
        (
            "From: owner-l@x.org\nTo: gateway@kms.example.org\nSubject: {KMS:Help}\n\n",
            Err(RequestError::NoTarget),
        ),
    ] {
        assert_eq!(read(source), expected, "{source}");
    }
}

#[test]
fn at_most_so_many_are_answered() {
    let reply_to: Vec<String> = (0..9).map(|number| format!("u{number}@x.org")).collect();
    let request = read(&format!("{ORDINARY}Reply-To: {}\n\n", reply_to.join(","))).unwrap();
    assert_eq!(request.targets.len(), 5);
}

#[test]
fn the_first_subject_counts_and_is_cleaned() {
    let request = read(
        "From: u@x.org\nTo: gateway@kms.example.org\nSubject:\n  {KMS:Help}\n\ta  b \n\
         Subject: {KMS:GetPublicKey}\n\n",
    )
    .unwrap();
    assert_eq!(request.subject, "{KMS:Help} a  b ");
}

/// Writes requests from a subject, a body and a way of sending. Also returns
/// the Subject that Python reads in each, because its writer sometimes loses a
/// blank.
const WRITER: &str = r#"
import base64, email, email.policy, json, sys
from email.header import Header
from email.message import EmailMessage, Message

def modern(sample):
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"] = "user@example.com"
    message["To"] = "gateway@kms.example.org"
    message["Subject"] = sample["subject"]
    message.set_content(sample["body"], charset=sample["charset"], cte=sample["encoding"])
    return message.as_bytes()

def old(sample):
    message = Message()
    message["From"] = "user@example.com"
    message["To"] = "gateway@kms.example.org"
    message["Subject"] = Header(sample["subject"], "utf-8")
    message.set_payload(sample["body"], sample["charset"])
    return message.as_bytes()

def written(octets):
    read = email.message_from_bytes(octets, policy=email.policy.default)
    # Before 3.12 it keeps the blank of a fold right behind the colon.
    return [base64.b64encode(octets).decode(), str(read["Subject"]).lstrip(" ")]

print(json.dumps([
    [written(write(sample)) for write in (modern, old)]
    for sample in json.load(sys.stdin)
]))
"#;

#[derive(Debug, Serialize)]
struct Sample {
    subject: String,
    body: String,
    charset: &'static str,
    encoding: &'static str,
}

fn samples() -> Vec<Sample> {
    let subject = prop_oneof![
        "( [a-z=?_.-]{1,30}){0,20}",
        "( [a-zé日ß€🔑-]{1,30}){0,20}",
        "( \\PC{0,20}[a-z]){0,5}",
    ];
    let body = "([a-z=.>|-]{0,70}\n|[éü]{0,70}\n|\n){0,12}";
    let charset = prop_oneof![Just("utf-8"), Just("iso-8859-1"), Just("windows-1252")];
    let encoding = prop_oneof![Just("quoted-printable"), Just("base64"), Just("8bit")];
    let strategy = (subject, body, charset, encoding);
    let mut runner = TestRunner::deterministic();
    (0..200)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .map(|(rest, body, charset, encoding)| Sample {
            subject: format!("{{KMS:Help}}{rest}"),
            body,
            charset,
            encoding,
        })
        .collect()
}

#[test]
fn what_python_sends_is_read_exactly() {
    let samples = samples();
    let messages: Vec<Vec<(String, String)>> = python::run(WRITER, &samples);
    for (sample, versions) in samples.iter().zip(messages) {
        for (encoded, subject) in versions {
            let source = base64::STANDARD.decode(&encoded).unwrap();
            let message = Message::from_bytes(&source);
            let request = Request::from_message(&message, &gateway(), targets(&message)).unwrap();
            let shown = String::from_utf8_lossy(&source);
            assert_eq!(request.subject, subject::clean(&subject), "{shown}");
            let Body::Plain(body) = request.body else {
                panic!("no plain text: {shown}");
            };
            assert_eq!(
                body.replace("\r\n", "\n").trim_end(),
                sample.body.trim_end(),
                "{shown}"
            );
        }
    }
}
