//! The gateway away, dead or hung, while mail comes: mail for others arrives at
//! once, and what is the gateway's waits at Postfix, however it was submitted,
//! and is answered afterwards, each request once.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{ALICE, BOB, Draft, GATEWAY, Layout, Lock, Mail, Site, Smtp, until, words};

const PATIENCE: Duration = Duration::from_secs(40);

/// How many of the messages are for the gateway, and how many for Bob; of each,
/// this many are one message for both.
const EACH: usize = 20;
const FOR_BOTH: usize = 6;

/// How many of each kind of message a program on the machine itself submits.
const BY_SENDMAIL: usize = 2;

/// How many SMTP sessions carry the rest.
const SESSIONS: usize = 6;

/// A message, and how it is submitted.
struct Submission {
    subject: String,
    recipients: Vec<&'static str>,
    by_sendmail: bool,
}

impl Submission {
    fn draft(&self) -> Draft {
        let draft = Draft::request(&self.subject, "please\n");
        match self.recipients[..] {
            [GATEWAY] => draft,
            [GATEWAY, ..] => draft.with("Cc", BOB),
            _ => draft.with("To", BOB),
        }
    }
}

fn submissions() -> Vec<Submission> {
    let kinds = [
        (EACH - FOR_BOTH, "{KMS:Help} alone", vec![GATEWAY]),
        (FOR_BOTH, "{KMS:Help} and Bob", vec![GATEWAY, BOB]),
        (EACH - FOR_BOTH, "for Bob", vec![BOB]),
    ];
    let of_kind = |(count, name, recipients): (usize, &str, Vec<&'static str>)| {
        let name = name.to_owned();
        (0..count).map(move |number| Submission {
            subject: format!("{name} {number}"),
            recipients: recipients.clone(),
            by_sendmail: number < BY_SENDMAIL,
        })
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

fn submit_all(site: &Site, submissions: &[Submission]) {
    let (local, remote): (Vec<_>, Vec<_>) = submissions.iter().partition(|own| own.by_sendmail);
    for own in local {
        sendmail(site, &own.recipients, &own.draft());
    }
    thread::scope(|scope| {
        for part in remote.chunks(remote.len().div_ceil(SESSIONS)) {
            scope.spawn(move || {
                let mut smtp = site.smtp();
                for own in part {
                    let taken = smtp.send(ALICE, &own.recipients, &own.draft().to_bytes());
                    assert_eq!(taken.code, 250, "{taken:?}");
                }
            });
        }
    });
}

/// As a program on the machine submits mail.
fn sendmail(site: &Site, recipients: &[&str], draft: &Draft) {
    let text = draft.to_bytes();
    let text = String::from_utf8(text)
        .expect("ASCII")
        .replace("\r\n", "\n");
    let mut sendmail = std::process::Command::new("sendmail");
    sendmail
        .arg("-C")
        .arg(site.layout.directory().join("etc"))
        .args(["-i", "-f", ALICE, "--"])
        .args(recipients);
    crate::harness::run(&mut sendmail, text.as_bytes());
}

/// Twenty messages are no flood here.
fn layout() -> Layout {
    let layout = Layout::new();
    layout.set_gateway("throttle", "at_once", 1000);
    layout.set_gateway("throttle", "block_above", 2000);
    layout
}

fn subjects(mails: &[Mail]) -> Vec<String> {
    let mut subjects: Vec<String> = mails
        .iter()
        .filter_map(|mail| mail.header("Subject"))
        .collect();
    subjects.sort();
    subjects
}

/// The subjects of the messages to this recipient.
fn sent_to(submissions: &[Submission], recipient: &str, prefix: &str) -> Vec<String> {
    let of_his = submissions
        .iter()
        .filter(|own| own.recipients.contains(&recipient));
    let mut subjects: Vec<String> = of_his
        .map(|own| format!("{prefix}{}", own.subject))
        .collect();
    subjects.sort();
    subjects
}

/// The messages that wait for the gateway, all others having left.
fn wait_for_deferred(site: &Site, count: usize) {
    until("all that is the gateway's waits", PATIENCE, || {
        let queue = site.postfix.queue();
        let waits = |queued: &Value| {
            let recipients = queued["recipients"].as_array().expect("recipients");
            queued["queue_name"] == "deferred"
                && recipients.iter().all(|own| own["address"] == GATEWAY)
        };
        (queue.len() == count && queue.iter().all(waits)).then_some(())
    });
}

/// All mail while the gateway is away. Says how long Bob waited for his.
fn others_get_theirs(site: &Site, submissions: &[Submission]) -> Duration {
    submit_all(site, submissions);
    let sent = Instant::now();
    let bobs = site.mailbox(BOB).wait_for_count(EACH);
    let waited = sent.elapsed();
    assert_eq!(subjects(&bobs), sent_to(submissions, BOB, ""));
    waited
}

/// Each request is answered, once, by the mailbox and by the audit log.
fn all_are_answered(site: &mut Site, submissions: &[Submission]) -> Duration {
    let begin = Instant::now();
    site.postfix.deliver_all();
    site.mailbox(ALICE).wait_for_count(EACH);
    let waited = begin.elapsed();
    // Whatever else is on its way arrives before both are at rest.
    let gateway = site.gateway.take().expect("it runs");
    assert!(gateway.stop().success());
    until("Postfix's queue is empty", PATIENCE, || {
        site.postfix.queue().is_empty().then_some(())
    });
    let replies = site.mailbox(ALICE).mails();
    assert_eq!(subjects(&replies), sent_to(submissions, GATEWAY, "Auto: "));
    assert!(replies.iter().all(|reply| reply.result()[0] == "Success"));
    assert_eq!(site.mailbox(BOB).mails().len(), EACH, "Bob got one twice");
    assert!(site.mailbox(GATEWAY).mails().is_empty());
    for event in ["accepted", "completed", "delivered"] {
        let requests = requests(site, event);
        let unique: BTreeSet<&String> = requests.iter().collect();
        assert_eq!((requests.len(), unique.len()), (EACH, EACH), "{event}");
    }
    site.layout.gateway(&["audit", "verify"]);
    waited
}

/// The requests with this event in the audit log, as often as it is there.
fn requests(site: &Site, event: &str) -> Vec<String> {
    let json = site.layout.gateway(&words("audit list --json"));
    let entries: Vec<Value> = serde_json::from_str(&json).expect("an array");
    let of_event = entries.iter().filter(|entry| entry["event"] == event);
    of_event
        .map(|entry| entry["request_id"].as_str().expect("an id").to_owned())
        .collect()
}

fn report(state: &str, bob: Duration, alice: Duration) {
    println!(
        "gateway {state}: {EACH} messages for others arrived within {:.1} s; after its return \
         {EACH} requests answered within {:.1} s, each once; {FOR_BOTH} messages were for both, \
         {} came by sendmail(1)",
        bob.as_secs_f32(),
        alice.as_secs_f32(),
        3 * BY_SENDMAIL,
    );
}

#[test]
fn killed_and_started_again() {
    let mut site = layout().start();
    site.gateway_dies = true;
    // A session that had the gateway before outlives it.
    let mut session = site.smtp();
    assert_eq!(session.command(&format!("MAIL FROM:<{ALICE}>")).code, 250);
    site.gateway.take().expect("it runs").kill();
    assert_eq!(session.command(&format!("RCPT TO:<{GATEWAY}>")).code, 250);
    assert_eq!(session.command("RSET").code, 250);

    let submissions = submissions();
    let bob = others_get_theirs(&site, &submissions);
    wait_for_deferred(&site, EACH);
    site.gateway = Some(site.layout.start_gateway());
    let alice = all_are_answered(&mut site, &submissions);
    report("killed", bob, alice);
}

#[test]
fn hung_and_awake_again() {
    let mut site = layout().start();
    site.gateway_dies = true;
    let mut open = site.smtp();
    assert_eq!(open.command(&format!("MAIL FROM:<{ALICE}>")).code, 250);
    let gateway = site.gateway.as_ref().expect("it runs");
    gateway.hang();

    let submissions = submissions();
    let bob = thread::scope(|scope| {
        // One wait is what it costs a client, whether its session is old or new.
        scope.spawn(|| {
            let waited = time_of_one_wait(&mut open);
            println!("a hung gateway costs an open session {waited:.1} s");
        });
        scope.spawn(|| {
            let begin = Instant::now();
            let mut new = site.smtp();
            let waited = begin.elapsed().as_secs_f32();
            assert!(waited < TWO_WAITS, "{waited} s");
            println!("a hung gateway costs a new session {waited:.1} s");
            assert_eq!(new.command(&format!("MAIL FROM:<{ALICE}>")).code, 250);
            assert!(time_of_one_wait(&mut new) < ONE_WAIT);
        });
        others_get_theirs(&site, &submissions)
    });
    let gateway = site.gateway.as_ref().expect("it runs");
    gateway.signal(Signal::CONT);
    let alice = all_are_answered(&mut site, &submissions);
    report("hung", bob, alice);
}

/// How long Postfix waits for a gateway that hangs, in seconds: the time limits in
/// `postfix/main.cf.part`.
const ONE_WAIT: f32 = 10.0;
const TWO_WAITS: f32 = 2.0 * ONE_WAIT;

/// How many seconds a session waits for the answer to RCPT, and again later.
fn time_of_one_wait(session: &mut Smtp) -> f32 {
    let begin = Instant::now();
    assert_eq!(session.command(&format!("RCPT TO:<{BOB}>")).code, 250);
    let waited = begin.elapsed().as_secs_f32();
    assert!(waited < TWO_WAITS, "{waited} s");
    assert_eq!(session.command("RSET").code, 250);
    let begin = Instant::now();
    assert_eq!(session.command(&format!("MAIL FROM:<{ALICE}>")).code, 250);
    assert_eq!(session.command(&format!("RCPT TO:<{BOB}>")).code, 250);
    assert!(begin.elapsed().as_secs_f32() < ONE_WAIT, "a second wait");
    assert_eq!(session.command("RSET").code, 250);
    waited
}

#[test]
fn what_sendmail_submits_is_answered_at_once() {
    let site = Layout::new().start();
    let request = Draft::request("{KMS:Help} from the machine itself", "please\n");
    sendmail(&site, &[GATEWAY], &request);
    let mailbox = site.mailbox(ALICE);
    mailbox.wait_for_reply("{KMS:Help} from the machine itself");
    let for_both = Draft::request("{KMS:Help} and Bob", "please\n").with("Cc", BOB);
    sendmail(&site, &[GATEWAY, BOB], &for_both);
    mailbox.wait_for_reply("{KMS:Help} and Bob");
    assert_eq!(site.mailbox(BOB).wait_for_count(1).len(), 1);
}

#[test]
fn a_locked_database_holds_up_the_gateways_mail_alone() {
    let site = Layout::new().start();
    let lock = Lock::hold(&site.layout);
    let alone = Draft::request("{KMS:Help} alone", "please\n");
    let for_both = Draft::request("{KMS:Help} and Bob", "please\n").with("Cc", BOB);
    let other = Draft::request("for Bob", "please\n").with("To", BOB);
    thread::scope(|scope| {
        scope.spawn(|| {
            let refused = site.smtp().send(ALICE, &[GATEWAY], &alone.to_bytes());
            assert!(refused.text.starts_with("451 4.3.0"), "{refused:?}");
        });
        scope.spawn(|| {
            let taken = site
                .smtp()
                .send(ALICE, &[GATEWAY, BOB], &for_both.to_bytes());
            assert_eq!(taken.code, 250, "{taken:?}");
        });
        // Mail that does not need the gateway's database does not wait for it.
        let begin = Instant::now();
        let taken = site.smtp().send(ALICE, &[BOB], &other.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
        site.mailbox(BOB).wait_for_count(1);
        assert!(begin.elapsed() < Duration::from_secs(3), "other mail waits");
    });
    assert_eq!(site.mailbox(BOB).wait_for_count(2).len(), 2);
    drop(lock);
    site.postfix.deliver_all();
    site.mailbox(ALICE).wait_for_count(1);
    site.mailbox(ALICE).wait_for_reply("{KMS:Help} and Bob");
    // A client that got 451 comes again.
    site.ask(&alone);
}
