//! The answer to each kind of message, and the content of the disk then.

use std::ffi::CString;

use jiff::SignedDuration;

use super::house::{OURS, REQUEST, add_fields, c_string, house, rules};
use crate::{
    audit::{Entry, Event},
    milter::Answer,
    store::Leasing,
    time::{Clock, SystemClock},
};

#[tokio::test]
async fn mail_for_others_is_let_go_at_data_and_leaves_no_trace() {
    let house = house().await;
    let mut session = house.session("smtpd");
    let (data, _) = house
        .send(&mut session, &["<bob@vendor.example>"], &REQUEST)
        .await;
    assert_eq!(data, Answer::NotOurs);
    assert_eq!(house.spooled().await, 0);
    assert_eq!(house.events().await, []);
}

/// A Postfix with `milter_protocol = 3` doesn't send DATA.
#[tokio::test]
async fn without_data_mail_for_others_is_let_go_at_its_end() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.mail("<alice@vendor.example>".to_owned(), false);
    session
        .recipient(c_string("<bob@vendor.example>"), None, "NOQUEUE")
        .await;
    add_fields(&mut session, &REQUEST);
    session.body(b"hello\r\n");
    assert_eq!(session.bytes_kept(), 0);
    assert_eq!(session.end_of_message("4QUEUEID").await, Answer::NotOurs);
    assert_eq!(house.events().await, []);
}

#[tokio::test]
async fn a_normal_form_is_for_what_is_no_address_by_itself() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.mail("<alice@vendor.example>".to_owned(), false);
    let normal_form = Some("gateway@kms.example.org");
    for argument in ["<Gateway>", "<bob@vendor.example>"] {
        session
            .recipient(c_string(argument), normal_form, "NOQUEUE")
            .await;
    }
    add_fields(&mut session, &REQUEST);
    assert_eq!(
        session.end_of_message("4QUEUEID").await,
        Answer::DeleteRecipients(vec![c_string("<Gateway>")])
    );
}

#[tokio::test]
async fn a_request_is_spooled_and_discarded() {
    let house = house().await;
    let answers = house
        .send(&mut house.session("smtpd"), &[OURS], &REQUEST)
        .await;
    assert_eq!(answers, (Answer::Continue, Answer::Discard));
    assert_eq!(house.spooled().await, 1);
    let now = SystemClock.now();
    let leased = house
        .store
        .lease(Leasing::alone(now, SignedDuration::from_secs(60)))
        .await
        .unwrap()
        .work()
        .unwrap();
    let text = String::from_utf8(leased.message).unwrap();
    assert!(text.starts_with("From: alice@vendor.example\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nhello\r\n"), "{text}");
    assert_eq!(house.events().await, [(Event::Accepted, None)]);
}

#[tokio::test]
async fn of_a_message_for_others_too_only_our_recipients_are_deleted() {
    let house = house().await;
    let ours = [
        OURS,
        "<GATEWAY@kms.example.org.>",
        "<\"gateway\"@KMS.example.org>",
        "<gateway+x@kms.example.org>",
    ];
    let mut recipients = vec!["<bob@vendor.example>"];
    recipients.extend(ours);
    recipients.push(OURS);
    let (_, end) = house
        .send(&mut house.session("smtpd"), &recipients, &REQUEST)
        .await;
    let mut deleted: Vec<CString> = ours.iter().map(|recipient| c_string(recipient)).collect();
    deleted.push(c_string(OURS));
    assert_eq!(end, Answer::DeleteRecipients(deleted));
    assert_eq!(house.spooled().await, 1);
}

#[tokio::test]
async fn with_keep_bcc_nothing_is_discarded() {
    let house = house().await;
    house.rules.send_replace(rules(true));
    let (_, end) = house
        .send(&mut house.session("smtpd"), &[OURS], &REQUEST)
        .await;
    assert_eq!(end, Answer::DeleteRecipients(vec![c_string(OURS)]));
}

#[tokio::test]
async fn a_message_keeps_the_rules_that_it_began_with() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.mail("<alice@vendor.example>".to_owned(), false);
    house.rules.send_replace(rules(true));
    session.recipient(c_string(OURS), None, "NOQUEUE").await;
    add_fields(&mut session, &REQUEST);
    assert_eq!(session.end_of_message("4QUEUEID").await, Answer::Discard);
}

#[tokio::test]
async fn ignored_mail_is_audited_and_discarded() {
    let house = house().await;
    let mut headers = REQUEST.to_vec();
    headers.push(("Auto-Submitted", " auto-replied"));
    let (_, end) = house
        .send(&mut house.session("smtpd"), &[OURS], &headers)
        .await;
    assert_eq!(end, Answer::Discard);
    assert_eq!(house.spooled().await, 0);
    assert_eq!(
        house.events().await,
        [(Event::Judged, Some("auto-submitted".to_owned()))]
    );
}

#[tokio::test]
async fn the_same_message_again_is_one_request() {
    let house = house().await;
    let mut relayed = vec![(
        "Received",
        " from mail by mail; Tue, 24 Nov 2026 03:12:01 +0000",
    )];
    relayed.extend(REQUEST);
    house
        .send(&mut house.session("smtpd"), &[OURS], &REQUEST)
        .await;
    let (_, end) = house
        .send(&mut house.session("internal"), &[OURS], &relayed)
        .await;
    assert_eq!(end, Answer::Discard);
    assert_eq!(house.spooled().await, 1);
    let events: Vec<Event> = house
        .events()
        .await
        .into_iter()
        .map(|(event, _)| event)
        .collect();
    assert_eq!(events, [Event::Accepted, Event::Duplicate]);
}

#[tokio::test]
async fn one_connection_carries_many_messages_apart() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.mail("<mallory@vendor.example>".to_owned(), false);
    session.recipient(c_string(OURS), None, "NOQUEUE").await;
    session.header(b"Auto-Submitted", b" auto-replied");
    session.abort();
    let (_, end) = house.send(&mut session, &[OURS], &REQUEST).await;
    assert_eq!(end, Answer::Discard);
    assert_eq!(house.spooled().await, 1);
}

#[tokio::test]
async fn the_internal_listener_neither_passes_nor_rejects() {
    let house = house().await;
    let (data, _) = house
        .send(
            &mut house.session("internal"),
            &["<bob@vendor.example>"],
            &REQUEST,
        )
        .await;
    let Answer::Tempfail(reply) = data else {
        panic!("{data:?}")
    };
    assert_eq!((reply.code, reply.enhanced), ("451", "4.3.5"));
}

#[tokio::test]
async fn the_audit_entry_says_all_that_is_known() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.helo("first.vendor.example");
    session.helo("client.vendor.example");
    house.send(&mut session, &[OURS], &REQUEST).await;
    let entries = house.store.audit_entries(1, 9).await.unwrap();
    let entry = entries.first().unwrap().entry().unwrap();
    let size: usize = REQUEST
        .iter()
        .map(|(name, value)| name.len() + value.len() + ":\r\n".len())
        .sum();
    let expected = Entry {
        queue_id: Some("4QUEUEID".to_owned()),
        request_id: entry.request_id.clone(),
        client: Some("192.0.2.1".to_owned()),
        helo: Some("client.vendor.example".to_owned()),
        reverse_path: Some("<alice@vendor.example>".to_owned()),
        recipients: vec![OURS.to_owned()],
        from: Some("alice@vendor.example".to_owned()),
        subject: Some("{KMS:Help}".to_owned()),
        message_id: Some("<1@vendor.example>".to_owned()),
        size: Some(size as u64 + "hello\r\n".len() as u64),
        verdict: Some("request".to_owned()),
        service: Some("{KMS:Help}".to_owned()),
        ..Entry::new(entry.time, Event::Accepted)
    };
    assert_eq!(entry, expected);
    assert!(entry.request_id.is_some());
}
