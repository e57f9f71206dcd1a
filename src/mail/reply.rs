//! Composes a reply (STS600-9-2 8.3). The same request, outcome, text and stamp
//! give the same octets. A reply to a request can also be made from another reply
//! to it.
//!
//! This file writes the header line by line, as each field has its own rule of
//! folding. mail-builder writes addresses, dates, raw text and MIME parts.

use encodify::base64;
use jiff::Timestamp;
use mail_builder::headers::Header as _;
use mail_builder::headers::address::Address as AddressField;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};

use super::address::Address;
use super::gateway_result;
use super::header::Headers;
use super::outcome::Outcome;
use super::request::Request;
use super::subject;

/// The content of a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyText {
    /// The text body. Its line ends may be LF.
    pub body: String,
    /// The only file of a reply.
    pub attachment: Option<ReplyAttachment>,
}

/// A file of us-ascii text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyAttachment {
    /// The file name. It should end in `.txt`.
    pub(crate) name: String,
    /// The exact octets. They are sent as base64.
    pub(crate) content: Vec<u8>,
}

/// The identity of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyStamp {
    /// From [`super::reply_message_id`].
    pub message_id: String,
    /// When the reply was made.
    pub date: Timestamp,
}

/// Octets of a line at most, without CRLF (RFC 5322 2.1.1).
const LINE_LIMIT: usize = 998;

/// The whole message, with CRLF line ends and no line past 998 octets.
#[must_use]
pub fn compose(
    request: &Request,
    outcome: &Outcome,
    text: &ReplyText,
    stamp: &ReplyStamp,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048 + text.body.len());
    write_origin(request, stamp, &mut out);
    write_threading(request, &mut out);
    write_loop_suppression(request, &mut out);
    write_result(outcome, text, &stamp.message_id, &mut out);
    out
}

/// The same as [`compose`] for the request that `other` answers. `other` is the
/// header of a reply that [`compose`] made.
pub(super) fn compose_from(
    other: &Headers,
    outcome: &Outcome,
    text: &ReplyText,
    stamp: &ReplyStamp,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048 + text.body.len());
    for header in other {
        if header.is(gateway_result::NAME) {
            break;
        } else if header.is(DATE) {
            write_date(stamp, &mut out);
        } else if header.is(MESSAGE_ID) {
            field(MESSAGE_ID, &stamp.message_id, &mut out);
        } else {
            header.write(&mut out);
        }
    }
    write_result(outcome, text, &stamp.message_id, &mut out);
    out
}

const DATE: &str = "Date";
const MESSAGE_ID: &str = "Message-ID";

fn write_origin(request: &Request, stamp: &ReplyStamp, out: &mut Vec<u8>) {
    address_field("From", std::slice::from_ref(&request.from_gateway), out);
    address_field("To", &request.targets, out);
    subject::write_field(&request.subject, out);
    write_date(stamp, out);
    field(MESSAGE_ID, &stamp.message_id, out);
}

fn write_date(stamp: &ReplyStamp, out: &mut Vec<u8>) {
    let date = Date::new(stamp.date.as_second());
    field(DATE, &date.to_rfc822(), out);
}

fn write_threading(request: &Request, out: &mut Vec<u8>) {
    if let Some(id) = &request.message_id {
        field("In-Reply-To", id, out);
    }
    if !request.references.is_empty() {
        const NAME: &str = "References: ";
        out.extend_from_slice(NAME.as_bytes());
        let ids = without_controls(&request.references.join(" "));
        Raw::new(ids).write_header(out, NAME.len());
    }
}

/// Fields of RFC 3834 3.1.7, and others that mail programs know.
fn write_loop_suppression(request: &Request, out: &mut Vec<u8>) {
    field("Auto-Submitted", "auto-replied", out);
    field("Precedence", "bulk", out);
    field("X-Auto-Response-Suppress", "All", out);
    field("X-Loop", &request.from_gateway.to_wire(), out);
}

/// Writes a field whose value fits a line. Control characters are dropped, so
/// that none can end the field.
fn field(name: &str, value: &str, out: &mut Vec<u8>) {
    folded_field(name, &without_controls(value), out);
}

/// Writes a field whose value is already folded.
fn folded_field(name: &str, value: &str, out: &mut Vec<u8>) {
    for piece in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn without_controls(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).collect()
}

fn address_field(name: &str, addresses: &[Address], out: &mut Vec<u8>) {
    let mailboxes = addresses
        .iter()
        .map(|address| AddressField::new_address(None::<&str>, address.to_wire()))
        .collect();
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    AddressField::new_list(mailboxes).write_header(out, name.len() + 2);
}

/// Writes what the outcome and the text make: the last fields, and the body.
fn write_result(outcome: &Outcome, text: &ReplyText, message_id: &str, out: &mut Vec<u8>) {
    let result = gateway_result::write(outcome);
    folded_field(gateway_result::NAME, &result, out);
    field("MIME-Version", "1.0", out);
    write_content(text, message_id, out);
}

fn write_content(text: &ReplyText, message_id: &str, out: &mut Vec<u8>) {
    let body = text_part(&text.body);
    match &text.attachment {
        None => body.write_part(out),
        Some(attachment) => {
            let boundary = boundary(message_id, &text.body);
            let content_type = ContentType::new("multipart/mixed").attribute("boundary", boundary);
            let parts = vec![body, file_part(attachment)];
            MimePart::new(content_type, parts).write_part(out);
        }
    }
}

fn text_part(body: &str) -> MimePart<'static> {
    let text = with_crlf(body);
    let charset = if text.is_ascii() { "us-ascii" } else { "utf-8" };
    let content_type = ContentType::new("text/plain").attribute("charset", charset);
    let goes_as_it_is = text.is_ascii() && text.lines().all(|line| line.len() <= LINE_LIMIT);
    let part = MimePart::new(content_type, BodyPart::Text(text.into()));
    // By default mail-builder would encode every `=`, and people could not read
    // the source of a reply.
    if goes_as_it_is {
        part.transfer_encoding("7bit")
    } else {
        part
    }
}

/// Always base64, so that no relay's change of blanks or line ends breaks a file's MAC.
fn file_part(attachment: &ReplyAttachment) -> MimePart<'static> {
    let name = safe_file_name(&attachment.name);
    let content_type = ContentType::new("text/plain")
        .attribute("charset", "us-ascii")
        .attribute("name", name.clone());
    let encoded = base64::MIME.encode(&attachment.content);
    MimePart::new(content_type, BodyPart::Text(encoded.into()))
        .attachment(name)
        .transfer_encoding("base64")
}

/// A boundary that depends only on the reply. `=_` occurs in no
/// quoted-printable or base64 text, and the plain text is searched for the
/// boundary.
fn boundary(message_id: &str, body: &str) -> String {
    let id = message_id.split('@').next().unwrap_or_default();
    let mut boundary = "=_".to_owned();
    boundary.extend(id.chars().filter(char::is_ascii_alphanumeric).take(50));
    while body.contains(&boundary) && boundary.len() < 70 {
        boundary.push('x');
    }
    boundary
}

/// The text with CRLF line ends, one at its end, and with no control character
/// except HTAB.
fn with_crlf(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    for line in text.lines() {
        let line = line.trim_end_matches(['\r', ' ', '\t']);
        match line.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            // Nearly every line, and each help text is long.
            true => out.push_str(line),
            false => out.extend(line.chars().map(|c| match c {
                '\t' => c,
                c if c.is_control() => ' ',
                c => c,
            })),
        }
        out.push_str("\r\n");
    }
    out
}

/// The name with only those characters that file systems and headers accept,
/// and with `.txt` at its end (8.2).
fn safe_file_name(name: &str) -> String {
    let stem = name.strip_suffix(".txt").unwrap_or(name);
    let mut safe: String = stem
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => c,
            _ => '_',
        })
        .take(100)
        .collect();
    if safe.is_empty() {
        safe.push_str("attachment");
    }
    safe.push_str(".txt");
    safe
}

#[cfg(test)]
mod tests;
