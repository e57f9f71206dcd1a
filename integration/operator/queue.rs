//! The queue in an operator's hands, by commands of other processes while the
//! gateway runs: what waits and why, a request's story, orders to try again and
//! to drop.

use std::time::Duration;

use kms_gateway::faults::VARIABLE;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::harness::{
    ALICE, BOB, CAROL, Draft, GATEWAY, Impostor, Layout, Module, Output, ReferenceKms, Site,
    kms_gateway, output, python, run, until, words,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Has a failed attempt repeated after an hour, without a notice.
fn patient(layout: &Layout) {
    for key in ["first_retry", "longest_retry", "notice_after"] {
        layout.set_gateway("worker", key, "1h");
    }
    // A sender who asked once stays in the list of senders for the whole test.
    layout.set_gateway("throttle", "every", "1h");
}

/// One that can't hand over replies.
fn without_port() -> Site {
    let layout = Layout::new();
    layout.close_reply_port();
    patient(&layout);
    layout.start()
}

/// One whose KMS is away, and two requests of Alice's module that wait for it.
fn without_kms() -> (Site, ReferenceKms, Vec<Draft>) {
    let (layout, kms) = ReferenceKms::impatient("1h", "1h");
    patient(&layout);
    let module = kms.module(&layout, "SM1");
    let public_key = kms.public_key();
    let site = layout.start();
    let mut drafts = Vec::new();
    for number in 1..=2 {
        let subject = format!("{{KMS:GetKlfStsEd2}} {number}");
        drafts.push(Draft::request(&subject, &module.request(&public_key)));
    }
    for draft in &drafts {
        send(&site, ALICE, draft);
    }
    (site, kms, drafts)
}

pub fn send(site: &Site, from: &str, draft: &Draft) {
    let taken = site.smtp().send(from, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
}

pub fn help(from: &str, subject: &str) -> Draft {
    Draft::request(subject, "").with("From", from)
}

pub fn json(site: &Site, arguments: &[&str]) -> Value {
    let shown = site.layout.gateway(arguments);
    serde_json::from_str(&shown).expect("JSON")
}

pub fn waiting(site: &Site) -> Vec<Value> {
    let queue = json(site, &["queue", "list", "--json"]);
    queue.as_array().expect("an array").clone()
}

/// Everything that waits, once `wanted` is true of it.
pub fn queue_when(site: &Site, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    until(what, PATIENCE, || {
        Some(waiting(site)).filter(|queue| wanted(queue))
    })
}

pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {object}"))
}

fn fields<'a>(objects: &'a [Value], field: &str) -> Vec<&'a str> {
    objects.iter().map(|object| text(object, field)).collect()
}

/// Refused, with this in the reason.
pub fn refused(site: &Site, arguments: &[&str], code: i32, reason: &str) {
    let ended = site.layout.try_gateway(arguments);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.stderr.contains(reason), "{reason}: {ended:?}");
}

fn in_terminal(site: &Site, columns: &str, line: &str) -> String {
    let shown = at_terminal(site, columns, line, "");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    shown.stdout
}

/// The command at a terminal where somebody types.
pub fn at_terminal(site: &Site, columns: &str, line: &str, typed: &str) -> Output {
    let command = kms_gateway(&site.layout.config(), &words(line));
    let mut terminal = python("harness/at_terminal.py");
    terminal
        .args(["--columns", columns])
        .arg(command.get_program());
    let mut shown = output(terminal.args(command.get_args()), typed.as_bytes());
    shown.stdout = shown.stdout.replace("\r\n", "\n");
    shown
}

#[test]
fn replies_that_postfix_does_not_take_are_seen_tried_again_and_told_of() {
    let site = without_port();
    let nothing = site.layout.gateway(&["queue", "list"]);
    assert_eq!(nothing, "Nothing waits.\n");
    for (person, subject) in [
        (ALICE, "{KMS:Help} 1"),
        (ALICE, "{KMS:Help} 2"),
        (BOB, "{KMS:GetPublicKey}"),
    ] {
        send(&site, person, &help(person, subject));
    }
    let queue = queue_when(&site, "three replies that wait", |queue| {
        let waits = |item: &&Value| item["state"] == "for-the-port";
        queue.len() == 3 && queue.iter().filter(waits).count() == 2
    });
    assert_eq!(fields(&queue, "what"), ["reply"; 3]);
    assert_eq!(fields(&queue, "target"), [ALICE, ALICE, BOB]);
    let states = fields(&queue, "state");
    assert_eq!(states, ["for-the-port", "behind", "for-the-port"]);
    assert_eq!(queue[1]["behind"], queue[0]["request_id"]);
    assert_eq!(queue[2]["service"], "{KMS:GetPublicKey}");
    assert_eq!(queue[0]["result"][0], "Success");
    assert_eq!(queue[0]["attempts"], 0, "the port's trouble is not its own");
    assert_eq!(queue[0]["last_trouble"], Value::Null);
    let trouble = text(&queue[0], "port_trouble");
    assert!(trouble.contains("connection: "), "{trouble}");

    let shown = site.layout.gateway(&["queue", "list"]);
    let why = format!("reply port {} takes no replies", site.layout.port(18035));
    for part in [
        "behind ",
        "for the port",
        "0 requests and 3 replies wait",
        &why,
        "refused (os error 111). The next attempt is in ",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let id = text(&queue[0], "request_id");
    let story = json(&site, &["queue", "show", &id[..12], "--json"]);
    let waiting = &story["waiting"][0];
    assert_eq!(waiting["port_trouble"], queue[0]["port_trouble"], "{story}");
    let shown = site.layout.gateway(&["queue", "show", &id[..12]]);
    assert!(shown.contains(&why), "{shown}");
    assert_eq!(text(&story, "from"), ALICE);
    assert_eq!(text(&story, "reverse_path"), format!("<{ALICE}>"));
    assert!(text(&story, "client").starts_with("127."));
    assert_eq!(story["judged"]["verdict"], "request");
    assert_eq!(story["rules_today"], Value::Null, "it is answered");

    // Tried again while the port is dead: the port is tried, and waited for again.
    let until = text(&queue[0], "until").to_owned();
    let tried = site.layout.gateway(&["queue", "retry", &id[..12]]);
    assert!(tried.contains("reply port is tried now"), "{tried}");
    queue_when(&site, "the port was tried", |queue| {
        let waits = |item: &Value| item["state"] == "for-the-port" && item["until"] != *until;
        [0, 2].into_iter().all(|place| waits(&queue[place]))
    });
    site.open_reply_port();
    site.layout.gateway(&["queue", "retry", "--all"]);
    for (person, subject) in [
        (ALICE, "{KMS:Help} 1"),
        (ALICE, "{KMS:Help} 2"),
        (BOB, "{KMS:GetPublicKey}"),
    ] {
        site.mailbox(person).wait_for_reply(subject);
    }
    queue_when(&site, "the queue is empty", <[Value]>::is_empty);
    finished_is_told(&site, &queue[0]);
}

/// A request that is done is found by Postfix's queue id.
fn finished_is_told(site: &Site, of: &Value) {
    let queue_id = text(of, "queue_id");
    let story = json(site, &["queue", "show", queue_id, "--json"]);
    assert_eq!(story["request_id"], of["request_id"]);
    let history = story["history"].as_array().expect("an array");
    assert_eq!(
        fields(history, "event"),
        ["accepted", "completed", "retried", "delivered"]
    );
    assert!(text(&history[2], "operator").contains("uid 0"), "{story}");
    assert_eq!(history[3]["attempts"], 1);
    let shown = site.layout.gateway(&["queue", "show", queue_id]);
    for part in [
        "Nothing of this request waits.",
        "(entry ",
        "answered Success, by <",
        "handed to Postfix: 250 2.0.0 Ok: queued as",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    refused(site, &["queue", "retry", queue_id], 1, "it is finished");
    let order = ["queue", "drop", queue_id, "--reason", "late"];
    refused(site, &order, 1, "it is finished");
    refused(
        site,
        &["queue", "show", "ffffffff"],
        1,
        "no request is named",
    );
}

#[test]
fn requests_that_wait_for_their_service_are_answered_when_told_to() {
    let (site, mut kms, drafts) = without_kms();
    let queue = queue_when(&site, "one put off", |queue| {
        queue.len() == 2 && queue[0]["state"] == "put-off"
    });
    assert_eq!(fields(&queue, "what"), ["request"; 2]);
    assert_eq!(fields(&queue, "service"), ["{KMS:GetKlfStsEd2}"; 2]);
    assert_eq!(queue[1]["state"], "behind");
    let id = text(&queue[0], "request_id");
    let shown = site.layout.gateway(&["queue", "show", id]);
    for part in [
        "judged      request, no rule matched",
        "The request: again in ",
        "  attempt 1, ",
        "can't be connected to",
        "Findings of the rules in force now",
        "sender-authentication",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let story = json(&site, &["queue", "show", id, "--json"]);
    let rules = story["rules_today"].as_array().expect("an array");
    assert!(
        rules.iter().all(|rule| rule["verdict"] != "ignore"),
        "{story}"
    );

    kms.start();
    site.layout.gateway(&["queue", "retry", id]);
    for draft in &drafts {
        let reply = site.mailbox(ALICE).wait_for_reply(draft.header("Subject"));
        assert_eq!(reply.result()[0], "Success");
    }
}

#[test]
fn what_is_dropped_is_never_answered_and_the_log_says_by_whom_and_why() {
    let (site, mut kms, drafts) = without_kms();
    let queue = queue_when(&site, "one put off", |queue| {
        queue.len() == 2 && queue[0]["state"] == "put-off"
    });
    let id = text(&queue[0], "request_id");
    refused(&site, &["queue", "drop", id], 2, "--reason");
    refused(&site, &["queue", "drop", id, "--reason", " "], 2, "say why");
    let order = ["queue", "drop", id, "--target", ALICE, "--reason", "no"];
    refused(&site, &order, 1, "has no reply");
    let mut drop = kms_gateway(
        &site.layout.config(),
        &["queue", "drop", id, "--reason", "withdrawn by phone"],
    );
    let shown = run(drop.env("SUDO_USER", "jane"), b"");
    assert_eq!(
        shown,
        format!("Dropped: request {id}, never to be answered.\n")
    );

    // The one behind it has its turn, sees the KMS away, and is answered by it.
    queue_when(&site, "the next one is tried", |queue| {
        queue.len() == 1 && queue[0]["state"] == "put-off"
    });
    kms.start();
    site.layout.gateway(&["queue", "retry", "--all"]);
    let answered = drafts[1].header("Subject");
    site.mailbox(ALICE).wait_for_reply(answered);
    queue_when(&site, "the queue is empty", <[Value]>::is_empty);
    send(&site, ALICE, &drafts[0]);
    assert_eq!(site.mailbox(ALICE).mails().len(), 1, "no answer, no notice");
    assert_eq!(kms.history().len(), 1);

    let story = json(&site, &["queue", "show", id, "--json"]);
    let history = story["history"].as_array().expect("an array");
    assert_eq!(
        fields(history, "event"),
        ["accepted", "postponed", "dropped", "duplicate"]
    );
    assert_eq!(history[2]["operator"], "jane (uid 0)");
    assert_eq!(history[2]["reason"], "withdrawn by phone");
    site.layout.gateway(&["audit", "verify"]);
}

#[test]
fn a_request_that_a_worker_has_is_dropped_and_its_answer_refused() {
    let (layout, kms) = ReferenceKms::impatient("1h", "1h");
    layout.set_gateway("kms", "answer_timeout", "8s");
    layout.set_gateway("worker", "lease", "1min");
    patient(&layout);
    let module = kms.module(&layout, "SM1");
    let record = module.request(&kms.public_key());
    // It takes the question, and never answers.
    Impostor::at(&kms.socket(), b"", Duration::from_secs(3600));
    let site = layout.start();
    send(&site, ALICE, &Draft::request("{KMS:GetKlfStsEd2}", &record));
    let queue = queue_when(&site, "a worker has it", |queue| {
        queue.len() == 1 && queue[0]["state"] == "in-work"
    });
    let id = text(&queue[0], "request_id");
    let retried = site.layout.gateway(&["queue", "retry", id]);
    assert!(retried.contains("in work"), "{retried}");
    site.layout
        .gateway(&["queue", "drop", id, "--reason", "it hangs"]);
    assert!(waiting(&site).is_empty());
    // The worker comes to its end with it, and to the next.
    until("the attempt has ended", PATIENCE, || {
        let log = site.gateway.as_ref().expect("it runs").log();
        log.contains("the answer took longer").then_some(())
    });
    send(&site, BOB, &help(BOB, "{KMS:Help}"));
    site.mailbox(BOB).wait_for_reply("{KMS:Help}");
    assert!(site.mailbox(ALICE).mails().is_empty());
    assert!(waiting(&site).is_empty());
    let story = json(&site, &["queue", "show", id, "--json"]);
    let history = story["history"].as_array().expect("an array");
    assert_eq!(fields(history, "event"), ["accepted", "dropped"]);
}

#[test]
fn one_target_of_a_reply_is_dropped_and_the_other_answered() {
    let site = without_port();
    let draft = help(ALICE, "{KMS:Help} both").with("Reply-To", &format!("{BOB}, {CAROL}"));
    send(&site, ALICE, &draft);
    let queue = queue_when(&site, "both wait", |queue| {
        let waits = |item: &Value| item["state"] == "for-the-port";
        queue.len() == 2 && queue.iter().all(waits)
    });
    let id = text(&queue[0], "request_id");
    let order = ["queue", "drop", id, "--target", ALICE, "--reason", "left"];
    refused(&site, &order, 1, CAROL);
    let order = ["queue", "drop", id, "--target", CAROL, "--reason", "left"];
    let shown = site.layout.gateway(&order);
    assert_eq!(shown, format!("Dropped: the reply for {CAROL}.\n"));
    site.open_reply_port();
    site.layout.gateway(&["queue", "retry", "--all"]);
    site.mailbox(BOB).wait_for_reply("{KMS:Help} both");
    queue_when(&site, "the queue is empty", <[Value]>::is_empty);
    assert!(site.mailbox(CAROL).mails().is_empty());
    site.layout.gateway(&["audit", "verify"]);
}

/// Whether a terminal acts upon this character; line ends do not count.
fn acts(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}')
}

#[test]
fn every_table_fits_a_terminal_and_nothing_that_a_sender_writes_acts_on_it() {
    let site = without_port();
    let hostile = "=?utf-8?q?{KMS:Help}_=1B[2J=1B]0;x=07_=C2=9B31m_=E2=80=AEgpj_=0D=0Afaked?=";
    let wide = "=?utf-8?b?e0tNUzpIZWxwfSDml6XmnKzoqp7ml6XmnKzoqp7ml6XmnKzoqp7ml6XmnKzoqp4=?=";
    let raw = "{KMS:NoSuchService} \u{1b}[31m \u{202e}";
    // The last one is no code, and ignored: it is in the audit log alone.
    let subjects = [hostile, wide, raw, "{KMS:\u{1b}[31m}"];
    for (number, subject) in subjects.iter().enumerate() {
        let long = format!("{}@vendor.example", "a".repeat(50));
        let mut smtp = site.smtp();
        assert_eq!(smtp.command("EHLO \u{1b}[31mclient").code, 250);
        let draft = help(&long, subject).with("Reply-To", &format!("{number}{ALICE}"));
        let taken = smtp.send(&long, &[GATEWAY], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    }
    let queue = queue_when(&site, "all wait", |queue| {
        let waits = |item: &Value| item["state"] == "for-the-port";
        queue.len() == 3 && queue.iter().all(waits)
    });
    for line in ["queue list", "audit list", "senders list"] {
        for columns in ["80", "60", "132"] {
            let shown = in_terminal(&site, columns, line);
            assert!(shown.lines().count() > 3, "{shown}");
            let room: usize = columns.parse().expect("a number");
            for shown in shown.lines() {
                assert!(shown.width() <= room, "{line} at {columns}: {shown:?}");
            }
            assert!(!shown.contains(acts), "{shown:?}");
        }
    }
    for item in &queue {
        let id = text(item, "request_id");
        for form in [&["queue", "show", id][..], &["queue", "show", id, "--json"]] {
            let shown = site.layout.gateway(form);
            assert!(!shown.contains(acts), "{shown:?}");
        }
    }
    let list = site.layout.gateway(&["queue", "list", "--json"]);
    assert!(!list.contains(acts), "{list:?}");
}

#[test]
fn a_hand_over_that_panics_is_tried_again_and_ends_nothing() {
    let layout = Layout::new();
    layout.set_gateway("worker", "first_retry", "1s");
    let fault = format!("{VARIABLE}=BeforeFinalDot:1:panic");
    let gateway = layout.start_gateway_by(&["env", &fault]);
    let site = layout.start_with(Some(gateway));
    let reply = site.ask(&help(ALICE, "{KMS:Help}"));
    assert_eq!(reply.result()[0], "Success");
    let gateway = site.gateway.as_ref().expect("it runs");
    let log = gateway.wait_for_log("ordered to panic BeforeFinalDot");
    let said = log.lines().find(|line| line.contains("ordered to panic"));
    let said = said.expect("a line");
    assert!(said.contains("ERROR panicked place="), "{said}");
    queue_when(&site, "the queue is empty", <[Value]>::is_empty);
    let audit = json(&site, &["audit", "list", "--last", "2", "--json"]);
    let [put_off, delivered] = [&audit[0], &audit[1]];
    assert!(text(put_off, "reason").contains("panicked"), "{audit}");
    assert_eq!(
        (text(delivered, "event"), &delivered["attempts"]),
        ("delivered", &Value::from(2))
    );
}

#[test]
fn each_order_is_one_attempt_more_of_the_running_gateway() {
    let layout = Layout::new();
    patient(&layout);
    layout.set_postfix("greylist=check_recipient_access inline:{{vendor.example=450 4.2.0 later}}");
    layout.set_postfix_service(18025, "smtpd_recipient_restrictions=$greylist");
    let site = layout.start();
    send(&site, ALICE, &help(ALICE, "{KMS:Help}"));
    // Each order is one attempt more, and the next attempt an hour away.
    for attempts in 1..=4 {
        let queue = queue_when(&site, "the next attempt", |queue| {
            queue.len() == 1 && queue[0]["attempts"] == attempts && queue[0]["state"] == "put-off"
        });
        let trouble = text(&queue[0]["last_trouble"], "trouble");
        assert!(trouble.contains("RCPT: 450 4.2.0"), "{trouble}");
        site.layout.gateway(&["queue", "retry", "--all"]);
    }
    let queue = waiting(&site);
    let id = text(&queue[0], "request_id");
    let story = json(&site, &["queue", "show", id, "--json"]);
    let troubles = story["waiting"][0]["troubles"].as_array();
    assert!(
        troubles.is_some_and(|troubles| troubles.len() >= 4),
        "{story}"
    );
    let history = story["history"].as_array().expect("an array");
    let put_off = |entry: &&Value| entry["event"] == "postponed";
    assert_eq!(history.iter().filter(put_off).count(), 1, "{story}");
}
