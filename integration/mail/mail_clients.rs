//! Mail clients and gateways between them change a request's text. The same key
//! load file is issued all the same.

use crate::harness::{Draft, Layout, Module, SoftwareModule};

/// A way of mail clients, and what it makes of a request's text.
type Client = (&'static str, fn(&str) -> Draft);

const CLIENTS: &[Client] = &[
    ("clean", plain),
    ("rewrapped at 60 columns", |text| {
        plain(&rewrapped(text, 60))
    }),
    ("rewrapped at 72 columns", |text| {
        plain(&rewrapped(text, 72))
    }),
    ("rewrapped at 76 columns", |text| {
        plain(&rewrapped(text, 76))
    }),
    ("unwrapped", |text| plain(&rewrapped(text, 900))),
    ("quoted-printable", |text| {
        encoded(
            "text/plain; charset=us-ascii",
            "quoted-printable",
            quoted_printable(text.as_bytes()),
        )
    }),
    ("base64 with CRLF", |text| {
        encoded(
            "text/plain; charset=utf-8",
            "base64",
            base64(text.replace('\n', "\r\n").as_bytes()),
        )
    }),
    ("base64 with LF", |text| {
        encoded(
            "text/plain; charset=utf-8",
            "base64",
            base64(text.as_bytes()),
        )
    }),
    ("UTF-16", |text| {
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        encoded("text/plain; charset=utf-16le", "base64", base64(&utf16))
    }),
    ("a charset without ASCII on 7-bit text", |text| {
        encoded("text/plain; charset=utf-16", "7bit", with_crlf(text))
    }),
    ("a charset that nobody decodes", |text| {
        encoded("text/plain; charset=iso-2022-kr", "7bit", with_crlf(text))
    }),
    ("another one", |text| {
        encoded("text/plain; charset=hz-gb-2312", "7bit", with_crlf(text))
    }),
    ("a stray quote in the transfer encoding", |text| {
        encoded("text/plain; charset=utf-8", "8bit\"", with_crlf(text))
    }),
    ("a charset for a transfer encoding", |text| {
        encoded("text/plain", "utf-8", with_crlf(text))
    }),
    ("a stray quote behind base64", |text| {
        encoded("text/plain", "base64\"", base64(text.as_bytes()))
    }),
    ("flowed", |text| {
        encoded("text/plain; format=flowed", "7bit", flowed(text))
    }),
    ("flowed with DelSp", |text| {
        encoded("text/plain; format=flowed; delsp=yes", "7bit", flowed(text))
    }),
    ("NBSP in UTF-8", |text| {
        encoded(
            "text/plain; charset=utf-8",
            "8bit",
            text.replace('\n', "\u{a0}\r\n").into_bytes(),
        )
    }),
    ("NBSP in Latin 1, quoted-printable", |text| {
        let body = text.replace('=', "=3D").replace('\n', "=A0=A0\r\n");
        encoded(
            "text/plain; charset=iso-8859-1",
            "quoted-printable",
            body.into_bytes(),
        )
    }),
    ("byte order mark", |text| {
        let body = format!("\u{feff}{text}").replace('\n', "\r\n");
        encoded("text/plain; charset=utf-8", "8bit", body.into_bytes())
    }),
    ("trailing blanks and tabs", |text| {
        plain(&text.replace('\n', " \t \n"))
    }),
    ("indented", |text| {
        plain(
            &text
                .lines()
                .map(|line| format!("    {line}\n"))
                .collect::<String>(),
        )
    }),
    ("blank lines between", |text| {
        plain(&text.replace('\n', "\n\n"))
    }),
    ("greeting, signature and disclaimer", |text| {
        plain(&format!(
            "Dear KMC,\n\nplease find our request below.\n\n{text}\nRegards,\nUser\n\n-- \nA. Vendor\n\
             +27 11 555 0100\n\n________________________________\n\
             This e-mail is confidential - if you are not the intended recipient, delete it.\n"
        ))
    }),
    ("other dashes", |text| plain(&text.replace("-----", "--"))),
    ("no dashes", |text| plain(&text.replace("-----", ""))),
    ("text and HTML", |text| {
        let body = format!(
            "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}\r\n\
             --b\r\nContent-Type: text/html\r\n\r\n<p>{text}</p>\r\n--b--\r\n",
            text.replace('\n', "\r\n")
        );
        encoded(
            "multipart/alternative; boundary=b",
            "7bit",
            body.into_bytes(),
        )
    }),
    ("everything at once", |text| {
        let body = format!(
            "\u{feff}Hello,\n\n{}\n-- \nA. Vendor\nLegal disclaimer.\n",
            rewrapped(text, 60).replace('\n', "\u{a0}\n\n")
        );
        encoded(
            "text/plain; charset=utf-8",
            "quoted-printable",
            quoted_printable(body.as_bytes()),
        )
    }),
];

#[test]
fn every_client_gets_the_same_key_load_file() {
    let layout = Layout::new();
    layout.set_gateway("throttle", "at_once", i64::try_from(CLIENTS.len()).unwrap());
    let site = layout.start();
    let module = SoftwareModule::new(&site.layout, "90000001");
    let public_key = site.layout.gateway(&["kmc", "public-key"]);
    let mut issued = Vec::new();
    for (number, (name, client)) in CLIENTS.iter().enumerate() {
        // The name stands in the Subject, where it is free text.
        let subject = format!("{{KMS:GetKlfStsEd2}} {number} {name}");
        let reply = site.ask(&client(&module.request(&public_key)).with("Subject", &subject));
        assert_eq!(reply.result()[0], "Success", "{name}: {:?}", reply.result());
        let (_, _, content) = reply.attachment();
        issued.push((name, module.open(&content)));
    }
    let (_, clean) = &issued[0];
    assert_eq!(clean.len(), 2);
    for (name, keys) in &issued {
        assert_eq!(keys, clean, "{name}");
    }
}

#[test]
fn a_quoted_record_is_refused_as_such() {
    let site = Layout::new().start();
    let module = SoftwareModule::new(&site.layout, "90000001");
    let request = module.request(&site.layout.gateway(&["kmc", "public-key"]));
    let quoted: String = request.lines().map(|line| format!("> {line}\n")).collect();
    let reply = site.ask(&Draft::request("{KMS:GetKlfStsEd2} quoted", &quoted));
    assert_eq!(reply.result()[..2], ["Error", "ERecordQuoted"]);
}

#[test]
fn a_request_in_html_alone_is_refused_as_such() {
    let site = Layout::new().start();
    let draft = encoded(
        "text/html",
        "7bit",
        "<p>-----STS:VKLOAD.REQ.1 BEGINS-----</p>\r\n",
    );
    let reply = site.ask(&draft.with("Subject", "{KMS:GetKlfStsEd2} html"));
    assert_eq!(reply.result()[..2], ["Error", "EPlainTextRequired"]);
}

#[test]
fn a_blank_text_beside_html_is_refused_as_html_alone() {
    let site = Layout::new().start();
    let draft = encoded(
        "multipart/alternative; boundary=b",
        "7bit",
        "--b\r\nContent-Type: text/plain\r\n\r\n\r\n\
         --b\r\nContent-Type: text/html\r\n\r\n<p>-----STS:VKLOAD.REQ.1 BEGINS-----</p>\r\n--b--\r\n",
    );
    let reply = site.ask(&draft.with("Subject", "{KMS:GetKlfStsEd2} blank"));
    assert_eq!(reply.result()[..2], ["Error", "EPlainTextRequired"]);
}

#[test]
fn a_message_id_is_referred_to_without_its_comment() {
    let site = Layout::new().start();
    let draft = plain("").with("Message-ID", "<17@vendor.example> (added by relay)");
    let reply = site.ask(&draft.with("Subject", "{KMS:Help} comment"));
    assert_eq!(
        reply.header("In-Reply-To").as_deref(),
        Some("<17@vendor.example>")
    );
}

fn plain(text: &str) -> Draft {
    Draft::request("", text)
}

fn with_crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

fn encoded(content_type: &str, transfer_encoding: &str, body: impl Into<Vec<u8>>) -> Draft {
    plain("")
        .with("MIME-Version", "1.0")
        .with("Content-Type", content_type)
        .with("Content-Transfer-Encoding", transfer_encoding)
        .with_body(body)
}

/// The record between its marker lines, at another width.
fn rewrapped(text: &str, width: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let [begins, record @ .., ends] = lines.as_slice() else {
        unreachable!("two markers and a record: {text:?}");
    };
    let wrapped: Vec<String> = record
        .concat()
        .as_bytes()
        .chunks(width)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    format!("{begins}\n{}\n{ends}\n", wrapped.join("\n"))
}

/// RFC 3676, 4.2: lines that go on end with a blank, and one that begins with a
/// blank or with `>` is stuffed. The record is one paragraph.
fn flowed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len() - 1;
    lines
        .iter()
        .enumerate()
        .map(|(number, line)| match number {
            0 => format!("{line}\r\n"),
            _ if number + 1 >= last => format!("{line}\r\n"),
            _ => format!("{line} \r\n"),
        })
        .collect()
}

/// RFC 2045, 6.7, with a soft line break wherever a line is full.
fn quoted_printable(bytes: &[u8]) -> String {
    let mut encoded = String::new();
    let mut column = 0;
    for &byte in bytes {
        let piece = match byte {
            b'\n' => "\r\n".to_owned(),
            b'!'..=b'<' | b'>'..=b'~' => char::from(byte).to_string(),
            _ => format!("={byte:02X}"),
        };
        if byte != b'\n' && column + piece.len() > 75 {
            encoded.push_str("=\r\n");
            column = 0;
        }
        column = if byte == b'\n' {
            0
        } else {
            column + piece.len()
        };
        encoded.push_str(&piece);
    }
    encoded
}

/// RFC 2045, 6.8.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u8> = bytes
        .chunks(3)
        .flat_map(|group| {
            let bits = group
                .iter()
                .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - group.len()));
            (0..4).map(move |place| match place <= group.len() {
                true => DIGITS[(bits >> (18 - 6 * place)) as usize & 63],
                false => b'=',
            })
        })
        .collect();
    digits
        .chunks(76)
        .map(|line| format!("{}\r\n", String::from_utf8_lossy(line)))
        .collect()
}
