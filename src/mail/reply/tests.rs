//! Replies, read by Python's `email` package as a requester's program would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde::Deserialize;

use super::super::{
    Body, ErrorCode, NoticeCode, ServiceCode, gateway_result, python, reply_message_id, subject,
};
use super::*;

/// Reads messages in base64 and returns their content.
const READER: &str = r#"
import base64, email, email.policy, json, re, sys
from email.header import decode_header, make_header

def unfolded(value):
    return re.sub(r"\r?\n", "", value)

def read(octets):
    modern = email.message_from_bytes(octets, policy=email.policy.default)
    old = email.message_from_bytes(octets)
    body = modern.get_body(("plain",))
    return {
        "subject": str(modern["Subject"]),
        "old_subject": str(make_header(decode_header(unfolded(old["Subject"])))),
        "result": str(modern["X-Gateway-Result"]).split("\t"),
        "old_result": unfolded(old["X-Gateway-Result"]).split("\t"),
        "fields": [[name, unfolded(value)] for name, value in old.items()],
        "to": [mailbox.addr_spec for mailbox in modern["To"].addresses],
        "types": [part.get_content_type() for part in modern.walk()],
        "body": body.get_content().replace("\r\n", "\n"),
        "files": [
            {
                "name": part.get_filename(),
                "type": part.get_content_type(),
                "charset": part.get_content_charset(),
                "disposition": part.get_content_disposition(),
                "encoding": part["Content-Transfer-Encoding"],
                "content": base64.b64encode(part.get_payload(decode=True)).decode(),
            }
            for part in modern.iter_attachments()
        ],
        "defects": [
            str(defect)
            for part in modern.walk()
            for defect in [*part.defects, *(d for value in part.values() for d in value.defects)]
        ],
    }

print(json.dumps([read(base64.b64decode(line)) for line in json.load(sys.stdin)]))
"#;

#[derive(Deserialize)]
struct Read {
    subject: String,
    old_subject: String,
    result: Vec<String>,
    old_result: Vec<String>,
    fields: Vec<(String, String)>,
    to: Vec<String>,
    types: Vec<String>,
    body: String,
    files: Vec<ReadFile>,
    defects: Vec<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct ReadFile {
    name: String,
    #[serde(rename = "type")]
    content_type: String,
    charset: String,
    disposition: String,
    encoding: String,
    content: String,
}

impl Read {
    fn field(&self, name: &str) -> &str {
        let mut of_name = self.fields.iter().filter(|(own, _)| own == name);
        let (_, value) = of_name.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(of_name.next().is_none(), "two {name}");
        value
    }
}

fn read_by_python(messages: &[Vec<u8>]) -> Vec<Read> {
    let encoded: Vec<String> = messages
        .iter()
        .map(|message| base64::STANDARD.encode(message))
        .collect();
    python::run(READER, &encoded)
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn request(subject: &str) -> Request {
    Request {
        code: ServiceCode::Help,
        subject: subject::clean(subject),
        from_gateway: address("gateway@kms.example.org"),
        targets: vec![address("user@example.com")],
        message_id: Some("<1@example.com>".to_owned()),
        references: vec!["<0@example.com>".to_owned(), "<1@example.com>".to_owned()],
        body: Body::Plain(String::new()),
        attachments: Vec::new(),
    }
}

fn stamp() -> ReplyStamp {
    ReplyStamp {
        message_id: reply_message_id("00ff", "result", "kms.example.org"),
        date: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

fn text(body: &str) -> ReplyText {
    ReplyText {
        body: body.to_owned(),
        attachment: None,
    }
}

fn composed(request: &Request, outcome: &Outcome, text: &ReplyText) -> Vec<u8> {
    let message = compose(request, outcome, text, &stamp());
    assert_is_well_formed(&message);
    message
}

/// Checks for strict CRLF, lines within 998 octets, and no blank at the end of
/// a header line.
fn assert_is_well_formed(message: &[u8]) {
    assert!(message.ends_with(b"\r\n"));
    let message = String::from_utf8_lossy(message);
    let mut in_header = true;
    for line in message.split_terminator("\r\n") {
        assert!(line.len() <= 998, "{} octets", line.len());
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        in_header &= !line.is_empty();
        // A relay may trim a blank line, or a reader may take it for the end of
        // the header.
        assert!(!in_header || !line.ends_with(' '), "{line:?}");
    }
}

fn samples<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect()
}

#[test]
fn subjects_come_back_exactly() {
    let mut subjects: Vec<String> = [
        "{KMS:Help}",
        "{KMS:GetKlfStsEd2} order-17",
        "{KMS:Help}  two   three    blanks",
        "{KMS:Help} ends in blanks  ",
        "{KMS:Help} \"quoted, string\" (comment <a@b.c>; \\",
        "{KMS:Help} =?utf-8?q?literal?= text",
        "{KMS:Help} a =? b ?= c",
        "{KMS:Help}=?utf-8?B?YQ==?=",
        "{KMS:Help} Bestellung für Zürich, 日本語 и кириллица 🔑",
        "{KMS:Help} é  ü   ß",
        "{KMS:Help} \u{a0}\u{feff}\u{200b}\u{e9}",
        "  {KMS:Help} after blanks",
        "{KMS:Help}\tx\u{b}y\u{85}z\u{2028}é",
    ]
    .map(str::to_owned)
    .to_vec();
    for length in [
        60, 68, 70, 77, 78, 79, 200, 890, 899, 900, 901, 1_000, 1_990,
    ] {
        subjects.push(format!("{{KMS:Help}} {}", "x".repeat(length)));
        subjects.push(format!("{{KMS:Help}}{}x", " ".repeat(length)));
        subjects.push(format!("{{KMS:Help}} {}", "abc  de ".repeat(length / 8)));
        subjects.push(format!("{{KMS:Help}} {}", "é".repeat(length)));
        subjects.push(format!("{{KMS:Help}} {}", "日 x".repeat(length / 3)));
    }
    subjects.extend(samples(&"\\{KMS:Help\\}[ -~]{0,200}", 100));
    subjects.extend(samples(&"\\{KMS:Help\\}( {1,4}[a-z=?_é]{1,30}){0,20}", 100));
    subjects.extend(samples(&"\\{KMS:Help\\}\\PC{0,200}", 100));

    let outcome = Outcome::success();
    let messages: Vec<Vec<u8>> = subjects
        .iter()
        .map(|subject| composed(&request(subject), &outcome, &text("x")))
        .collect();
    for (subject, read) in subjects.iter().zip(read_by_python(&messages)) {
        let expected = format!("Auto: {}", subject::clean(subject));
        assert_eq!(read.subject, expected);
        assert_eq!(read.old_subject, expected);
        assert!(read.defects.is_empty(), "{subject:?}: {:?}", read.defects);
    }
}

#[test]
fn an_ordinary_subject_is_not_encoded() {
    let line = |subject: &str| {
        let message = composed(&request(subject), &Outcome::success(), &text("x"));
        let message = String::from_utf8(message).unwrap();
        let (_, rest) = message.split_once("\r\nSubject: ").unwrap();
        let (value, _) = rest.split_once("\r\nDate: ").unwrap();
        value.to_owned()
    };
    assert_eq!(line("{KMS:Help} a  b"), "Auto: {KMS:Help} a  b");
    let long = format!("{{KMS:Help}} {}", "word  ".repeat(50).trim_end());
    assert_eq!(line(&long).replace("\r\n", ""), format!("Auto: {long}"));
    assert!(line("{KMS:Help} é").starts_with("Auto: =?utf-8?Q?"));
}

#[test]
fn results_come_back_exactly() {
    let mut outcomes = vec![Outcome::success()];
    outcomes.extend(ErrorCode::ALL.iter().copied().map(Outcome::error));
    outcomes.extend(NoticeCode::ALL.iter().copied().map(Outcome::notice));
    let element = "[ -~]{0,40}|[ -~]{500,700}|\\PC{0,80}|[a-z=? \t\r\n]{0,900}|( |\t){0,9}";
    let parameters = proptest::collection::vec(element, 0..8);
    for (description, parameters) in samples(&(element, parameters), 150) {
        outcomes.push(Outcome::Error {
            code: ErrorCode::RecordFormat,
            description,
            parameters,
        });
    }
    let request = request("{KMS:Help}");
    let messages: Vec<Vec<u8>> = outcomes
        .iter()
        .map(|outcome| composed(&request, outcome, &text("x")))
        .collect();
    for (outcome, read) in outcomes.iter().zip(read_by_python(&messages)) {
        let expected = gateway_result::elements(outcome);
        assert_eq!(read.result, expected);
        assert_eq!(read.old_result, expected);
    }
}

#[test]
fn every_field_of_a_reply() {
    let mut request = request("{KMS:Help}");
    request.targets = [
        "user@example.com",
        "o'hara@bücher.example",
        "a@[127.0.0.1]",
        "b@example.com",
    ]
    .map(address)
    .to_vec();
    let message = composed(&request, &Outcome::success(), &text("one\ntwo"));
    let read = read_by_python(&[message]).remove(0);
    for (name, value) in [
        ("From", "<gateway@kms.example.org>"),
        ("Subject", "Auto: {KMS:Help}"),
        ("Date", "Fri, 2 Jan 2026 03:04:05 +0000"),
        ("Message-ID", "<00ff.result@kms.example.org>"),
        ("In-Reply-To", "<1@example.com>"),
        ("References", "<0@example.com> <1@example.com>"),
        ("Auto-Submitted", "auto-replied"),
        ("Precedence", "bulk"),
        ("X-Auto-Response-Suppress", "All"),
        ("X-Loop", "gateway@kms.example.org"),
        (
            "X-Gateway-Result",
            "Success\tThe operation completed successfully",
        ),
        ("MIME-Version", "1.0"),
        ("Content-Transfer-Encoding", "7bit"),
    ] {
        assert_eq!(read.field(name), value);
    }
    assert_eq!(
        read.to,
        [
            "user@example.com",
            "o'hara@xn--bcher-kva.example",
            "a@[127.0.0.1]",
            "b@example.com"
        ]
    );
    assert_eq!(read.types, ["text/plain"]);
    assert_eq!(read.body, "one\ntwo\n");
    assert!(read.field("Content-Type").contains("us-ascii"));
}

#[test]
fn what_a_request_has_not_a_reply_has_not() {
    let mut request = request("{KMS:Help}");
    request.message_id = None;
    request.references.clear();
    let message = composed(&request, &Outcome::success(), &text(""));
    let read = read_by_python(&[message]).remove(0);
    let names: Vec<&str> = read.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert!(!names.contains(&"In-Reply-To") && !names.contains(&"References"));
}

#[test]
fn nothing_in_a_request_ends_a_field() {
    let mut request = request("{KMS:Help}");
    request.subject.push_str("\r\nBcc: a@x.org\r\n\r\nbody");
    request.message_id = Some("<1@x>\r\nBcc: a@x.org".to_owned());
    request.references = vec!["<1@x>\r\n\r\n".to_owned(), "\nBcc: <2@x>".to_owned()];
    let summary = "done\r\nBcc: a@x.org\r\n\r\n".to_owned();
    let message = composed(&request, &Outcome::Success { summary }, &text("x"));
    let read = read_by_python(&[message]).remove(0);
    assert!(read.fields.iter().all(|(name, _)| name != "Bcc"));
    assert_eq!(read.body, "x\n");
}

#[test]
fn the_longest_ids_fit_their_lines() {
    let mut request = request("{KMS:Help}");
    let id = format!("<{}@x>", "i".repeat(896));
    request.message_id = Some(id.clone());
    request.references = vec![id.clone(); 10];
    let message = composed(&request, &Outcome::success(), &text("x"));
    let read = read_by_python(&[message]).remove(0);
    assert_eq!(read.field("In-Reply-To"), id);
    assert_eq!(read.field("References"), vec![id; 10].join(" "));
}

#[test]
fn bodies_come_back() {
    let record = format!(
        "-----STS:X BEGINS-----\r\n{}\r\n-----STS:X ENDS-----\r\n",
        "A".repeat(64)
    );
    let bodies = [
        "plain\n",
        "\n\nFrom here\n.\n..\n--\n",
        "Grüße, 日本\n",
        &record,
        &format!("{}\n", "long ".repeat(300).trim_end()),
        &format!("{}\n", "x".repeat(3_000)),
    ]
    .map(str::to_owned);
    let messages: Vec<Vec<u8>> = bodies
        .iter()
        .map(|body| composed(&request("{KMS:Help}"), &Outcome::success(), &text(body)))
        .collect();
    for (body, read) in bodies.iter().zip(read_by_python(&messages)) {
        assert_eq!(read.body, body.replace("\r\n", "\n"));
        assert!(read.defects.is_empty(), "{:?}", read.defects);
    }
}

#[test]
fn control_characters_do_not_get_into_a_body() {
    let message = composed(
        &request("{KMS:Help}"),
        &Outcome::success(),
        &text("a\rb\u{0}c\td\u{1b}[1m  \ne"),
    );
    let read = read_by_python(&[message]).remove(0);
    assert_eq!(read.body, "a b c\td [1m\ne\n");
}

#[test]
fn a_file_comes_back_octet_by_octet() {
    let content: Vec<u8> = b"X.VK.1|a  \r\nb\n\r\n \t".repeat(40);
    let reply = ReplyText {
        body: "--=_00ffresult\nis no boundary\n".to_owned(),
        attachment: Some(ReplyAttachment {
            name: "../SM 1/\u{e9}\"\r\n".to_owned(),
            content: content.clone(),
        }),
    };
    let message = composed(&request("{KMS:Help}"), &Outcome::success(), &reply);
    let read = read_by_python(&[message]).remove(0);
    assert_eq!(read.types, ["multipart/mixed", "text/plain", "text/plain"]);
    assert_eq!(read.body, reply.body);
    assert_eq!(
        read.files,
        [ReadFile {
            name: ".._SM_1_____.txt".to_owned(),
            content_type: "text/plain".to_owned(),
            charset: "us-ascii".to_owned(),
            disposition: "attachment".to_owned(),
            encoding: "base64".to_owned(),
            content: base64::STANDARD.encode(&content),
        }]
    );
    assert!(read.defects.is_empty(), "{:?}", read.defects);
}

#[test]
fn the_same_reply_is_the_same_octets() {
    let reply = ReplyText {
        body: "x".to_owned(),
        attachment: Some(ReplyAttachment {
            name: "klf.txt".to_owned(),
            content: b"y".to_vec(),
        }),
    };
    let request = request("{KMS:Help} é");
    let one = composed(&request, &Outcome::success(), &reply);
    assert_eq!(composed(&request, &Outcome::success(), &reply), one);
}
