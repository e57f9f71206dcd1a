//! The audit log as an operator reads, verifies and exports it, and as
//! somebody with `sqlite3` may try to falsify it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::harness::{ALICE, BOB, Draft, GATEWAY, Layout, Site, run, until};

/// A loaded machine may need this long to answer a message.
const PATIENCE: Duration = Duration::from_secs(60);

fn list(layout: &Layout, filters: &[&str]) -> Vec<Value> {
    let arguments = [&["audit", "list", "--json"], filters].concat();
    serde_json::from_str(&layout.gateway(&arguments)).expect("an array")
}

/// One field of each entry, `-` where there is none.
fn column(entries: &[Value], field: &str) -> Vec<String> {
    let text = |entry: &Value| entry[field].as_str().unwrap_or("-").to_owned();
    entries.iter().map(text).collect()
}

#[test]
fn every_message_for_the_gateway_is_in_the_log_with_what_became_of_it() {
    let site = Layout::new().start();
    let layout = &site.layout;
    let request = Draft::request("{KMS:Help} for the log", "please\n");
    site.ask(&request);
    let automatic = Draft::request("{KMS:Help}", "away\n").with("Auto-Submitted", "auto-replied");
    let taken = site.smtp().send(BOB, &[GATEWAY], &automatic.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    let elsewhere = Draft::request("{KMS:Help}", "hello\n").with("To", BOB);
    site.smtp().send(ALICE, &[BOB], &elsewhere.to_bytes());
    site.mailbox(BOB).wait_for_count(1);

    let accepted = list(
        layout,
        &["--sender", ALICE, "--service", "help", "--limit", "1"],
    );
    let id = accepted
        .first()
        .and_then(|entry| entry["request_id"].as_str())
        .expect("a request's entry");
    let entries = until("the delivery is audited", PATIENCE, || {
        Some(list(layout, &["--request", id])).filter(|entries| entries.len() == 3)
    });
    assert_eq!(
        column(&entries, "event"),
        ["accepted", "completed", "delivered"]
    );
    let beginning = id.get(..8).expect("hexadecimal digits");
    assert_eq!(list(layout, &["--request", beginning]), entries);
    assert_eq!(column(&entries, "result"), ["-", "Success", "-"]);
    let accepted = entries.first().expect("it");
    for (field, value) in [
        ("reverse_path", format!("<{ALICE}>").as_str()),
        ("helo", "client.vendor.example"),
        ("from", request.header("From")),
        ("subject", "{KMS:Help} for the log"),
        ("message_id", request.header("Message-ID")),
        ("verdict", "request"),
    ] {
        assert_eq!(accepted[field], value, "{accepted}");
    }
    assert!(accepted["size"].as_u64() > Some(100), "{accepted}");
    assert!(
        accepted["client"]
            .as_str()
            .is_some_and(|client| client.starts_with("127."))
    );
    let reply = site.mailbox(ALICE).mails().pop().expect("the reply");
    assert_eq!(
        column(&entries, "reply_message_id").get(1),
        reply.header("Message-ID").as_ref()
    );

    let ignored = list(layout, &["--rule", "auto-submitted", "--result", "ignore"]);
    assert_eq!(column(&ignored, "reverse_path"), [format!("<{BOB}>")]);
    let mail = list(layout, &["--since", "1h", "--sender", "vendor.example"]);
    assert_eq!(mail.len(), 4, "mail for others leaves no entry: {mail:#?}");
    assert!(list(layout, &["--until", "1h"]).is_empty());

    let table = layout.gateway(&["audit", "list"]);
    assert!(
        table.contains("auto-submitted") && table.contains("{KMS:Help} for the log"),
        "{table}"
    );
    exports_have_every_entry(&site);
}

/// Two networks, each with its own count, and copies of a request.
#[test]
fn floods_of_ignored_mail_and_of_copies_are_counted() {
    const MINUTE: Duration = Duration::from_secs(60);
    let layout = Layout::new();
    layout.allow_xclient();
    let site = layout.start();
    let layout = &site.layout;
    let send = |client: &str, times: usize, draft: &dyn Fn(usize) -> Draft| {
        let mut smtp = site.smtp();
        smtp.speak_for(client);
        for number in 0..times {
            let taken = smtp.send(BOB, &[GATEWAY], &draft(number).to_bytes());
            assert_eq!(taken.code, 250, "{taken:?}");
        }
    };
    let hostile = "\x01".repeat(900);
    let automatic = |number: usize| {
        Draft::request(&format!("{{KMS:Help}} {number}{hostile}"), "away\n")
            .with("Auto-Submitted", "auto-replied")
    };
    send("ADDR=192.0.2.1", 20, &automatic);
    send("ADDR=192.0.2.200", 20, &automatic);
    send("ADDR=IPV6:2001:db8::7", 5, &automatic);
    let request = Draft::request("{KMS:Help} again", "please\n");
    send("ADDR=192.0.2.1", 31, &|_| request.clone());
    assert_eq!(layout.audited("auto-submitted"), 45);
    assert_eq!(layout.audited("duplicate"), 30);

    let entries = until("all are in the log", 3 * MINUTE, || {
        let entries = list(layout, &[]);
        let counted = |what: &str| -> u64 {
            let of = |entry: &&Value| entry["rule"] == what || entry["event"] == what;
            let found = entries.iter().filter(of);
            found
                .map(|entry| entry["count"].as_u64().unwrap_or(1))
                .sum()
        };
        let all = (counted("auto-submitted"), counted("duplicate")) == (45, 30);
        all.then(|| entries.clone())
    });
    // A minute may have ended in between.
    let of_rule = |entry: &&Value| entry["rule"] == "auto-submitted";
    let ignored: Vec<&Value> = entries.iter().filter(of_rule).collect();
    assert!(ignored.len() <= 2 * 3, "{ignored:#?}");
    for entry in &ignored {
        assert!(entry.to_string().len() < 3_000, "{entry}");
        let is_counted = entry["count"].is_u64();
        assert_eq!(is_counted, entry["network"].is_string(), "{entry}");
    }
    let counted = |network: &str| -> u64 {
        let of = ignored.iter().filter(|entry| entry["network"] == network);
        of.filter_map(|entry| entry["count"].as_u64()).sum()
    };
    assert!(counted("192.0.2.0/24") >= 38, "{ignored:#?}");
    assert!(counted("2001:db8::/64") >= 3, "{ignored:#?}");
    let of_copies = |entry: &&Value| entry["event"] == "duplicate";
    let copies: Vec<&Value> = entries.iter().filter(of_copies).collect();
    let id = &list(layout, &["--service", "help", "--limit", "1"])[0]["request_id"];
    assert!(copies.len() <= 3, "{copies:#?}");
    assert!(copies.iter().all(|entry| entry["request_id"] == *id));
    let table = layout.gateway(&["audit", "list", "--rule", "auto-submitted"]);
    assert!(table.contains(" times from 192.0.2.0/24: "), "{table}");
    layout.gateway(&["audit", "verify"]);
}

fn exports_have_every_entry(site: &Site) {
    let all = list(&site.layout, &[]);
    let export = |format| {
        site.layout
            .gateway(&["audit", "export", "--format", format])
    };
    let lines: Vec<Value> = export("jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines, all);
    assert_eq!(export("csv").matches("\r\n").count(), all.len() + 1);
}

/// A log that nobody writes to, and a copy to start from again.
struct Log {
    layout: Layout,
    database: PathBuf,
    original: Vec<u8>,
}

impl Log {
    /// The entries that the making of keys has left.
    fn new() -> Self {
        let layout = Layout::new();
        let database = layout.directory().join("gateway/gateway.sqlite3");
        let original = fs::read(&database).expect("the database");
        Self {
            layout,
            database,
            original,
        }
    }

    fn restore(&self) {
        fs::write(&self.database, &self.original).expect("the database");
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", self.database.display()));
        }
    }

    fn verify(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let ended = self
            .layout
            .try_gateway(&[&["audit", "verify"], arguments].concat());
        assert_eq!(ended.stderr, "", "{ended:?}");
        (ended.code, ended.stdout)
    }

    /// The head of a log that holds, as it is printed.
    fn head(&self) -> String {
        let (code, text) = self.verify(&[]);
        assert_eq!(code, Some(0), "{text}");
        let head = text.lines().find_map(|line| line.strip_prefix("head "));
        head.unwrap_or_else(|| panic!("no head in {text}"))
            .to_owned()
    }
}

fn sqlite3(database: &Path, statements: &str) -> String {
    run(Command::new("sqlite3").arg(database).arg(statements), b"")
}

#[test]
fn whatever_is_done_with_sqlite3_shows() {
    let log = Log::new();
    let count: i64 = sqlite3(&log.database, "SELECT count(*) FROM audit")
        .trim()
        .parse()
        .expect("a number");
    assert!(count >= 3, "{count} entries");
    for (edit, first_bad, fault) in [
        (
            "UPDATE audit SET entry = replace(entry, 'kms', 'KMS') WHERE sequence = 2",
            2,
            "changed",
        ),
        ("DELETE FROM audit WHERE sequence = 2", 2, "removed"),
        ("DELETE FROM audit WHERE sequence = 1", 1, "removed"),
        (
            "INSERT INTO audit SELECT 0, link, entry FROM audit WHERE sequence = 1",
            0,
            "put in",
        ),
        (
            "UPDATE audit SET sequence = sequence + 100 WHERE sequence >= 2;
             INSERT INTO audit SELECT 2, link, entry FROM audit WHERE sequence = 1;
             UPDATE audit SET sequence = sequence - 99 WHERE sequence >= 100",
            2,
            "put in",
        ),
        (
            "UPDATE audit SET sequence = -1 WHERE sequence = 1;
             UPDATE audit SET sequence = 1 WHERE sequence = 2;
             UPDATE audit SET sequence = 2 WHERE sequence = -1",
            1,
            "moved",
        ),
        (
            "INSERT INTO audit_anchor SELECT 1, sequence, link, link FROM audit WHERE sequence = 1;
             DELETE FROM audit WHERE sequence = 1",
            1,
            "anchor",
        ),
    ] {
        sqlite3(&log.database, edit);
        let (code, text) = log.verify(&[]);
        assert_eq!(code, Some(1), "{edit}: {text}");
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.contains(&format!("at entry {first_bad}:")),
            "{edit}: {text}"
        );
        assert!(first.contains(fault), "{edit}: {text}");
        log.restore();
    }
    log.head();
}

#[test]
fn a_cut_tail_and_an_older_copy_show_against_a_head_kept_elsewhere() {
    let log = Log::new();
    let kept = log.head();
    assert_eq!(log.verify(&["--head", &kept]).0, Some(0));
    sqlite3(
        &log.database,
        "DELETE FROM audit WHERE sequence = (SELECT max(sequence) FROM audit)",
    );
    let (code, text) = log.verify(&[]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("Not shown") && text.contains("--head"),
        "{text}"
    );
    let (code, text) = log.verify(&["--head", &kept]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("cut or replaced"), "{text}");
    let ended = log
        .layout
        .try_gateway(&["audit", "verify", "--head", "nonsense"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

#[test]
fn retention_cuts_the_old_end_and_the_rest_still_verifies() {
    let log = Log::new();
    let kept = log.head();
    log.layout.set_gateway("audit", "keep", "0s");
    let refused = log.layout.try_gateway(&["serve"]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("audit.keep_less_than_30_days"),
        "{refused:?}"
    );
    log.layout
        .set_gateway("audit", "keep_less_than_30_days", true);
    let gateway = log.layout.start_gateway();
    until("the log is cut", PATIENCE, || {
        (column(&list(&log.layout, &[]), "event") == ["pruned"]).then_some(())
    });
    let head = log.head();
    gateway.wait_for_log(&format!("head={kept}"));
    let (code, text) = log.verify(&["--head", &kept]);
    // The head that was kept is the very anchor, so it still shows all.
    assert_eq!(code, Some(0), "{text}");
    let older = kept.replacen(|c: char| c.is_ascii_digit(), "1", 1);
    let (code, text) = log.verify(&["--head", &older]);
    assert_eq!(code, Some(1), "{text}");
    assert!(gateway.stop().success());
    assert_eq!(log.head(), head, "nothing is written at the end");
}

#[test]
fn without_a_database_there_is_nothing_to_read_and_none_is_made() {
    let layout = Layout::without_keys();
    let ended = layout.try_gateway(&["audit", "list"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("does not exist"), "{ended:?}");
    assert!(!layout.directory().join("gateway/gateway.sqlite3").exists());
}
