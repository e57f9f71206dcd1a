//! The log as people, machines and the journal read it: one line for each
//! decision, by Postfix's own name for the message, and none that a sender wrote.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::harness::{
    ALICE, BOB, CAROL, Draft, GATEWAY, Layout, Pages, Rbldnsd, Reply, Site, until,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// 192.0.2.0/24 is listed.
const LISTED: &str = "127.0.0.2\n192.0.2.0/24\n";

fn layout(format: &str) -> Layout {
    let layout = Layout::new();
    layout.set_gateway("log", "format", format);
    layout.set_gateway("throttle", "at_once", 1);
    layout.set_gateway("throttle", "every", "1h");
    layout.set_gateway("dnsbl", "zones", vec![toml::Value::from("bl.example")]);
    layout.set_gateway("dnsbl", "resolver", layout.port(5300).to_string());
    layout.allow_xclient();
    layout
}

fn serve_zone(layout: &Layout) -> Rbldnsd {
    let zones = [("bl.example", "ip4trie", LISTED)];
    Rbldnsd::start(layout.directory(), layout.port(5300), 3600, &zones)
}

fn log(site: &Site) -> String {
    site.gateway.as_ref().expect("it runs").log()
}

/// The name that Postfix gave to a message that it took.
fn queue_id(reply: &Reply) -> String {
    assert_eq!(reply.code, 250, "{reply:?}");
    let (_, id) = reply.text.split_once("queued as ").expect("a queue id");
    id.trim().to_owned()
}

fn send(site: &Site, from: &str, subject: &str) -> String {
    let draft = Draft::request(subject, "SECRET-BODY\n").with("From", from);
    queue_id(&site.smtp().send(from, &[GATEWAY], &draft.to_bytes()))
}

/// A message of each kind: request, deferred, ignored, rejected. The queue ids
/// of all, in that order; Postfix names the last in its log alone.
fn one_of_each(site: &Site) -> [String; 4] {
    let request = send(site, ALICE, "{KMS:Help} 1");
    let deferred = send(site, ALICE, "{KMS:Help} 2");
    let ignored = send(site, BOB, "hello");
    let mut listed = site.smtp();
    listed.speak_for("ADDR=192.0.2.9");
    let draft = Draft::request("{KMS:Help} 3", "SECRET-BODY\n").with("From", CAROL);
    assert_eq!(listed.send(CAROL, &[GATEWAY], &draft.to_bytes()).code, 554);
    // Postfix answers first and logs then.
    let refusal = until("Postfix's line of the refusal", PATIENCE, || {
        let log = site.postfix.log();
        let mut lines = log.lines();
        let found = lines.find(|line| line.contains("milter-reject: RCPT"));
        found.map(str::to_owned)
    });
    let (_, rest) = refusal.split_once("]: ").expect("a process id");
    let (rejected, _) = rest.split_once(": ").expect("a queue id");
    [request, deferred, ignored, rejected.to_owned()]
}

/// Waits until all decisions are logged, and that the reply to the request and
/// the notice were handed over.
fn wait_for_lines(site: &Site) {
    until("all lines", PATIENCE, || {
        let log = log(site);
        let deliveries = log.matches(" handed to Postfix").count();
        let decisions = log.matches("verdict").count();
        (deliveries == 2 && decisions == 4).then_some(())
    });
}

#[test]
fn each_message_has_one_decision_and_its_story_by_its_queue_id() {
    let layout = layout("text");
    let _server = serve_zone(&layout);
    let site = layout.start();
    let ids = one_of_each(&site);
    wait_for_lines(&site);
    let log = log(&site);
    let decisions = [
        "verdict=request service={KMS:Help} request=",
        "verdict=defer rule=flood reason=\"its sender is over an allowance: done at ",
        "verdict=ignore rule=subject reason=",
        "verdict=reject rule=dnsbl reason=",
    ];
    let senders = [ALICE, ALICE, BOB, CAROL];
    for ((id, decision), sender) in ids.iter().zip(decisions).zip(senders) {
        let judged = format!("INFO  judged queue_id={id} ");
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(id) && line.contains("judged"))
            .collect();
        assert_eq!(lines.len(), 1, "{id}: {log}");
        let (time, said) = lines[0].split_once(' ').expect("a blank");
        time.parse::<Timestamp>().expect("a time");
        let said = said.strip_prefix(&judged).expect(&judged);
        assert!(said.starts_with(decision), "{said}");
        let reverse_path = format!("reverse_path=<{sender}>");
        assert!(said.ends_with(&reverse_path), "{said}");
        assert!(site.postfix.log().contains(&format!("{id}: ")), "{id}");
    }
    assert_eq!(log.matches(" judged ").count(), ids.len(), "{log}");

    // The request's own story: its result, and the reply by Postfix's name for it.
    let of_request = |what: &str| {
        let mut lines = log
            .lines()
            .filter(|line| line.contains(&ids[0]) && line.contains(what));
        let line = lines.next().expect(what);
        assert_eq!(lines.next(), None, "{log}");
        line
    };
    assert!(of_request("answered").ends_with(" result=Success"));
    let handed = of_request("reply handed to Postfix");
    let (_, reply) = handed.split_once("reply_queue_id=").expect(handed);
    assert!(handed.contains(&format!(" target={ALICE} ")), "{handed}");
    let delivered = format!("{reply}: to=<{ALICE}>");
    until("Postfix logs the reply's delivery", PATIENCE, || {
        site.postfix.log().contains(&delivered).then_some(())
    });
    assert!(
        !log.contains("SECRET-BODY") && !log.contains('\x1b'),
        "{log}"
    );
}

#[test]
fn json_is_one_flat_object_a_line() {
    let layout = layout("json");
    let _server = serve_zone(&layout);
    let site = layout.start();
    let ids = one_of_each(&site);
    wait_for_lines(&site);
    let log = log(&site);
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    for line in &lines {
        let time = line["timestamp"].as_str().expect("a time");
        time.parse::<Timestamp>().expect("a time");
        let level = line["level"].as_str().expect("a level");
        assert!(["ERROR", "WARN", "INFO"].contains(&level), "{line}");
        assert!(line["message"].is_string(), "{line}");
        let fields = line.as_object().expect("an object");
        assert!(
            !fields
                .values()
                .any(|value| value.is_object() || value.is_array())
        );
    }
    for (id, verdict) in ids.iter().zip(["request", "defer", "ignore", "reject"]) {
        let of = |line: &&Value| line["message"] == "judged" && line["queue_id"] == id.as_str();
        let judged: Vec<&Value> = lines.iter().filter(of).collect();
        assert_eq!(judged.len(), 1, "{id}: {log}");
        let fields: BTreeSet<&str> = judged[0]
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        let documented = documented();
        let named = |field: &&str| documented.contains(*field);
        assert!(fields.iter().all(named), "{fields:?}");
        assert_eq!(judged[0]["verdict"], verdict);
    }
}

/// The fields that the guide for the mail admin names.
fn documented() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mail-admin.md");
    let guide = std::fs::read_to_string(path).expect("the guide");
    let (_, rest) = guide.split_once("<!-- log fields -->").expect("a table");
    let (table, _) = rest
        .split_once("<!-- end of log fields -->")
        .expect("an end");
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `"));
    rows.flat_map(|row| row.split(" | ").next().unwrap_or_default().split(", "))
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    let layout = layout("text");
    let _server = serve_zone(&layout);
    let script = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"";
    let gateway = layout.start_gateway_by(&["sh", "-c", script, "sh"]);
    let site = layout.start_with(Some(gateway));
    one_of_each(&site);
    // A warning.
    site.layout.set_gateway("worker", "give_up", "17min");
    let gateway = site.gateway.as_ref().expect("it runs");
    gateway.signal(rustix::process::Signal::HUP);
    until("the reload", PATIENCE, || {
        log(&site).contains("configuration reloaded").then_some(())
    });
    let log = log(&site);
    for line in log.lines() {
        let said = line.strip_prefix("<6>").or(line.strip_prefix("<4>"));
        let said = said.unwrap_or_else(|| panic!("{line}"));
        assert!(said.starts_with(|c: char| c.is_ascii_lowercase()), "{line}");
    }
    assert!(log.contains("<6>judged queue_id="), "{log}");
    assert!(log.contains("<4>changed in the file"), "{log}");
}

/// The lines of the log and the series of the metrics of a gateway, from start to end.
fn shown_by(layout: &Layout) -> Vec<String> {
    let pages = Pages::configure(layout);
    let gateway = layout.start_gateway();
    let metrics = pages.metrics();
    let log = gateway.wait_for_log(" audit log ");
    assert!(gateway.stop().success());
    let series = metrics.text().lines();
    let series = series.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let shown: Vec<String> = log.lines().chain(series).map(str::to_owned).collect();
    assert!(shown.len() > 100, "{shown:#?}");
    shown
}

#[test]
fn log_and_metrics_of_one_gateway_have_its_name_only_if_it_is_written() {
    let alone = shown_by(&Layout::new());
    assert!(!alone.concat().contains("node="), "{alone:#?}");

    let layout = Layout::new();
    layout.set_gateway("gateway", "node", "mx1");
    for line in shown_by(&layout) {
        let is_named = line.ends_with(" node=mx1") || line.contains("{node=\"mx1\"");
        assert!(is_named, "{line}");
    }
    // A command writes its entries under the same name.
    layout.gateway(&[
        "kmc",
        "rotate",
        "--name",
        "K2",
        "--expires",
        "20400101T000000Z",
    ]);
    let json = layout.gateway(&["audit", "list", "--json", "--node", "mx1"]);
    let entries: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(entries[0]["event"], "kms-changed");
    assert_eq!(entries[0]["node"], "mx1");
}

#[test]
fn elsewhere_the_journal_s_variable_says_nothing() {
    let layout = Layout::new();
    let gateway = layout.start_gateway_by(&["env", "JOURNAL_STREAM=8:123456"]);
    let log = gateway.wait_for_log("INFO  serving");
    assert!(!log.contains("<6>"), "{log}");
    assert!(gateway.stop().success());
}

/// The text outside of quotation marks.
fn without_quotations(line: &str) -> String {
    let (mut rest, mut is_quoted, mut is_escaped) = (String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' if !is_escaped => is_quoted = !is_quoted,
            _ if !is_quoted => rest.push(c),
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    assert!(!is_quoted, "{line}");
    rest
}

#[test]
fn no_sender_writes_a_line() {
    const FORGED: &str = "INFO judged queue_id=FORGED verdict=request";
    let layout = layout("text");
    let _server = serve_zone(&layout);
    let site = layout.start();
    let subject = format!("=?utf-8?Q?x=0D=0A=1B[2K{}?=", FORGED.replace(' ', "_"));
    let hostile = Draft::request(&subject, "x\n");
    let path = "\"a\x1b[2K reason=b rule=c\"@vendor.example";
    let accepted = site.smtp().send(path, &[GATEWAY], &hostile.to_bytes());
    assert_eq!(accepted.code, 250, "{accepted:?}");
    let accepted = site.smtp().send(ALICE, &[GATEWAY], &hostile.to_bytes());
    assert_eq!(accepted.code, 250, "{accepted:?}");
    let log = until("both decisions", PATIENCE, || {
        Some(log(&site)).filter(|log| log.matches(" judged ").count() >= 2)
    });
    let starts = |line: &str| line.starts_with("20");
    assert!(log.lines().all(starts), "{log}");
    assert!(!log.contains('\x1b'), "{log}");
    let judged: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" judged "))
        .collect();
    assert_eq!(judged.len(), 2, "{log}");
    for line in judged {
        let said = without_quotations(line);
        assert_eq!(said.matches(" rule=").count(), 1, "{line}");
        assert!(!said.contains("FORGED"), "{line}");
    }
}
