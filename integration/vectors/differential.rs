//! Against programs of others: header fields as Python's `email` package reads
//! them, primitives as its `cryptography` computes them, on inputs at random,
//! the same each time.

use std::fmt::{self, Display, Formatter};

use jiff::Timestamp;
use kms_gateway::{
    mail::{
        Address, GatewayAddresses, Headers, Message, Outcome, ReplyStamp, ReplyText, Request,
        compose, from_addresses, reply_targets, to_addresses,
    },
    secrets::{Secret, primitives},
    sts::Checksum,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::harness::{python, run};

/// A field that we read otherwise than Python does.
struct Difference {
    name: &'static str,
    value: &'static str,
    /// The Subject, or the addresses, parted by blanks.
    ours: &'static str,
    reason: &'static str,
}

const BY_DESIGN: &[Difference] = &[
    Difference {
        name: "Subject",
        value: "\r\n {KMS:Help}",
        ours: "{KMS:Help}",
        reason: "a code stands at the start wherever the field was folded",
    },
    Difference {
        name: "Subject",
        value: " =?utf-8?b?*?=",
        ours: "=?utf-8?b?*?=",
        reason: "what can't be decoded is shown as it stands, not left out",
    },
    Difference {
        name: "Subject",
        value: " =?iso-8859-1?q?=93a=94?=",
        ours: "\u{201c}a\u{201d}",
        reason: "programs say ISO-8859-1 and mean Windows-1252, as WHATWG has it",
    },
    Difference {
        name: "Subject",
        value: " =?us-ascii?q?=E9?=",
        ours: "é",
        reason: "the same",
    },
    Difference {
        name: "To",
        value: " gateway@kms.example.org <jane@x.example>",
        ours: "jane@x.example",
        reason: "a display name is no address, whatever it looks like",
    },
    Difference {
        name: "To",
        value: " a@[IPv6:0:0:0:0:0:0:0:1]",
        ours: "a@[IPv6:::1]",
        reason: "addresses that are one are written as one (RFC 5952)",
    },
    Difference {
        name: "To",
        value: " a@x.example.",
        ours: "a@x.example",
        reason: "DNS knows no difference; people type the dot",
    },
    Difference {
        name: "To",
        value: " jane@bücher.example",
        ours: "jane@xn--bcher-kva.example",
        reason: "a domain is known by its A-labels (RFC 5890)",
    },
    Difference {
        name: "To",
        value: " jörg@x.example",
        ours: "jörg@x.example",
        reason: "RFC 6532; Python keeps the octets undecoded",
    },
    Difference {
        name: "To",
        value: " a@x.example; b@x.example",
        ours: "a@x.example b@x.example",
        reason: "Outlook's way to write lists",
    },
    Difference {
        name: "To",
        value: " <>, a@x.example",
        ours: "a@x.example",
        reason: "nobody is no address",
    },
    Difference {
        name: "To",
        value: " <jane>, a@x.example",
        ours: "a@x.example",
        reason: "without a domain it is no address",
    },
    Difference {
        name: "To",
        value: " \"\"@x.example",
        ours: "",
        reason: "a local part has a character at least, though RFC 5321 4.1.2 lets it have none",
    },
    Difference {
        name: "To",
        value: " .a@x.example, b@x.example",
        ours: "b@x.example",
        reason: "a local part that is neither dot-atom nor quoted is none",
    },
    Difference {
        name: "To",
        value: " a@x!y, b@x.example",
        ours: "b@x.example",
        reason: "such a domain can't be looked up",
    },
    Difference {
        name: "To",
        value: " <<a@x.example>>, b@x.example",
        ours: "b@x.example",
        reason: "what isn't well-formed is no address, rather than a guess",
    },
    Difference {
        name: "To",
        value: " <a@x.example> b, c@x.example",
        ours: "c@x.example",
        reason: "the same",
    },
    Difference {
        name: "To",
        value: " a@x.example b@x.example",
        ours: "",
        reason: "the same",
    },
    Difference {
        name: "To",
        value: " <a@x.example, b@x.example",
        ours: "",
        reason: "the same; a comma in brackets is a route's",
    },
    Difference {
        name: "To",
        value: " \"a <b@x.example>",
        ours: "",
        reason: "the same; a quote that isn't closed goes to the end",
    },
];

/// The lines of a Python program below `integration/`.
fn made_by<T: DeserializeOwned>(program: &str, arguments: &[&str], input: &str) -> Vec<T> {
    let lines = run(python(program).args(arguments), input.as_bytes());
    let read = |line| serde_json::from_str(line).unwrap();
    lines.lines().map(read).collect()
}

/// A field, and how Python reads it.
#[derive(Debug, Deserialize)]
struct Field {
    name: String,
    value: String,
    python: Option<Reading>,
}

/// The reading of a field: text, or addresses as local part and domain.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Reading {
    Text(String),
    Addresses(Vec<(String, String)>),
}

impl Display for Reading {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Reading::Text(text) => f.write_str(text),
            Reading::Addresses(addresses) => {
                let whole = |(local, domain): &(String, String)| format!("{local}@{domain}");
                let whole: Vec<String> = addresses.iter().map(whole).collect();
                f.write_str(&whole.join(" "))
            }
        }
    }
}

impl Field {
    /// How we read it.
    fn ours(&self) -> Reading {
        let mut headers = Headers::new();
        headers.push(self.name.as_bytes(), self.value.as_bytes());
        match self.name.as_str() {
            "Subject" => Reading::Text(headers.first("Subject").unwrap().decoded()),
            "To" => listed(to_addresses(&headers)),
            "From" => listed(from_addresses(&headers)),
            "Reply-To" => {
                let targets = reply_targets(&headers, &GatewayAddresses::default(), |_| false);
                let left_out = targets.left_out.into_iter().map(|(address, _)| address);
                sorted(listed(targets.answered.into_iter().chain(left_out)))
            }
            other => panic!("{other}"),
        }
    }

    /// How Python reads it, in our order, and domains as DNS compares them.
    fn pythons(&self) -> Option<Reading> {
        let reading = match self.python.clone()? {
            Reading::Addresses(mut addresses) => {
                for (_, domain) in &mut addresses {
                    domain.make_ascii_lowercase();
                }
                Reading::Addresses(addresses)
            }
            text => text,
        };
        Some(match self.name.as_str() {
            "Reply-To" => sorted(reading),
            _ => reading,
        })
    }
}

fn listed(addresses: impl IntoIterator<Item = Address>) -> Reading {
    let pair = |address: Address| (address.local().to_owned(), address.domain().to_owned());
    Reading::Addresses(addresses.into_iter().map(pair).collect())
}

/// Whom a reply goes to and whom not stands in two lists.
fn sorted(mut reading: Reading) -> Reading {
    if let Reading::Addresses(addresses) = &mut reading {
        addresses.sort();
    }
    reading
}

#[test]
fn header_fields_are_read_as_python_reads_them() {
    let fields: Vec<Field> = made_by("vectors/differential_mail.py", &["make", "1", "4000"], "");
    assert_eq!(fields.len(), 4_000);
    for field in &fields {
        assert_eq!(Some(field.ours()), field.pythons(), "{field:?}");
    }
}

/// The Subject that comes back: requesters match replies by it.
#[test]
fn the_subject_of_a_reply_reads_as_that_of_its_request() {
    let made: Vec<Field> = made_by("vectors/differential_mail.py", &["make", "3", "2000"], "");
    let subjects = made.into_iter().filter(|field| field.name == "Subject");
    let glued = "\r\n =?utf-8?q?_?==?utf-8?q?Gen=C3=A8ve?= 17".to_owned();
    let values = subjects.map(|field| field.value).chain([glued]);
    let requests = subjects_read(values.map(|value| format!(" {{KMS:Help}}{value}")));
    let replies = subjects_read(requests.iter().map(|(value, _)| echoed(value)));
    assert!(replies.len() > 500);
    for ((value, request), (reply, echo)) in requests.iter().zip(&replies) {
        let expected = request.replace(char::is_control, " ");
        assert_eq!(*echo, format!("Auto: {expected}"), "{value:?} {reply:?}");
    }
}

/// Values of Subjects, and how Python reads each.
fn subjects_read(values: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let line = |value| json!({"name": "Subject", "value": value}).to_string() + "\n";
    let input: String = values.map(line).collect();
    let fields: Vec<Field> = made_by("vectors/differential_mail.py", &["read"], &input);
    let pair = |field: Field| (field.value, field.python.unwrap().to_string());
    fields.into_iter().map(pair).collect()
}

/// The Subject of the reply to a request with this one.
fn echoed(subject: &str) -> String {
    let source =
        format!("From: jane@x.example\r\nTo: gateway@kms.example.org\r\nSubject:{subject}\r\n\r\n");
    let gateway: Address = "gateway@kms.example.org".parse().unwrap();
    let gateway = GatewayAddresses::new(vec![gateway], "");
    let targets = vec!["jane@x.example".parse().unwrap()];
    let message = Message::from_bytes(source.as_bytes());
    let request = Request::from_message(&message, &gateway, targets).unwrap();
    let text = ReplyText {
        body: String::new(),
        attachment: None,
    };
    let stamp = ReplyStamp {
        message_id: "<1@kms.example.org>".to_owned(),
        date: Timestamp::UNIX_EPOCH,
    };
    let reply = compose(&request, &Outcome::success(), &text, &stamp);
    let reply = Message::from_bytes(&reply);
    let value = reply.headers.first("Subject").unwrap().value();
    String::from_utf8(value.to_vec()).unwrap()
}

#[test]
fn what_differs_by_design_is_listed_with_the_reason() {
    let line = |row: &Difference| json!({"name": row.name, "value": row.value}).to_string() + "\n";
    let input: String = BY_DESIGN.iter().map(line).collect();
    let fields: Vec<Field> = made_by("vectors/differential_mail.py", &["read"], &input);
    assert_eq!(fields.len(), BY_DESIGN.len());
    for (row, field) in BY_DESIGN.iter().zip(&fields) {
        let ours = field.ours();
        assert_eq!(ours.to_string(), row.ours, "{field:?}: {}", row.reason);
        assert_ne!(Some(ours), field.pythons(), "no longer: {}", row.reason);
    }
}

/// A computation at random.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Computed {
    Crc {
        text: String,
        sum: String,
    },
    Hkdf {
        key_material: String,
        salt: String,
        info: String,
        output: String,
    },
    Wrap {
        key: String,
        plain: String,
        wrapped: String,
    },
}

#[test]
fn primitives_are_computed_as_python_computes_them() {
    let computed: Vec<Computed> = made_by("vectors/differential_primitives.py", &["2", "500"], "");
    assert_eq!(computed.len(), 1_500);
    for computed in &computed {
        match computed {
            Computed::Crc { text, sum } => {
                assert_eq!(Checksum::of(text).to_string(), *sum, "{text}");
            }
            Computed::Hkdf {
                key_material,
                salt,
                info,
                output,
            } => {
                let [key_material, salt, info] = [key_material, salt, info].map(|hex| octets(hex));
                let mut ours = vec![0; output.len() / 2];
                primitives::hkdf_sha384_into(&key_material, &salt, &info, &mut ours).unwrap();
                assert_eq!(ours, octets(output));
            }
            Computed::Wrap {
                key,
                plain,
                wrapped,
            } => check_wrap(
                &Secret::from_hex(key).unwrap(),
                &octets(plain),
                &octets(wrapped),
            ),
        }
    }
}

/// Both directions, and none for what was changed.
fn check_wrap(key: &Secret<32>, plain: &[u8], wrapped: &[u8]) {
    assert_eq!(primitives::wrap(key, plain).unwrap(), wrapped);
    assert_eq!(primitives::unwrap(key, wrapped).unwrap().expose(), plain);
    for place in 0..wrapped.len() {
        let mut changed = wrapped.to_vec();
        changed[place] ^= 1;
        assert!(primitives::unwrap(key, &changed).is_err(), "octet {place}");
    }
}

fn octets(digits: &str) -> Vec<u8> {
    hex::decode(digits).unwrap()
}
