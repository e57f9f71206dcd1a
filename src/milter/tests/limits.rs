//! Messages beyond a limit, and a store in trouble.

use std::{ffi::CString, sync::Arc};

use super::house::{OURS, REQUEST, add_fields, c_string, house, house_with};
use crate::{
    audit::{Entry, Event},
    milter::{Answer, Memory},
    policy::Settings,
};

#[tokio::test]
async fn any_number_of_recipients_is_taken_and_of_ours_what_can_be_kept() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.mail("<alice@vendor.example>".to_owned(), false);
    for number in 0..1_000 {
        let other = format!("<r{number}@vendor.example>");
        assert_eq!(
            session.recipient(c_string(&other), None, "NOQUEUE").await,
            Answer::Continue
        );
    }
    let ours = |number| c_string(&format!("<gateway+{number}@kms.example.org>"));
    let mut taken = 0;
    let refused = loop {
        match session.recipient(ours(taken), None, "NOQUEUE").await {
            Answer::Continue => taken += 1,
            refused => break refused,
        }
    };
    assert!(
        matches!(&refused, Answer::Tempfail(reply) if (reply.code, reply.enhanced) == ("452", "4.5.3")),
        "{refused:?}"
    );
    add_fields(&mut session, &REQUEST);
    let kept: Vec<CString> = (0..taken).map(ours).collect();
    assert!(kept.len() > 1_000, "{}", kept.len());
    assert_eq!(
        session.end_of_message("4QUEUEID").await,
        Answer::DeleteRecipients(kept.clone())
    );
    let entries = house.store.audit_entries(1, 9).await.unwrap();
    let recipients = entries.first().unwrap().entry().unwrap().recipients;
    assert_eq!(recipients.len(), Entry::RECIPIENT_LIMIT);
    let more = 1_000 + kept.len() - (Entry::RECIPIENT_LIMIT - 1);
    assert_eq!(*recipients.last().unwrap(), format!("… and {more} more"));
}

/// The body is larger than all the room for content.
#[tokio::test]
async fn without_memory_a_message_is_452_and_others_get_their_mail() {
    let mut house = house().await;
    let gateway = Arc::get_mut(&mut house.gateway).unwrap();
    gateway.memory = Memory::new(1 << 20);
    let mut session = house.session("smtpd");
    let only_ours = [OURS].as_slice();
    let with_others = [OURS, "<bob@vendor.example>"].as_slice();
    for (recipients, expected) in [(only_ours, Some(("452", "4.3.1"))), (with_others, None)] {
        session.mail("<alice@vendor.example>".to_owned(), false);
        for recipient in recipients {
            let answer = session
                .recipient(c_string(recipient), None, "NOQUEUE")
                .await;
            assert_eq!(answer, Answer::Continue);
        }
        assert_eq!(session.data(), Answer::Continue);
        add_fields(&mut session, &REQUEST);
        for _ in 0..100 {
            session.body(&[b'x'; 10_000]);
        }
        assert_eq!(session.bytes_kept(), 0, "given up at once");
        let refused = match session.end_of_message("4QUEUEID").await {
            Answer::Tempfail(reply) => Some((reply.code, reply.enhanced)),
            Answer::Continue => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused, expected);
    }
    assert_eq!(house.spooled().await, 0);
    let answers = house.send(&mut session, only_ours, &REQUEST).await;
    assert_eq!(answers, (Answer::Continue, Answer::Discard));
}

#[tokio::test]
async fn a_full_spool_is_452_and_others_get_their_mail() {
    let house = house_with(|settings| settings.max_requests = 0).await;
    let (_, alone) = house
        .send(&mut house.session("smtpd"), &[OURS], &REQUEST)
        .await;
    let Answer::Tempfail(reply) = alone else {
        panic!("{alone:?}")
    };
    assert_eq!((reply.code, reply.enhanced), ("452", "4.3.1"));
    let (_, mixed) = house
        .send(
            &mut house.session("smtpd"),
            &[OURS, "<bob@vendor.example>"],
            &REQUEST,
        )
        .await;
    assert_eq!(mixed, Answer::Continue);
    let (_, internal) = house
        .send(&mut house.session("internal"), &[OURS], &REQUEST)
        .await;
    assert!(matches!(internal, Answer::Tempfail(_)), "{internal:?}");
}

#[tokio::test]
async fn store_trouble_is_451_whatever_the_verdict() {
    let house = house().await;
    house.store.close().await;
    let mut ignored = REQUEST.to_vec();
    ignored.push(("Auto-Submitted", " auto-replied"));
    for headers in [&REQUEST[..], &ignored] {
        let (_, end) = house
            .send(&mut house.session("smtpd"), &[OURS], headers)
            .await;
        let Answer::Tempfail(reply) = end else {
            panic!("{end:?}")
        };
        assert_eq!((reply.code, reply.enhanced), ("451", "4.3.0"));
    }
}

#[tokio::test]
async fn what_is_too_large_is_bounded_and_ignored() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.mail("<alice@vendor.example>".to_owned(), false);
    session.recipient(c_string(OURS), None, "NOQUEUE").await;
    add_fields(&mut session, &REQUEST);
    let piece = vec![b'x'; 65_535];
    for _ in 0..100 {
        session.body(&piece);
    }
    let kept = session.bytes_kept();
    assert!(
        kept as u64 <= Settings::default().limits.max_message_bytes,
        "{kept}"
    );
    assert_eq!(session.end_of_message("4QUEUEID").await, Answer::Discard);
    assert_eq!(
        house.events().await,
        [(Event::Judged, Some("size".to_owned()))]
    );
}

#[tokio::test]
async fn any_number_of_fields_is_taken_within_the_limit() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.mail("<alice@vendor.example>".to_owned(), false);
    session.recipient(c_string(OURS), None, "NOQUEUE").await;
    for _ in 0..200_000 {
        session.header(b"X", b"");
    }
    session.header(b"To", &vec![b'x'; 1 << 20]);
    let limit = Settings::default().limits.max_header_bytes;
    assert!(
        session.bytes_kept() <= limit + 4,
        "one field past the limit"
    );
    assert_eq!(session.end_of_message("4QUEUEID").await, Answer::Discard);
    assert_eq!(
        house.events().await,
        [(Event::Judged, Some("malformed".to_owned()))]
    );
}
