//! Replies that Postfix refuses or doesn't take for a time, and requests whose
//! service is out of order. All others are answered in the end. A requester who
//! has waited for long gets one notice before the answer.

use std::{thread, time::Duration};

use serde_json::Value;

use crate::harness::{
    ALICE, BOB, CAROL, Draft, GATEWAY, Layout, Mail, Module, Site, SoftwareModule, until,
};

/// How long nobody listens for replies.
const OUTAGE: Duration = Duration::from_secs(30);

/// A site whose Postfix gives queue ids that sort by time.
fn layout() -> Layout {
    let layout = Layout::new();
    layout.set_postfix("enable_long_queue_ids=yes");
    layout
}

fn site(notice_after: &str) -> Site {
    let layout = layout();
    layout.close_reply_port();
    layout.set_gateway("worker", "first_retry", "1s");
    layout.set_gateway("worker", "longest_retry", "4s");
    layout.set_gateway("worker", "notice_after", notice_after);
    layout.start()
}

fn send(site: &Site, from: &str, subject: &str) {
    let draft = Draft::request(subject, "").with("From", from);
    let taken = site.smtp().send(from, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
}

/// The replies to a request, in the order of their arrival.
fn results(site: &Site, person: &str, subject: &str) -> Vec<String> {
    let expected = format!("Auto: {subject}");
    let mails = site.mailbox(person).mails();
    let mut mails: Vec<&Mail> = mails
        .iter()
        .filter(|mail| mail.header("Subject").as_deref() == Some(&expected))
        .collect();
    mails.sort_by_key(|mail| arrival(mail));
    mails.iter().map(|mail| mail.result()[0].clone()).collect()
}

/// A long queue id begins with the time, to the microsecond, in characters that sort
/// as they count. The gateway hands one mail over after the other. (The time in
/// Postfix's Received is an earlier one, that of MAIL FROM.)
fn arrival(mail: &Mail) -> String {
    let received = mail.header("Received").expect("a Received");
    let (_, id) = received.split_once(" id ").expect("a queue id");
    id.split_whitespace().next().expect("an id").to_owned()
}

fn audit(site: &Site) -> Vec<Value> {
    let json = site.layout.gateway(&["audit", "list", "--json"]);
    serde_json::from_str(&json).expect("an array")
}

#[test]
fn when_postfix_comes_back_in_time_everybody_is_answered_and_nobody_told() {
    let site = site("15min");
    let people = [ALICE, BOB, CAROL];
    for number in 0..12 {
        let person = people[number % people.len()];
        send(&site, person, &format!("{{KMS:Help}} {number}"));
    }
    // The outage itself, and no waiting for anything.
    thread::sleep(OUTAGE);
    for person in people {
        assert!(site.mailbox(person).mails().is_empty());
    }
    site.open_reply_port();
    for number in 0..12 {
        let person = people[number % people.len()];
        let subject = format!("{{KMS:Help}} {number}");
        site.mailbox(person).wait_for_reply(&subject);
        assert_eq!(results(&site, person, &subject), ["Success"]);
    }
    eprintln!("12 requests answered after an outage of {OUTAGE:?}");
}

/// How many envelope recipients were refused in each session whose end Postfix
/// has logged: `disconnect from … rcpt=0/1 quit=1 commands=3/4`.
fn refused_by_session(log: &str) -> Vec<u32> {
    let ends = log.lines().filter(|line| line.contains("disconnect from"));
    let counts = ends.filter_map(|line| {
        let (_, rest) = line.split_once(" rcpt=")?;
        let (good, all) = rest.split_whitespace().next()?.split_once('/')?;
        Some(all.parse::<u32>().ok()? - good.parse::<u32>().ok()?)
    });
    counts.collect()
}

#[test]
fn refused_replies_hold_up_no_other() {
    let site = Layout::new().start();
    // Nobody has a mailbox by these names: 550 5.1.1.
    site.send_with_refused_targets("vendor.example", 6);
    site.mailbox(ALICE).wait_for_count(6);
    // Postfix answers late, and then not at all, on a session with many errors.
    let sessions = until("24 are refused", Duration::from_secs(30), || {
        let sessions = refused_by_session(&site.postfix.log());
        (sessions.iter().sum::<u32>() == 24).then_some(sessions)
    });
    assert!(sessions.iter().all(|refused| *refused <= 1), "{sessions:?}");
}

#[test]
fn who_waits_past_the_time_gets_one_notice_and_then_the_answer() {
    let site = site("8s");
    let people = [ALICE, BOB, CAROL];
    let asked: Vec<(&str, String)> = (0..9)
        .map(|number| {
            let subject = format!("{{KMS:GetPublicKey}} {number}");
            (people[number % people.len()], subject)
        })
        .collect();
    for (person, subject) in &asked {
        send(&site, person, subject);
    }
    let late = |audit: &[Value]| {
        let notices = audit
            .iter()
            .filter(|entry| entry["code"] == "Deferred" && entry["event"] == "postponed");
        notices.count()
    };
    // The first reply for each person is tried, and the others wait behind it.
    until(
        "each person is due a notice",
        Duration::from_secs(60),
        || (late(&audit(&site)) >= people.len()).then_some(()),
    );
    thread::sleep(Duration::from_secs(6));
    site.open_reply_port();
    for (person, subject) in &asked {
        site.mailbox(person).wait_for(subject, |mail| {
            mail.header("Subject").as_deref() == Some(&format!("Auto: {subject}"))
                && mail.result()[0] == "Success"
        });
    }
    for (person, subject) in &asked {
        let results = results(&site, person, subject);
        assert_eq!(results, ["Notice", "Success"], "{person} {subject}");
    }
    eprintln!(
        "{} requests, each with one notice and then its answer",
        asked.len()
    );
}

/// A site whose KMC key is spoilt, and three requests of Alice's module.
fn spoilt(notice_after: &str, give_up: &str) -> (Site, Vec<String>) {
    let layout = layout();
    layout.set_gateway("worker", "first_retry", "1s");
    layout.set_gateway("worker", "longest_retry", "2s");
    layout.set_gateway("worker", "notice_after", notice_after);
    layout.set_gateway("worker", "give_up", give_up);
    let module = SoftwareModule::new(&layout, "SM1");
    let public_key = layout.gateway(&["kmc", "public-key"]);
    let site = layout.start();
    site.layout.sqlite(
        "CREATE TABLE kept AS SELECT sealed_private_key FROM kmc_keys;
         UPDATE kmc_keys SET sealed_private_key = zeroblob(length(sealed_private_key));",
    );
    let subjects: Vec<String> = (0..3)
        .map(|number| format!("{{KMS:GetKlfStsEd2}} {number}"))
        .collect();
    for subject in &subjects {
        let draft = Draft::request(subject, &module.request(&public_key));
        let taken = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    }
    (site, subjects)
}

#[test]
fn who_waits_for_a_service_is_told_once_and_answered_when_it_is_mended() {
    let (site, subjects) = spoilt("3s", "1h");
    for subject in &subjects {
        let notice = site.mailbox(ALICE).wait_for_reply(subject);
        assert_eq!(notice.result()[..2], ["Notice", "Deferred"]);
    }
    // More attempts, and no more notices.
    until("another attempt", Duration::from_secs(20), || {
        let log = site.gateway.as_ref().expect("it runs").log();
        (log.matches("put off").count() >= 6).then_some(())
    });
    site.layout.sqlite(
        "UPDATE kmc_keys SET sealed_private_key = (SELECT sealed_private_key FROM kept);
         DROP TABLE kept;",
    );
    for subject in &subjects {
        site.mailbox(ALICE).wait_for(subject, |mail| {
            mail.header("Subject").as_deref() == Some(&format!("Auto: {subject}"))
                && mail.result()[0] == "Success"
        });
        assert_eq!(results(&site, ALICE, subject), ["Notice", "Success"]);
    }
    // Each hand-over is called what it is. Its line comes a moment after the mail.
    until("each hand-over in the log", Duration::from_secs(20), || {
        let log = site.gateway.as_ref().expect("it runs").log();
        let count = |what| log.matches(&format!("{what} handed to Postfix")).count();
        (["notice", "reply"].map(count) == [subjects.len(); 2]).then_some(())
    });
    let delivered = |entry: &&Value| entry["event"] == "delivered";
    let entries = audit(&site);
    let results: Vec<&Value> = entries
        .iter()
        .filter(delivered)
        .map(|entry| &entry["result"])
        .collect();
    let notices = results.iter().filter(|result| **result == "Notice");
    assert_eq!(
        (notices.count(), results.len()),
        (subjects.len(), 2 * subjects.len())
    );
}

#[test]
fn what_cannot_be_served_in_the_end_is_answered_so() {
    let (site, subjects) = spoilt("15min", "4s");
    for subject in &subjects {
        let reply = site.mailbox(ALICE).wait_for_reply(subject);
        assert_eq!(reply.result()[..2], ["Error", "EServiceFailed"]);
    }
    assert_eq!(site.mailbox(ALICE).mails().len(), subjects.len());
}
