//! The gateway in To, Cc and Bcc, alone and among others, through a real
//! Postfix: only a message that names it in To is answered (STS600-9-2, 4).

use std::time::Duration;

use crate::harness::{ALICE, BOB, Draft, GATEWAY, Layout, Site, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn send(site: &Site, recipients: &[&str], draft: &Draft) {
    let reply = site.smtp().send(ALICE, recipients, &draft.to_bytes());
    assert_eq!(reply.code, 250, "{reply:?}");
}

#[test]
fn only_mail_to_the_gateway_is_answered_and_others_get_their_copies() {
    let site = Layout::new().start();
    let to_bob =
        |number: u32| Draft::request(&format!("{{KMS:Help}} {number}"), "please\n").with("To", BOB);
    let blind = to_bob(1);
    send(&site, &[GATEWAY, BOB], &blind);
    let copied = to_bob(2).with("Cc", GATEWAY);
    send(&site, &[BOB, GATEWAY], &copied);
    let blind_alone = to_bob(3);
    send(&site, &[GATEWAY], &blind_alone);
    let both = to_bob(4)
        .with("To", &format!("Bob <{BOB}>, The Gateway <{GATEWAY}>"))
        .with("Cc", GATEWAY);
    send(&site, &[GATEWAY, BOB, GATEWAY], &both);

    site.mailbox(ALICE).wait_for_reply("{KMS:Help} 4");
    let copies = site.mailbox(BOB).wait_for_count(3);
    let rules = until("each is in the log", PATIENCE, || {
        let rules = site.gateway.as_ref().expect("it runs").rules();
        (rules.len() == 4).then_some(rules)
    });
    assert_eq!(rules, ["not-in-to", "not-in-to", "not-in-to", "request"]);
    let mut subjects: Vec<_> = copies
        .iter()
        .filter_map(|mail| mail.header("Subject"))
        .collect();
    subjects.sort();
    assert_eq!(subjects, ["{KMS:Help} 1", "{KMS:Help} 2", "{KMS:Help} 4"]);
    assert_eq!(site.mailbox(ALICE).mails().len(), 1);
    assert!(
        site.mailbox(GATEWAY).mails().is_empty(),
        "no copy of the gateway's is delivered"
    );
}
