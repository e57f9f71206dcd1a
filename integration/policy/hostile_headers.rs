//! Hostile header fields: nothing in them acts in replies, logs, explanations, the
//! audit log or its exports, and no field is too large to judge.

use std::{fs, process::Command};

use serde_json::Value;

use crate::harness::{ALICE, Draft, GATEWAY, Layout, run};

/// Sets the Subject of a spreadsheet's formula, ends lines, moves the cursor,
/// turns the writing around.
const HOSTILE: &str =
    "=?utf-8?Q?{KMS:Help}_=0D=0ABcc:_x=40y.example=09=1B[31m=E2=80=AEgpj=C2=9B1m=E2=80=A8?=";

/// Controls but the line ends and the HTAB of the format itself, and what
/// changes the direction of writing.
fn acts(c: char) -> bool {
    (c.is_control() && !matches!(c, '\r' | '\n' | '\t'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    assert!(!text.chars().any(acts), "{what}: {text:?}");
}

fn hostile() -> Draft {
    Draft::request(HOSTILE, "please\n")
        .with(
            "From",
            &format!("=?utf-8?Q?=1B=5B2J=E2=80=AE=0D=0AX-Evil=3A_1?= <{ALICE}>"),
        )
        .with("Message-ID", "<=cmd|'/c calc'!A1\x1b[31m\t@vendor.example>")
}

#[test]
fn nothing_in_a_header_acts_where_it_is_shown() {
    let site = Layout::new().start();
    let accepted = site.smtp().send(ALICE, &[GATEWAY], &hostile().to_bytes());
    assert_eq!(accepted.code, 250, "{accepted:?}");
    // A reverse path that a spreadsheet would evaluate, and a rule that quotes.
    let formula = Draft::request("=1+1 \x1b[31m", "x\n").with("Message-ID", "@SUM(A1)");
    let accepted = site.smtp().send(ALICE, &[GATEWAY], &formula.to_bytes());
    assert_eq!(accepted.code, 250, "{accepted:?}");

    let reply = site.mailbox(ALICE).wait_for_count(1).remove(0);
    let raw = String::from_utf8(reply.raw().to_vec()).expect("a reply in UTF-8");
    assert_clean("the reply", &raw);
    for field in ["Bcc", "X-Evil"] {
        assert_eq!(reply.header(field), None, "{raw}");
    }
    assert!(
        reply
            .header("Subject")
            .expect("a Subject")
            .starts_with("Auto: ")
    );

    let gateway = |arguments: &[&str]| site.layout.gateway(arguments);
    for arguments in [
        &["audit", "list"][..],
        &["audit", "list", "--json"],
        &["audit", "export", "--format", "jsonl"],
        &["audit", "export", "--format", "csv"],
    ] {
        let text = gateway(arguments);
        assert_clean(&arguments.join(" "), &text);
        assert!(text.contains("=1+1"), "{text}");
    }
    assert_clean("the log", &site.gateway.as_ref().expect("it runs").log());
    for line in gateway(&["audit", "export", "--format", "csv"]).lines() {
        let cells = line.trim_matches('"').split("\",\"");
        for cell in cells {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t']), "{line}");
        }
    }
}

#[test]
fn explanations_show_and_do_nothing() {
    let layout = Layout::without_keys();
    for draft in [
        hostile(),
        hostile().with("Subject", "\x1b[31m=?utf-8?Q?=E2=80=AE?="),
    ] {
        for arguments in [&["explain", "-"][..], &["explain", "--json", "-"]] {
            let text = run(
                &mut crate::harness::kms_gateway(&layout.config(), arguments),
                &draft.to_bytes(),
            );
            assert_clean(&arguments.join(" "), &text);
        }
    }
}

/// The memory that may be held beyond the largest message: the program itself.
const CONSTANT_KIB: u64 = 48 * 1024;

/// Verdict and rule of a message, in bounded time and memory.
fn explain(layout: &Layout, message: &[u8]) -> (String, String) {
    // Reports the most memory that its child had, in KiB.
    const MEASURE: &str = "import resource, subprocess, sys\n\
        ended = subprocess.run(sys.argv[2:])\n\
        open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n\
        sys.exit(ended.returncode)";
    let (file, memory) = (
        layout.directory().join("message.eml"),
        layout.directory().join("memory"),
    );
    fs::write(&file, message).expect("the message");
    let explain = crate::harness::kms_gateway(&layout.config(), &["explain", "--json"]);
    let mut measured = Command::new("python3");
    measured
        .args(["-c", MEASURE])
        .arg(&memory)
        .arg(explain.get_program());
    measured.args(explain.get_args()).arg(&file);
    let json = run(&mut measured, b"");
    let kib: u64 = fs::read_to_string(&memory)
        .expect("it")
        .parse()
        .expect("a number");
    assert!(kib < CONSTANT_KIB, "{kib} KiB for {} bytes", message.len());
    let object: Value = serde_json::from_str(&json).expect("an object");
    let text = |field: &str| object[field].as_str().unwrap_or("-").to_owned();
    (text("verdict"), text("rule"))
}

#[test]
fn nothing_is_too_much_to_be_judged() {
    let layout = Layout::without_keys();
    let request = || Draft::request("{KMS:Help}", "please\n");
    let ignored = |rule: &str| ("ignore".to_owned(), rule.to_owned());

    let many = "X: y\r\n".repeat(10_000) + &String::from_utf8(request().to_bytes()).expect("ASCII");
    assert_eq!(explain(&layout, many.as_bytes()), ignored("malformed"));

    let large = (0..20).fold(request(), |request, number| {
        request.with(&format!("X-Large-{number}"), &"x".repeat(50 * 1024))
    });
    assert_eq!(explain(&layout, &large.to_bytes()), ignored("malformed"));

    // Postfix cuts one field.
    let large = request().with("X-Large", &"x".repeat(1024 * 1024));
    let cut = explain(&layout, &large.to_bytes());
    assert_eq!(cut, ("request".to_owned(), "-".to_owned()));

    // Within the header's limit they are only many.
    let recipients: Vec<String> = (0..5_000)
        .map(|number| format!("r{number}@vendor.example"))
        .collect();
    let to = format!("{GATEWAY}, {}", recipients.join(",\r\n "));
    let crowd = explain(&layout, &request().with("To", &to).to_bytes());
    assert_eq!(crowd, ("request".to_owned(), "-".to_owned()));

    let long = request().with_body("0123456789abcdef\r\n".repeat(50 * 1024 * 1024 / 18));
    assert_eq!(explain(&layout, &long.to_bytes()), ignored("size"));
}

/// Postfix hands a milter at most 60,000 bytes of one field: what stands
/// behind them does not count, and nothing else suffers.
#[test]
fn through_postfix_the_end_of_a_long_field_is_not_seen() {
    let site = Layout::new().start();
    let crowd: Vec<String> = (0..3_000)
        .map(|number| format!("r{number}@vendor.example"))
        .collect();
    let crowd = crowd.join(",\r\n ");
    let first =
        Draft::request("{KMS:Help} first", "please\n").with("To", &format!("{GATEWAY}, {crowd}"));
    let last =
        Draft::request("{KMS:Help} last", "please\n").with("To", &format!("{crowd}, {GATEWAY}"));
    assert!(last.header("To").len() > 60_000);
    for draft in [&last, &first] {
        let accepted = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
        assert_eq!(accepted.code, 250, "{accepted:?}");
    }
    site.mailbox(ALICE).wait_for_reply("{KMS:Help} first");
    let json = site
        .layout
        .gateway(&["audit", "list", "--json", "--rule", "not-in-to"]);
    let ignored: Value = serde_json::from_str(&json).expect("an array");
    assert_eq!(ignored[0]["subject"], "{KMS:Help} last", "{json}");
    assert_eq!(ignored.as_array().map(Vec::len), Some(1), "{json}");
}

#[test]
fn an_mbox_is_explained_message_by_message() {
    let layout = Layout::without_keys();
    let mbox = |drafts: &[Draft]| -> Vec<u8> {
        let one = |draft: &Draft| {
            [
                b"From a@b Tue Nov 24 03:12:00 2026\n".to_vec(),
                draft.to_bytes(),
                b"\n".to_vec(),
            ]
        };
        drafts.iter().flat_map(one).flatten().collect()
    };
    let drafts = [
        Draft::request("{KMS:Help}", "please\n"),
        Draft::request("hello", "x\n"),
        Draft::request("{KMS:Help}", "x\n").with("Auto-Submitted", "auto-replied"),
    ];
    let explained = |input: &[u8]| -> Value {
        let arguments = ["explain", "--json", "-"];
        let json = run(
            &mut crate::harness::kms_gateway(&layout.config(), &arguments),
            input,
        );
        serde_json::from_str(&json).expect("JSON")
    };
    let array = explained(&mbox(&drafts));
    let rules: Vec<&Value> = array
        .as_array()
        .expect("an array")
        .iter()
        .map(|one| &one["rule"])
        .collect();
    assert_eq!(
        rules,
        [
            &Value::Null,
            &Value::from("subject"),
            &Value::from("auto-submitted")
        ]
    );
    assert_eq!(
        explained(&mbox(&drafts[..1])).as_array().map(Vec::len),
        Some(1)
    );
    assert!(explained(&drafts[0].to_bytes()).is_object());

    let shown = run(
        &mut crate::harness::kms_gateway(&layout.config(), &["explain", "-"]),
        &mbox(&drafts),
    );
    let marked: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("> "))
        .collect();
    assert_eq!(marked.len(), 2, "{shown}");
    assert!(
        shown.contains("message 3: {KMS:Help}") && !shown.contains('\x1b'),
        "{shown}"
    );
}
