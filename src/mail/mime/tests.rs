//! Structures of messages, well-formed and not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::mail::Message;

fn message(text: &str) -> Message {
    Message::from_bytes(text.replace('\n', "\r\n").as_bytes())
}

fn text(source: &str) -> Option<String> {
    let text = message(source).structure().plain_text()?;
    Some(text.replace("\r\n", "\n"))
}

fn plain(source: &str) -> String {
    text(source).unwrap()
}

/// A message of one part with these fields.
fn single(fields: &str, body: &str) -> String {
    plain(&format!("{fields}\n\n{body}"))
}

fn types(message: &Message) -> Vec<String> {
    let parts = message.structure().parts;
    parts
        .iter()
        .map(|part| part.content_type.essence())
        .collect()
}

const MIXED: &str = "Content-Type: multipart/mixed; boundary=\"b\"\n\n";
const ALTERNATIVE: &str = "Content-Type: multipart/alternative; boundary=\"a\"\n\n";

#[test]
fn no_content_type_is_plain_text() {
    assert_eq!(plain("Subject: x\n\nhello\n"), "hello\n");
    assert_eq!(plain("Subject: x\n"), "");
    assert_eq!(single("Content-Type: text", "hello"), "hello");
    assert_eq!(single("Content-Type: ;;;", "hello"), "hello");
}

#[test]
fn charsets() {
    let source = b"Content-Type: text/plain; charset=ISO-8859-15\n\n\xa4\xa0x";
    let message = Message::from_bytes(source);
    assert_eq!(message.structure().plain_text().unwrap(), "€\u{a0}x");
    assert_eq!(
        single(
            "Content-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64",
            "aABpAA=="
        ),
        "hi"
    );
    assert_eq!(
        single("Content-Type: text/plain; charset=\"UTF-8\"", "é"),
        "é"
    );
}

#[test]
fn a_charset_not_known_or_not_true_is_guessed() {
    for charset in ["x-nobody", "us-ascii"] {
        let fields = format!("Content-Type: text/plain; charset={charset}");
        assert_eq!(single(&fields, "é"), "é");
        let mut source = format!("{fields}\n\n").into_bytes();
        source.extend_from_slice(b"VKLOAD\xa0X");
        let message = Message::from_bytes(&source);
        assert_eq!(message.structure().plain_text().unwrap(), "VKLOAD\u{a0}X");
    }
}

#[test]
fn quoted_printable_with_its_flaws() {
    let fields =
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: Quoted-Printable";
    assert_eq!(
        single(fields, "VKLOAD=\n.REQ =C3=A9=3D=  \n=0Aend"),
        "VKLOAD.REQ é=\nend"
    );
    assert_eq!(
        single(fields, "a=b VK=\nLOAD =zz =e9"),
        "a=b VKLOAD =zz \u{fffd}"
    );
}

#[test]
fn a_transfer_encoding_that_is_none_leaves_the_text() {
    for encoding in ["8bit\"", "utf-8", "8-bit", "binary;", "\"\"", "text/plain"] {
        let fields = format!("Content-Transfer-Encoding: {encoding}");
        assert_eq!(single(&fields, "STS=3D\n"), "STS=3D\n", "{encoding}");
    }
    let fields = "Content-Transfer-Encoding: \"quoted-printable\"; x";
    assert_eq!(single(fields, "STS=3D\n"), "STS=\n");
    let foreign = "Content-Transfer-Encoding: x-uuencode\n\nbegin 644 a\n";
    assert_eq!(text(foreign), None);
}

#[test]
fn a_blank_text_beside_the_text_in_another_form_is_none() {
    let html = "--a\nContent-Type: text/html\n\n<p>STS</p>\n--a--\n";
    for blank in ["", "\n", " \t\n", "\u{a0}\u{feff}\n\n"] {
        let source = format!("{ALTERNATIVE}--a\nContent-Type: text/plain\n\n{blank}\n{html}");
        assert_eq!(text(&source), None, "{blank:?}");
    }
    let source = format!("{ALTERNATIVE}--a\n\nSTS\n{html}");
    assert_eq!(plain(&source), "STS");
}

#[test]
fn a_file_that_wraps_the_message_is_no_plain_text() {
    let disposition = "Content-Disposition: attachment; filename=";
    for wrapper in [
        "Content-Type: application/ms-tnef; name=winmail.dat",
        "Content-Type: application/octet-stream; name=WINMAIL.DAT",
        "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m",
    ] {
        assert_eq!(text(&format!("{wrapper}\n\nx")), None, "{wrapper}");
        let file = format!("{wrapper}\n{disposition}winmail.dat");
        assert_eq!(text(&format!("{file}\n\nx")), None, "{wrapper}");
        let beside = |text: &str| format!("{MIXED}--b\n\n{text}\n--b\n{file}\n\nx\n--b--\n");
        assert_eq!(text(&beside(" ")), None, "{wrapper}");
        assert_eq!(plain(&beside("STS")), "STS", "{wrapper}");
    }
    let other = format!("Content-Type: image/png\n{disposition}a.png\n\nx");
    assert_eq!(plain(&other), "");
}

#[test]
fn base64_with_its_flaws() {
    let fields = "Content-Transfer-Encoding: base64";
    assert_eq!(single(fields, "aGVsbG8g\nd29ybGQ="), "hello world");
    assert_eq!(single(fields, "aGVs*bG8gd29y\n\nbGQ"), "hello world");
    assert_eq!(
        single(fields, "aGVsbG8gd29ybGQ=\n-- \nfooter of the list"),
        "hello world"
    );
}

#[test]
fn an_encoding_not_known_hides_the_text() {
    assert_eq!(text("Content-Transfer-Encoding: x-uuencode\n\nhello"), None);
    assert_eq!(
        single("Content-Transfer-Encoding: 8BIT (yes)", "hello"),
        "hello"
    );
}

#[test]
fn format_flowed() {
    let flowed = "Content-Type: text/plain; format=Flowed";
    assert_eq!(single(flowed, "one \ntwo\n From\n"), "one two\nFrom\n");
    assert_eq!(
        single(&format!("{flowed}; DelSp=yes"), "VKLO \nAD\n"),
        "VKLOAD\n"
    );
    assert_eq!(
        single(
            &format!("{flowed}\nContent-Transfer-Encoding: quoted-printable"),
            "one =\n\ntwo\n"
        ),
        "one two\n"
    );
}

#[test]
fn html_alone_is_no_plain_text() {
    assert_eq!(text("Content-Type: text/html\n\n<p>x"), None);
    assert_eq!(
        text(&format!(
            "{ALTERNATIVE}--a\nContent-Type: text/html\n\n<p>x\n--a--\n"
        )),
        None
    );
}

#[test]
fn an_alternative_gives_its_first_plain_text() {
    let source = format!(
        "{ALTERNATIVE}--a\nContent-Type: text/plain\n\none\n--a\nContent-Type: text/html\n\n<p>\n--a\n\ntwo\n--a--\n"
    );
    assert_eq!(plain(&source), "one");
    assert_eq!(message(&source).structure().attachments().count(), 0);
}

#[test]
fn a_mixed_message_with_disclaimer_and_files() {
    let source = format!(
        "{MIXED}preamble\n--b\n{ALTERNATIVE}--a\n\nrequest\n--a\nContent-Type: text/html\n\n<p>\n--a--\n\
         --b\nContent-Type: text/plain; name=klf.txt\nContent-Disposition: attachment\n\nfile\n\
         --b\nContent-Type: message/rfc822\n\nSubject: x\n\nforwarded\n\
         --b\n\ndisclaimer\n--b--\nepilogue\n"
    );
    assert_eq!(plain(&source), "request\ndisclaimer");
    let message = message(&source);
    assert_eq!(
        types(&message),
        [
            "text/plain",
            "text/html",
            "text/plain",
            "message/rfc822",
            "text/plain"
        ]
    );
    let structure = message.structure();
    let files: Vec<&Part<'_>> = structure.attachments().collect();
    assert_eq!(files.len(), 2);
    assert_eq!(files[0].name.as_deref(), Some("klf.txt"));
    assert_eq!(&*files[0].content(), b"file");
    assert!(files[0].is_declared_attachment() && !files[1].is_declared_attachment());
    assert_eq!(files[1].size(), "Subject: x\r\n\r\nforwarded".len());
}

#[test]
fn only_files_is_empty_text() {
    let source = format!("{MIXED}--b\nContent-Disposition: attachment\n\nx\n--b--\n");
    assert_eq!(plain(&source), "");
}

#[test]
fn text_with_a_file_name_is_text_where_there_is_no_other() {
    let named = "--b\nContent-Type: text/plain; name=request.txt\n\nrequest\n";
    let source = format!("{MIXED}{named}--b--\n");
    assert_eq!(plain(&source), "request");
    assert_eq!(message(&source).structure().attachments().count(), 0);
    let source = format!("{MIXED}--b\n\nhello\n{named}--b--\n");
    assert_eq!(plain(&source), "hello");
    assert_eq!(message(&source).structure().attachments().count(), 1);
}

#[test]
fn names_in_every_spelling() {
    for (field, name) in [
        ("attachment; filename=a.txt", "a.txt"),
        ("attachment; filename=\"a b.txt\"", "a b.txt"),
        ("attachment; filename*=utf-8''%C3%A9.txt", "é.txt"),
        ("attachment; filename*0=a; filename*1=b.txt", "ab.txt"),
        ("attachment; filename=\"=?utf-8?q?=C3=A9.txt?=\"", "é.txt"),
    ] {
        let message = message(&format!("Content-Disposition: {field}\n\nx"));
        assert_eq!(
            message.structure().parts[0].name.as_deref(),
            Some(name),
            "{field}"
        );
    }
}

#[test]
fn dispositions() {
    let disposition = |value: &str| {
        message(&format!("Content-Disposition: {value}\n\nx"))
            .structure()
            .parts[0]
            .disposition
    };
    assert_eq!(disposition("INLINE; filename=x"), Some(Disposition::Inline));
    assert_eq!(disposition("Attachment"), Some(Disposition::Attachment));
    assert_eq!(disposition("form-data"), Some(Disposition::Attachment));
    assert_eq!(disposition(""), None);
}

#[test]
fn delimiters_are_whole_lines() {
    let source =
        format!("{MIXED}--b\n\none --b two\n--bc\n--b--x\n --b\n--b  \n\nthree\n--b --\n--b--");
    assert_eq!(
        plain(&source),
        "one --b two\n--bc\n--b--x\n --b\nthree\n--b --"
    );
}

#[test]
fn an_inner_multipart_that_does_not_end_ends_with_the_outer() {
    let source = format!("{MIXED}--b\n{ALTERNATIVE}--a\n\none\n--b\n\ntwo\n--b--\n");
    assert_eq!(plain(&source), "one\ntwo");
}

#[test]
fn a_multipart_that_cannot_be_split_is_no_text() {
    for source in [
        "Content-Type: multipart/mixed\n\nx",
        "Content-Type: multipart/mixed; boundary=\"\"\n\n--\n\nx\n",
        "Content-Type: multipart/mixed; boundary=b\n\nno delimiter\n",
    ] {
        assert_eq!(text(source), None, "{source}");
    }
    assert_eq!(plain(&format!("{MIXED}--b--\n")), "");
}

#[test]
fn a_digest_is_of_messages() {
    let source = "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\ny\n--b--\n";
    assert_eq!(types(&message(source)), ["message/rfc822"]);
    assert_eq!(text(source), None);
}

#[test]
fn the_type_of_the_whole_is_told() {
    let message = message(
        "Content-Type: Multipart/Report; report-type=Delivery-Status; boundary=b\n\n--b\n\nx",
    );
    let content_type = message.structure().content_type;
    assert!(content_type.is("multipart", "report"));
    assert_eq!(
        content_type.parameter("report-type"),
        Some("Delivery-Status")
    );
}

#[test]
fn deep_nesting_ends_in_a_file() {
    let mut source = String::new();
    for level in 0..20_000 {
        source.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n"
        ));
    }
    assert_eq!(types(&message(&source)), ["multipart/mixed"]);
    assert_eq!(text(&source), None);
    let nested = "Content-Type: message/rfc822\n\n".repeat(50_000);
    assert_eq!(types(&message(&nested)), ["message/rfc822"]);
}

#[test]
fn many_parts_end_in_a_file() {
    let one = "--b\nContent-Type: multipart/mixed; boundary=nowhere\n\nx\n";
    let source = format!("{MIXED}{}", one.repeat(20_000));
    let message = message(&source);
    let parts = message.structure().parts;
    assert_eq!(parts.len(), MAX_PARTS + 1);
    assert!(parts.last().unwrap().size() > 1_000_000);
}

proptest! {
    #[test]
    fn any_body_is_survived(
        kind in "text/plain|text/html|multipart/[a-z]{1,9}|message/rfc822|\\PC{0,20}",
        encoding in "base64|quoted-printable|7bit|\\PC{0,8}",
        charset in "utf-(7|8|16|16le)|iso-2022-(jp|kr)|gb18030|shift_jis|koi8-r|euc-kr|big5|[a-z0-9-]{0,10}",
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut source = format!(
            "Content-Type: {kind}; charset={charset}; boundary=b; format=flowed\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n"
        ).into_bytes();
        source.extend_from_slice(&body);
        let message = Message::from_bytes(&source);
        let structure = message.structure();
        let _ = structure.plain_text();
        for part in &structure.parts {
            let _ = part.content();
        }
    }

    #[test]
    fn any_arrangement_of_parts_is_survived(
        lines in prop::collection::vec(
            "--[ab](--)? ?|Content-Type: multipart/(mixed|alternative); boundary=[ab]|Content-Type: text/(plain|html)\
             |Content-Disposition: (inline|attachment)|[a-z ]{0,8}", 0..60),
        ending in "\r?\n",
    ) {
        let source = format!("{MIXED}{}", lines.join(&ending));
        let message = Message::from_bytes(source.as_bytes());
        let structure = message.structure();
        let octets: usize = structure.parts.iter().map(Part::size).sum();
        prop_assert!(octets <= source.len());
        let _ = structure.plain_text();
    }

    /// The most hostile field values for mail-parser.
    #[test]
    fn any_parameters_are_survived(value in "[a-z/;=\"'*()\\\\ \t%0-9<>é]{0,60}") {
        let source = format!("Content-Type: {value}\r\nContent-Disposition: {value}\r\n\r\nx");
        let _ = Message::from_bytes(source.as_bytes()).structure().plain_text();
    }
}
