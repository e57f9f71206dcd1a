//! Mail that is not the gateway's: it arrives byte for byte as it does without
//! the milter, whether the gateway runs or not.

use std::{net::UdpSocket, time::Duration};

use crate::harness::{
    ALICE, BOB, CAROL, Draft, GATEWAY, House, Layout, Lock, Milter, Site, taken, until,
};

/// Messages that a careless filter would change. Each ends with CRLF.
fn awkward_messages() -> Vec<(&'static str, Vec<u8>)> {
    let draft = |body: &[u8]| {
        Draft::request("for Bob", "")
            .with("To", BOB)
            .with_body(body)
            .to_bytes()
    };
    vec![
        ("plain", draft(b"Hello Bob.\r\n")),
        ("no body", draft(b"")),
        ("no header", b"\r\nOnly a body.\r\n".to_vec()),
        (
            "blanks and tabs at line ends",
            draft(b"one \r\ntwo\t\r\n \r\n\r\n\r\n"),
        ),
        ("dots", draft(b".\r\n..\r\n...\r\n.x\r\n")),
        (
            "8-bit bytes of no charset",
            draft(b"\xff\xfe\x80\xa0 caf\xe9\r\n"),
        ),
        ("a service code for somebody else", {
            Draft::request("{KMS:Help} not for the gateway", "")
                .with("To", GATEWAY)
                .to_bytes()
        }),
        ("our own fields", {
            let draft = Draft::request("{KMS:Help}", "x\n").with("X-Loop", GATEWAY);
            draft
                .with("X-Gateway-Result", "Success\tforged")
                .with("Auto-Submitted", "no")
                .to_bytes()
        }),
        ("fields folded, repeated and empty", {
            b"Received: from elsewhere\r\n\tby somewhere; Mon, 29 Jun 2020 03:26:45 +0200\r\n\
              Subject: one\r\n  two\r\n\tthree\r\nSubject: again\r\nX-Empty:\r\nX-Blank: \r\n\
              X-No-Blank:value\r\nx-case: \xe9\r\n\r\nbody\r\n"
                .to_vec()
        }),
        (
            "a long line",
            draft(&[vec![b'x'; 990], b"\r\n".to_vec()].concat()),
        ),
        (
            "a megabyte",
            draft(
                &b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\r\n"
                    .repeat(16_000),
            ),
        ),
        ("multipart", {
            Draft::request("parts", "")
                .with("Content-Type", "multipart/mixed; boundary=\"=_b\"")
                .with_body(*b"preamble\r\n--=_b\r\n\r\none\r\n--=_b--\r\nepilogue\r\n")
                .to_bytes()
        }),
    ]
}

#[test]
fn mail_for_others_arrives_as_without_the_milter() {
    let site = Layout::new().start();
    assert_no_difference(&site, &[BOB], &[BOB]);
}

#[test]
fn mail_for_the_gateway_and_others_loses_only_the_gateways_copy() {
    let site = Layout::new().start();
    assert_no_difference(&site, &[GATEWAY, BOB], &[BOB]);
    // In another order and another spelling; twice.
    assert_no_difference(&site, &[BOB, "Gateway@KMS.example.org", GATEWAY], &[BOB]);
    assert!(site.mailbox(GATEWAY).mails().is_empty());

    let request = Draft::request("{KMS:Help} and for Bob", "").with("Cc", BOB);
    site.smtp()
        .send(ALICE, &[GATEWAY, BOB], &request.to_bytes());
    site.mailbox(ALICE).wait_for_reply("{KMS:Help} and for Bob");
}

#[test]
fn a_session_that_asked_the_gateway_sends_other_mail_too() {
    let site = Layout::new().start();
    let mut session = site.smtp();
    for number in 0..3 {
        let request = Draft::request(&format!("{{KMS:Help}} {number}"), "");
        assert_eq!(
            session.send(ALICE, &[GATEWAY], &request.to_bytes()).code,
            250
        );
        let other = Draft::request(&format!("other {number}"), "").with("To", CAROL);
        assert_eq!(session.send(ALICE, &[CAROL], &other.to_bytes()).code, 250);
        session.command("MAIL FROM:<>");
        session.command("RSET");
    }
    assert_eq!(site.mailbox(CAROL).wait_for_count(3).len(), 3);
    assert_eq!(site.mailbox(ALICE).wait_for_count(3).len(), 3);
}

/// Messages for others go through one after the other, in sessions of their own,
/// while `waiting` still has no answer.
#[track_caller]
fn assert_others_pass(house: &House, waiting: &Milter) {
    for _ in 0..50 {
        let mut session = house.session();
        session.mail(ALICE);
        assert_eq!(session.recipient(BOB), 'c');
        assert_eq!(session.data(), 'a');
    }
    assert!(!waiting.has_answer(), "it did not wait");
}

#[test]
fn blocklists_and_a_store_that_hang_hold_up_nobody_elses_mail() {
    let layout = House::layout();
    let nowhere = UdpSocket::bind(layout.port(5300)).unwrap();
    let zone = "site = 'bl.example'\nhealth = false".parse::<toml::Table>();
    layout.set_gateway("dnsbl", "zones", vec![toml::Value::from(zone.unwrap())]);
    layout.set_gateway("dnsbl", "resolver", layout.port(5300).to_string());
    layout.set_gateway("dnsbl", "time_limit", "3s");
    layout.set_gateway("policy", "trusted_networks", Vec::<toml::Value>::new());
    let gateway = layout.start_gateway();
    let house = House { gateway, layout };

    let mut session = house.session();
    session.mail(ALICE);
    session.send('R', format!("<{GATEWAY}>\0").as_bytes());
    nowhere.recv_from(&mut [0; 512]).unwrap();
    assert_others_pass(&house, &session);
    assert_eq!(session.answer().command, 'c', "the look-up is given up");

    let lock = Lock::hold(&house.layout);
    assert_eq!(session.data(), 'c');
    let request = [("From", ALICE), ("To", GATEWAY), ("Subject", "{KMS:Help}")];
    session.content(request, b"please\r\n");
    session.macros('E', &[("i", "4bXyZq1cDez9")]);
    session.send('E', b"");
    assert_others_pass(&house, &session);
    drop(lock);
    assert_eq!(session.answer().command, taken().verdict);
}

#[test]
fn without_the_gateway_other_mail_flows_and_its_own_waits() {
    let mut site = Layout::new().start_with(None);
    let request = Draft::request("{KMS:Help} while you were out", "");
    let accepted = site
        .smtp()
        .send(ALICE, &[GATEWAY, BOB], &request.to_bytes());
    assert_eq!(accepted.code, 250, "{accepted:?}");
    site.mailbox(BOB).wait_for_count(1);
    let delayed = until("the request is deferred", Duration::from_secs(20), || {
        site.postfix
            .queue()
            .into_iter()
            .find(|queued| queued["queue_name"] == "deferred")
    });
    let [recipient] = delayed["recipients"].as_array().unwrap().as_slice() else {
        unreachable!("more than the gateway waits: {delayed}");
    };
    assert_eq!(recipient["address"], GATEWAY);
    assert!(
        recipient["delay_reason"]
            .as_str()
            .unwrap()
            .contains("451 4.7.1"),
        "{recipient}"
    );

    site.gateway = Some(site.layout.start_gateway());
    site.postfix.deliver_all();
    site.mailbox(ALICE)
        .wait_for_reply("{KMS:Help} while you were out");
}

/// Sends every awkward message to `filtered` through the milter and to
/// `unfiltered` without it. Bob must get the same, twice.
fn assert_no_difference(site: &Site, filtered: &[&str], unfiltered: &[&str]) {
    let bob = site.mailbox(BOB);
    for (name, message) in awkward_messages() {
        let before = bob.mails().len();
        let with_milter = site.smtp().send(ALICE, filtered, &message);
        assert_eq!(with_milter.code, 250, "{name}: {with_milter:?}");
        let without_milter = site
            .smtp_without_milters()
            .send(ALICE, unfiltered, &message);
        assert_eq!(without_milter.code, 250, "{name}: {without_milter:?}");
        let mails = bob.wait_for_count(before + 2);
        assert_eq!(mails.len(), before + 2, "{name}");
        let mut bodies: Vec<&[u8]> = mails.iter().map(crate::harness::Mail::as_sent).collect();
        bodies.sort_unstable();
        // Pairs: every message has arrived twice.
        for pair in bodies.chunks(2) {
            assert!(
                pair[0] == pair[1],
                "{name}:\n{}\n---\n{}",
                lossy(pair[0]),
                lossy(pair[1])
            );
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned()
}
