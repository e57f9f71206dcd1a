//! Sessions on a real store: what Postfix is told, and what is on disk then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{ffi::CString, net::IpAddr, path::Path, sync::Arc};

use jiff::SignedDuration;
use tempfile::TempDir;
use tokio::sync::watch;

use super::{Answer, Gateway, InFlight, Memory, Rules, Session};
use crate::{
    audit::{ChainKey, Entry, Event},
    clock::{Clock, SystemClock, WatchedClock},
    kms::{
        Dak, EmbeddedKms, Freshness, Secret, StorageKey,
        administration::{Administration, NewModule, new_smid},
    },
    mail::{Address, GatewayAddresses},
    policy::{
        Settings, Throttle,
        throttle::{Allowance, Excess},
    },
    store::{Leasing, Store, StoreSettings, testing::PORT},
    sts::{StsTime, TypedRecord, VkloadReq, write_in_mail},
};

const OURS: &str = "<gateway@kms.example.org>";
const REQUEST: [(&str, &str); 5] = [
    ("From", " alice@vendor.example"),
    ("To", " gateway@kms.example.org"),
    ("Subject", " {KMS:Help}"),
    ("Date", " Tue, 24 Nov 2026 03:12:00 +0000"),
    ("Message-ID", " <1@vendor.example>"),
];

struct House {
    storage_key: StorageKey,
    gateway: Arc<Gateway>,
    store: Arc<Store>,
    rules: watch::Sender<Arc<Rules>>,
    _directory: TempDir,
}

fn rules(keep_bcc: bool) -> Arc<Rules> {
    let address = Address::parse("gateway@kms.example.org").unwrap();
    Arc::new(Rules {
        addresses: GatewayAddresses::new(vec![address], "+"),
        policy: Settings::default(),
        blocklists: None,
        throttle: Throttle::default(),
        max_stranger_subject: 256,
        reply_reverse_path: String::new(),
        internal_daemon_name: "internal".to_owned(),
        keep_bcc,
    })
}

fn settings(directory: &Path) -> StoreSettings {
    StoreSettings::new(directory.join("state").join("gateway.sqlite3"))
}

async fn house_with(change: impl FnOnce(&mut StoreSettings)) -> House {
    let directory = TempDir::new().unwrap();
    let mut settings = settings(directory.path());
    change(&mut settings);
    let store = Store::open(&settings, Some(ChainKey::new(&[7; 32])))
        .await
        .unwrap();
    let (sender, receiver) = watch::channel(rules(false));
    let sealing: Secret<32> = Secret::random().unwrap();
    let storage_key = || StorageKey::new(Secret::copied_from(sealing.expose()).unwrap());
    let kms = EmbeddedKms::new(store.clone(), storage_key(), Freshness::default()).unwrap();
    let gateway = Arc::new(Gateway {
        store: store.clone(),
        kms: Arc::new(kms),
        clock: Arc::new(WatchedClock::unknown(Arc::new(SystemClock))),
        rules: receiver,
        in_flight: InFlight::default(),
        memory: Memory::new(16 << 20),
    });
    House {
        storage_key: storage_key(),
        gateway,
        store,
        rules: sender,
        _directory: directory,
    }
}

async fn house() -> House {
    house_with(|_| ()).await
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap()
}

impl House {
    fn session(&self, daemon_name: &str) -> Session {
        Session::new(
            self.gateway.clone(),
            daemon_name,
            "mail.kms.example.org".to_owned(),
            Some(IpAddr::from([192, 0, 2, 1])),
        )
    }

    /// Sends a message and gives the answers to DATA and end-of-message.
    async fn send(
        &self,
        session: &mut Session,
        recipients: &[&str],
        headers: &[(&str, &str)],
    ) -> (Answer, Answer) {
        session.mail("<alice@vendor.example>".to_owned(), false);
        for recipient in recipients {
            assert_eq!(
                session
                    .recipient(c_string(recipient), None, "NOQUEUE")
                    .await,
                Answer::Continue
            );
        }
        let data = session.data();
        for (name, value) in headers {
            session.header(name.as_bytes(), value.as_bytes());
        }
        session.body(b"hello\r\n");
        (data, session.end_of_message("4QUEUEID").await)
    }

    async fn spooled(&self) -> u64 {
        self.store.spool_usage().await.unwrap().requests
    }

    async fn events(&self) -> Vec<(Event, Option<String>)> {
        let entries = self.store.audit_entries(1, 100).await.unwrap();
        entries
            .into_iter()
            .map(|stored| stored.entry().unwrap())
            .map(|entry| (entry.event, entry.rule))
            .collect()
    }
}

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

/// A Postfix with `milter_protocol = 3` doesn't ask at DATA.
#[tokio::test]
async fn without_data_mail_for_others_is_let_go_at_its_end() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.mail("<alice@vendor.example>".to_owned(), false);
    session
        .recipient(c_string("<bob@vendor.example>"), None, "NOQUEUE")
        .await;
    for (name, value) in REQUEST {
        session.header(name.as_bytes(), value.as_bytes());
    }
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
    for (name, value) in REQUEST {
        session.header(name.as_bytes(), value.as_bytes());
    }
    assert_eq!(
        session.end_of_message("4QUEUEID").await,
        Answer::DeleteRecipients(vec![c_string("<Gateway>")])
    );
}

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
    for (name, value) in REQUEST {
        session.header(name.as_bytes(), value.as_bytes());
    }
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

/// The text of the body is larger than all the room for content.
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
        for (name, value) in REQUEST {
            session.header(name.as_bytes(), value.as_bytes());
        }
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
async fn a_message_keeps_the_rules_that_it_began_with() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.mail("<alice@vendor.example>".to_owned(), false);
    house.rules.send_replace(rules(true));
    session.recipient(c_string(OURS), None, "NOQUEUE").await;
    for (name, value) in REQUEST {
        session.header(name.as_bytes(), value.as_bytes());
    }
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
async fn what_is_too_large_is_bounded_and_ignored() {
    let house = house().await;
    let mut session = house.session("smtpd");
    session.mail("<alice@vendor.example>".to_owned(), false);
    session.recipient(c_string(OURS), None, "NOQUEUE").await;
    for (name, value) in REQUEST {
        session.header(name.as_bytes(), value.as_bytes());
    }
    let piece = vec![b'x'; 65_535];
    for _ in 0..100 {
        session.body(&piece);
    }
    let kept = session.bytes_kept();
    assert!(
        kept as u64 <= Settings::default().max_message_bytes,
        "{kept}"
    );
    assert_eq!(session.end_of_message("4QUEUEID").await, Answer::Discard);
    assert_eq!(
        house.events().await,
        [(Event::Judged, Some("size".to_owned()))]
    );
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
    let limit = Settings::default().max_header_bytes;
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

/// Two at once, and a block beyond three.
fn strict_rules() -> Arc<Rules> {
    let mut strict = Rules::clone(&rules(false));
    strict.throttle.sender = Allowance {
        at_once: 2,
        every: SignedDuration::from_mins(10),
        excess: Excess::Block {
            above: 3,
            lasting: SignedDuration::from_hours(1),
        },
    };
    Arc::new(strict)
}

impl House {
    /// Sends requests one after the other, each a message of its own, and gives
    /// the rule of each by the audit log; none for those done at once.
    async fn flood(&self, client: [u8; 4], body: &str, count: usize) -> Vec<Option<String>> {
        let before = self.events().await.len();
        for number in 0..count {
            let mut session = Session::new(
                self.gateway.clone(),
                "smtpd",
                String::new(),
                Some(IpAddr::from(client)),
            );
            session.mail("<alice@vendor.example>".to_owned(), false);
            session.recipient(c_string(OURS), None, "NOQUEUE").await;
            let id = format!("<{before}.{number}@vendor.example>");
            let mut headers = REQUEST;
            headers[2].1 = " {KMS:GetKlfStsEd2}";
            headers[4].1 = &id;
            for (name, value) in headers {
                session.header(name.as_bytes(), value.as_bytes());
            }
            session.body(body.as_bytes());
            assert_eq!(session.end_of_message("4QUEUEID").await, Answer::Discard);
        }
        let events = self.events().await.into_iter().skip(before);
        events.map(|(_, rule)| rule).collect()
    }

    /// A module that is registered, and a request of it by mail.
    async fn module(&self, dak: &Dak) -> String {
        let now = SystemClock.now();
        let (issuer, name) = ("Example".parse().unwrap(), "9000".parse().unwrap());
        let smid = new_smid(issuer, name, now).unwrap();
        let new = NewModule {
            smid: smid.clone(),
            hardware: "SM1".parse().unwrap(),
            sgcs: ["000439".parse().unwrap()].into(),
            dak,
        };
        Administration::new(&*self.store, &self.storage_key)
            .add_module(new, now)
            .await
            .unwrap();
        let mut request = VkloadReq {
            smid,
            kmcid: "KMCID.1:Prism:K0001:20200622T140747Z:9863A537B5AF34F5:6850"
                .parse()
                .unwrap(),
            time: StsTime::from_timestamp(now).unwrap(),
            hardware: "SM1".parse().unwrap(),
            firmware: "FW1.0".parse().unwrap(),
            public_key: "04ABCD".parse().unwrap(),
            mac: [0; 24],
        };
        request.mac = dak.request_mac(&request.authenticated_text());
        write_in_mail(&request.to_record())
    }
}

#[tokio::test]
async fn a_flood_is_deferred_then_blocked_then_ignored() {
    let house = house().await;
    house.rules.send_replace(strict_rules());
    let rule = |name: &str| Some(name.to_owned());
    assert_eq!(
        house.flood([192, 0, 2, 1], "", 5).await,
        [None, None, rule("flood"), rule("blocked"), rule("blocked")]
    );
    let usage = house.store.spool_usage().await.unwrap();
    assert_eq!((usage.requests, usage.replies), (4, 2));
    let now = SystemClock.now();
    for code in ["Deferred", "Blocked"] {
        let hold = SignedDuration::from_secs(60);
        let delivery = house
            .store
            .lease_delivery(Leasing::alone(now, hold), PORT)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(delivery.target, "alice@vendor.example");
        let notice = String::from_utf8(delivery.message.clone()).unwrap();
        assert!(
            notice.contains(&format!("X-Gateway-Result: Notice\t{code}\t")),
            "{notice}"
        );
        house
            .store
            .delivered(&delivery, now, "250 ok")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn who_forges_an_address_blocks_neither_its_owner_nor_its_module() {
    let house = house().await;
    house.rules.send_replace(strict_rules());
    let dak = Dak::random().unwrap();
    let request = house.module(&dak).await;
    let forged = house.flood([192, 0, 2, 1], "", 9).await;
    assert_eq!(forged.last().unwrap().as_deref(), Some("blocked"));
    assert_eq!(house.flood([198, 51, 100, 1], "", 1).await, [None]);
    assert_eq!(house.flood([192, 0, 2, 1], &request, 1).await, [None]);
}

#[tokio::test]
async fn a_record_with_another_mac_is_not_its_modules() {
    let house = house().await;
    house.rules.send_replace(strict_rules());
    let dak = Dak::random().unwrap();
    let request = house.module(&dak).await;
    let record = crate::sts::single_in_mail::<VkloadReq>(&request).unwrap();
    let mut forged = record.clone();
    forged.mac = [7; 24];
    let forged = write_in_mail(&forged.to_record());
    house.flood([192, 0, 2, 1], "", 9).await;
    let before = house.spooled().await;
    let entries = house.flood([192, 0, 2, 1], &forged, 1).await;
    assert_eq!(entries, [], "ignored, and counted with the others");
    assert_eq!(house.spooled().await, before);
}
