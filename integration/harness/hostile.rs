//! Messages and packets that no Postfix sends to a milter: beyond all reason, at
//! the wrong time, or garbage. A test sends each and looks at the answer;
//! another lets two hundred peers say all of it at once.

use super::{GATEWAY, packet, request_fields};

/// Every command of the protocol.
pub const COMMANDS: &str = "ABCDEHKLMNOQRTU";

/// How far a session has come when something wrong is said.
pub const STEPS: [&str; 11] = [
    "",
    "O",
    "OC",
    "OCH",
    "OCHM",
    "OCHMR",
    "OCHMRT",
    "OCHMRTL",
    "OCHMRTLN",
    "OCHMRTLNB",
    "OCHMRTLNBE",
];

/// Wrong orders after HELO, and what is answered to them.
pub const WRONG_ORDERS: [(&str, &str); 14] = [
    ("B", ""),
    ("L", ""),
    ("N", ""),
    ("T", ""),
    ("R", ""),
    ("E", ""),
    ("EE", ""),
    ("O", ""),
    ("AA", ""),
    ("MB", ""),
    ("MM", ""),
    ("MRRTL", "ccc"),
    ("MRTE", "cc"),
    ("MRTLNBEE", "ccd"),
];

/// The stages that macros are defined for.
pub const MACRO_STAGES: [char; 7] = ['C', 'H', 'M', 'R', 'T', 'N', 'E'];

/// Bytes that are no UTF-8, controls, what acts in a log.
pub const GARBAGE: &[u8] = b"\xff\xfe\xc3(\xed\xa0\x80\x1b[31m\r\n\x07\x7f\xe2\x80\xae\x01";

/// No string at all, or none that ends, where a command wants strings.
pub const NO_STRINGS: [&[u8]; 4] = [b"", b"no end", b"name\0value without end", GARBAGE];

/// Null and invalid reverse paths.
pub const NO_REVERSE_PATHS: [&[u8]; 5] = [b"\0", b"<>\0", b"\0\0\0", b"<\0>\0", b"<@>\0"];

/// Lengths that no packet may have.
pub const IMPOSSIBLE_LENGTHS: [u32; 3] = [u32::MAX, 1 << 31, 1024 * 1024 + 1];

/// A right packet of each command.
pub fn right(command: char) -> Vec<u8> {
    let payload: &[u8] = match command {
        'O' => &[0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff],
        'C' => b"client.vendor.example\x004\x00\x19127.0.0.1\0",
        'D' => b"R{rcpt_addr}\0gateway@kms.example.org\0",
        'H' => b"client.vendor.example\0",
        'M' => b"<vendor@vendor.example>\0",
        'R' => b"<gateway@kms.example.org>\0",
        'L' => b"Subject\0 {KMS:Help}\0",
        'B' => b"please\r\n",
        'U' => b"WHAT\0",
        _ => b"",
    };
    packet(command, payload)
}

/// The header of a request and `count` other fields.
pub fn many_fields(count: usize) -> Vec<(String, String)> {
    let mut fields = request_fields();
    fields.extend(vec![("X".to_owned(), "y".to_owned()); count]);
    fields
}

/// A field whose packet has a payload of `size` bytes.
pub fn large_field(size: usize, filling: u8) -> Vec<u8> {
    let mut field = b"X-Large\0 ".to_vec();
    field.resize(size - 1, filling);
    field.push(0);
    field
}

/// A To field's value with the gateway behind `count` others.
pub fn crowd(count: usize) -> String {
    let addresses: Vec<String> = (0..count).map(|number| format!("r{number}@v.e")).collect();
    format!("{}, {GATEWAY}", addresses.join(",\n "))
}

/// Others' addresses, with the gateway's in the middle.
pub fn recipients_around_ours(count: usize) -> Vec<String> {
    let mut recipients: Vec<String> = (0..count)
        .map(|number| format!("r{number}@vendor.example"))
        .collect();
    recipients[count / 2] = GATEWAY.to_owned();
    recipients
}

/// The gateway's address with `count` extensions.
pub fn recipients_of_our_own(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("gateway+{number}@kms.example.org"))
        .collect()
}

/// Arguments of RCPT that are half a megabyte long.
pub fn long_recipients(count: usize) -> impl Iterator<Item = Vec<u8>> {
    let long = "x".repeat(500_000);
    (0..count).map(move |number| format!("<{long}{number}@vendor.example>\0").into_bytes())
}

/// A body of fifty megabytes.
pub fn endless_body() -> Vec<u8> {
    let line = b"0123456789abcdef\r\n";
    line.repeat(50 * 1024 * 1024 / line.len())
}

/// Definitions for a stage, well-formed and not.
pub fn macro_garbage(stage: char) -> Vec<Vec<u8>> {
    let after_stage: [&[u8]; 7] = [
        b"",
        b"name without an end",
        b"{odd}\0",
        b"\0\0",
        b"\0\0\0\0\0",
        b"{rcpt_addr}",
        GARBAGE,
    ];
    let mut garbage: Vec<Vec<u8>> = after_stage
        .iter()
        .map(|rest| [&[u8::try_from(stage).expect("one byte")], *rest].concat())
        .collect();
    garbage.push(b"?unknown stage\0x\0".to_vec());
    garbage.push(GARBAGE.to_vec());
    garbage
}

/// Definitions for a stage that are too many, and one that is too long.
pub fn endless_macros(stage: char) -> [Vec<u8>; 2] {
    let many = (0..100_000).map(|number| format!("{number:x}\0\0"));
    let many: String = [stage.to_string()].into_iter().chain(many).collect();
    let mut long = stage.to_string().into_bytes();
    long.resize(1024 * 1024 - 1, b'x');
    [many.into_bytes(), long]
}

/// `before` and `after` with garbage between them.
pub fn garbage_between(before: &[u8], after: &[u8]) -> Vec<u8> {
    [before, GARBAGE, after].concat()
}

/// A whole session with garbage in each packet, from CONNECT to the body.
pub fn session_of_garbage() -> [(char, Vec<u8>); 19] {
    let garbage = garbage_between;
    [
        ('D', garbage(b"C{daemon_name}\0", b"\0")),
        ('C', garbage(b"", b"\x004\x00\x19127.0.0.1\0")),
        ('H', garbage(b"", b"\0")),
        ('D', garbage(b"M{auth_authen}\0", b"\0")),
        ('M', garbage(b"<vendor", b"@vendor.example>\0")),
        ('D', garbage(b"R{rcpt_addr}\0", b"@vendor.example\0")),
        ('R', garbage(b"<", b"@vendor.example>\0")),
        ('D', format!("R{{rcpt_addr}}\0{GATEWAY}\0").into_bytes()),
        ('R', format!("<{GATEWAY}>\0").into_bytes()),
        ('T', Vec::new()),
        ('L', garbage(b"X-", b"\0 value\0")),
        ('L', garbage(b"Subject\0 {KMS:Help} ", b"\0")),
        ('L', garbage(b"Message-ID\0 <", b"@vendor.example>\0")),
        ('L', garbage(b"From\0 \"", b"\" <vendor@vendor.example>\0")),
        ('L', format!("To\0 {GATEWAY}\0").into_bytes()),
        ('N', Vec::new()),
        ('B', garbage(b"", b"\0")),
        ('D', garbage(b"Ei\0", b"\0")),
        ('E', Vec::new()),
    ]
}

/// A field name that would end its field, a value that would begin another.
pub fn fields_that_break_out() -> Vec<(String, String)> {
    let mut fields = request_fields();
    for (name, value) in [
        ("X\r\nReply-To", "evil@vendor.example"),
        ("X", "y\r\nReply-To: evil@vendor.example\r\n\r\n"),
        ("\u{1b}[31m\u{7}:", "\u{202e}"),
    ] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    fields
}

/// The header and body of a text that grows when it is decoded, as large as it
/// may be.
pub fn text_that_grows() -> (Vec<(String, String)>, Vec<u8>) {
    let mut fields = request_fields();
    let content_type = "text/plain; charset=iso-8859-1";
    fields.push(("Content-Type".to_owned(), content_type.to_owned()));
    let line = [&[0xe9; 70][..], b"\r\n"].concat();
    (fields, line.repeat(2 * 1024 * 1024 / line.len() - 1024))
}
