//! SIGHUP: the new configuration counts for the next message, also within a
//! session; a bad one changes nothing and says what is bad.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use kms_gateway::faults::VARIABLE;
use rustix::process::Signal;
use toml::Value as Toml;

use crate::harness::{ALICE, BOB, CAROL, Draft, GATEWAY, Layout, Rbldnsd, Site, Smtp, WELL, until};

const PATIENCE: Duration = Duration::from_secs(20);

const NAME_SERVER: u16 = 5300;

fn help(name: &str) -> Draft {
    Draft::request(&format!("{{KMS:Help}} {name}"), "please\n")
}

/// The lines of the gateway's log that say how a reload went.
fn outcomes(site: &Site) -> Vec<String> {
    let log = site.gateway.as_ref().expect("it runs").log();
    let is_outcome =
        |line: &&str| line.contains("configuration reloaded") || line.contains("not reloaded");
    log.lines().filter(is_outcome).map(str::to_owned).collect()
}

/// Has the gateway read its configuration again, and gives the line about it.
fn reload(site: &Site) -> String {
    let before = outcomes(site).len();
    site.gateway.as_ref().expect("it runs").signal(Signal::HUP);
    until("the end of the reload", PATIENCE, || {
        let now = outcomes(site);
        (now.len() > before).then(|| now[before].clone())
    })
}

/// The answer to the gateway's RCPT.
fn recipient(smtp: &mut Smtp) -> u16 {
    smtp.command(&format!("RCPT TO:<{GATEWAY}>")).code
}

fn begin(smtp: &mut Smtp) {
    assert_eq!(smtp.command(&format!("MAIL FROM:<{ALICE}>")).code, 250);
}

#[test]
fn a_message_keeps_the_rules_of_its_mail_and_the_next_has_the_new_ones() {
    let layout = Layout::new();
    layout.allow_xclient();
    let listed = format!("{WELL}192.0.2.9\n");
    let zones = [("bl.example", "ip4set", listed.as_str())];
    let _server = Rbldnsd::start(layout.directory(), layout.port(NAME_SERVER), 1, &zones);
    let site = layout.start();
    let mut smtp = site.smtp();
    smtp.speak_for("ADDR=192.0.2.9");

    // Before the gateway's RCPT, where blocklists are asked. Postfix sends MAIL
    // together with the first one.
    begin(&mut smtp);
    assert_eq!(smtp.command(&format!("RCPT TO:<{BOB}>")).code, 250);
    let layout = &site.layout;
    layout.set_gateway("dnsbl", "resolver", layout.port(NAME_SERVER).to_string());
    layout.set_gateway("dnsbl", "zones", vec![Toml::from("bl.example")]);
    assert!(reload(&site).contains("configuration reloaded"));
    assert_eq!(recipient(&mut smtp), 250);
    assert_eq!(smtp.command("RSET").code, 250);
    begin(&mut smtp);
    assert_eq!(recipient(&mut smtp), 554);
    assert_eq!(smtp.command("RSET").code, 250);

    // Before the content, which the policy judges.
    layout.set_gateway("dnsbl", "zones", Vec::<Toml>::new());
    reload(&site);
    begin(&mut smtp);
    assert_eq!(recipient(&mut smtp), 250);
    assert_eq!(smtp.command("DATA").code, 354);
    layout.set_gateway("policy", "max_message_bytes", 1000);
    reload(&site);
    let long = "so many words\n".repeat(100);
    let draft = |name: &str| Draft::request(&format!("{{KMS:Help}} {name}"), &long);
    assert_eq!(smtp.content(&draft("long").to_bytes()).code, 250);
    site.mailbox(ALICE).wait_for_reply("{KMS:Help} long");
    let sent = smtp.send(ALICE, &[GATEWAY], &draft("too long").to_bytes());
    assert_eq!(sent.code, 250);
    let ignored = site.layout.gateway(&["audit", "list", "--rule", "size"]);
    assert_eq!(ignored.matches("the limit is 1000").count(), 1, "{ignored}");
}

/// The configuration changes between 250 and the answer, together with everything that decides who
/// asked, who is answered, and from which address.
#[test]
fn an_accepted_request_is_answered_as_it_was_judged() {
    let layout = Layout::new();
    layout.set_gateway("worker", "lease", "2s");
    let mut site = layout.start();
    site.gateway_dies = true;
    assert!(site.gateway.take().expect("it runs").stop().success());
    let doom = format!("{VARIABLE}=AfterLease:1");
    let doomed = site.layout.start_gateway_by(&["env", &doom]);
    let draft = help("judged once").with("Reply-To", &format!("{ALICE}, {BOB}, {CAROL}"));
    let taken = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    assert_eq!(doomed.wait_for_end().signal(), Some(9));

    let layout = &site.layout;
    layout.set_gateway("reply", "max_targets", 1);
    let addresses = vec![Toml::from("another@kms.example.org")];
    layout.set_gateway("gateway", "addresses", addresses);
    let ids = vec![Toml::from("another.example.org")];
    layout.set_gateway("sender_authentication", "authserv_ids", ids);
    layout.set_gateway("sender_authentication", "require", true);
    site.gateway = Some(site.layout.start_gateway());
    for person in [ALICE, BOB, CAROL] {
        let reply = site
            .mailbox(person)
            .wait_for_reply("{KMS:Help} judged once");
        let from = reply.header("From").expect("a sender");
        assert!(from.contains(GATEWAY), "{from}");
        assert_eq!(reply.result()[0], "Success", "{person}");
    }
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_what_is_bad() {
    let site = Layout::new().start();
    let path = site.layout.config();
    let good = fs::read_to_string(&path).expect("the configuration");
    let name = path.to_str().expect("a path in UTF-8");
    let cases: [(&str, &str, &[&str]); 4] = [
        (
            "keep_bcc =",
            "keep_bbc =",
            &["keep_bbc", "correct its name"],
        ),
        (
            "threshold = 1",
            "threshold = 0",
            &["dnsbl.threshold", "write a number from 1"],
        ),
        (
            "max_received = 30",
            "max_received = \"no\"",
            &["policy.max_received", "correct the value"],
        ),
        ("[policy]", "[policy", &["TOML"]),
    ];
    for (text, instead, named) in cases {
        let bad = good.replacen(text, instead, 1);
        assert_ne!(bad, good, "{text}");
        fs::write(&path, bad).expect("the configuration");
        let line = reload(&site);
        assert!(
            line.contains("ERROR") && line.contains("stays in force"),
            "{line}"
        );
        for part in named.iter().chain([&name]) {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
    fs::remove_file(&path).expect("the configuration");
    assert!(reload(&site).contains("--config FILE"));
    site.ask(&help("by the old configuration"));

    fs::write(&path, good).expect("the configuration");
    assert!(reload(&site).contains("configuration reloaded"));
    site.ask(&help("by the new one"));
}

#[test]
fn a_key_that_needs_a_restart_is_named() {
    let site = Layout::new().start();
    site.layout.set_gateway("worker", "lease", "7min");
    site.layout.set_gateway("key_load_file", "max_age", "7h");
    reload(&site);
    let log = site.gateway.as_ref().expect("it runs").log();
    let warned: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("next start"))
        .collect();
    assert_eq!(warned.len(), 2, "{log}");
    assert!(warned[0].contains("key_load_file.max_age"), "{warned:?}");
    assert!(warned[1].contains("worker.lease"), "{warned:?}");
    // The help text promises only what is in force.
    let help = site.ask(&help("how old may a request be?")).text();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let age = |time| help.contains(&format!("at most {time} old"));
    assert!(age("24 hours") && !age("7 hours"), "{help}");
}

#[test]
fn under_load_no_session_notices() {
    const SESSIONS: usize = 4;
    const REQUESTS: usize = 100;
    const RELOADS: usize = 10;
    let layout = Layout::new();
    layout.set_gateway("throttle", "at_once", 1000);
    layout.set_gateway("throttle", "block_above", 2000);
    let site = layout.start();
    let sent = AtomicUsize::new(0);
    let allowed = AtomicUsize::new(0);
    let path = site.layout.config();
    let good = fs::read_to_string(&path).expect("the configuration");
    thread::scope(|scope| {
        for session in 0..SESSIONS {
            let (site, sent, allowed) = (&site, &sent, &allowed);
            scope.spawn(move || {
                let mut smtp = site.smtp();
                for number in (session..REQUESTS).step_by(SESSIONS) {
                    until("a reload to send beside", PATIENCE, || {
                        (number < allowed.load(Ordering::Relaxed)).then_some(())
                    });
                    let draft = help(&number.to_string());
                    let taken = smtp.send(ALICE, &[GATEWAY], &draft.to_bytes());
                    assert_eq!(taken.code, 250, "{taken:?}");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 1..=RELOADS {
            let text = match number % 2 {
                0 => good.clone(),
                _ => good.replacen("[policy]", "[policies]", 1),
            };
            fs::write(&path, text).expect("the configuration");
            allowed.store(REQUESTS * number / RELOADS, Ordering::Relaxed);
            until("load", PATIENCE, || {
                let some = REQUESTS * (number - 1) / RELOADS + 2;
                (sent.load(Ordering::Relaxed) >= some).then_some(())
            });
            reload(&site);
        }
    });
    site.mailbox(ALICE).wait_for_count(REQUESTS);
    let replies = site.mailbox(ALICE).mails();
    let subjects: BTreeSet<String> = replies
        .iter()
        .filter_map(|mail| mail.header("Subject"))
        .collect();
    assert_eq!((replies.len(), subjects.len()), (REQUESTS, REQUESTS));
    let outcomes = outcomes(&site);
    let good = outcomes
        .iter()
        .filter(|line| line.contains("configuration reloaded"))
        .count();
    println!(
        "{REQUESTS} requests in {SESSIONS} sessions, {good} good and {} bad reloads: all answered",
        outcomes.len() - good
    );
    assert_eq!((good, outcomes.len()), (RELOADS / 2, RELOADS));
}
