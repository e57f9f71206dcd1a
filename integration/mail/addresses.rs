//! The addresses that are the gateway's. An admin's Postfix also archives and
//! signs requests and replies.

use crate::harness::{ALICE, DkimKey, Draft, GATEWAY, Layout, Mail};

#[test]
fn the_gateway_knows_its_address_however_it_is_written() {
    let site = Layout::new().start();
    let spellings = [
        "gateway@kms.example.org",
        "GATEWAY@kms.example.org.",
        "Gateway@KMS.Example.ORG",
        "\"gateway\"@kms.example.org",
        "gateway+x@kms.example.org",
        "\"GateWay+a.b\"@KMS.example.org.",
    ];
    for (number, spelling) in spellings.iter().enumerate() {
        let subject = format!("{{KMS:Help}} {number}");
        // Both ways in: through the milter, and out of the queue.
        for (way, mut session) in [
            ("outer", site.smtp()),
            ("internal", site.smtp_without_milters()),
        ] {
            let subject = format!("{subject} {way}");
            let draft = Draft::request(&subject, "");
            let accepted = session.send(ALICE, &[spelling], &draft.to_bytes());
            assert_eq!(accepted.code, 250, "{spelling} {way}: {accepted:?}");
            site.mailbox(ALICE).wait_for_reply(&subject);
        }
    }
    // Neither is a copy left behind.
    assert!(site.mailbox(GATEWAY).mails().is_empty());
}

#[test]
fn to_is_compared_as_the_envelope_is() {
    let site = Layout::new().start();
    let spellings = [
        "<GATEWAY@KMS.Example.org>",
        "KMC <gateway+x@kms.example.org>",
        "\"gateway\"@kms.example.org",
    ];
    for (number, spelling) in spellings.iter().enumerate() {
        let draft = Draft::request(&format!("{{KMS:Help}} {number}"), "").with("To", spelling);
        let reply = site.ask(&draft);
        assert_eq!(reply.result()[0], "Success", "{spelling}");
    }
}

#[test]
fn an_archive_gets_its_copy() {
    let layout = Layout::new();
    layout.set_postfix("always_bcc=archive@kms.example.org");
    layout.set_gateway("milter", "keep_bcc", true);
    let site = layout.start();
    let request = Draft::request("{KMS:Help} for the archive", "");
    site.ask(&request);
    // The request and its reply.
    let archived = site.mailbox("archive").wait_for_count(2);
    let subjects: Vec<String> = archived
        .iter()
        .filter_map(|mail| mail.header("Subject"))
        .collect();
    assert!(
        subjects.contains(&"{KMS:Help} for the archive".to_owned()),
        "{subjects:?}"
    );
    assert!(
        subjects.contains(&"Auto: {KMS:Help} for the archive".to_owned()),
        "{subjects:?}"
    );
    assert!(site.mailbox(GATEWAY).mails().is_empty());
}

#[test]
fn a_signer_on_the_reply_port_signs_replies() {
    let layout = Layout::new();
    let signer = layout.port(8891);
    layout.set_postfix_service(18025, &format!("smtpd_milters=inet:{signer}"));
    let key = DkimKey::generate(layout.directory(), "kms.example.org");
    let _signing = key.sign_at(signer);
    let site = layout.start();
    let reply = site.ask(&Draft::request("{KMS:GetPublicKey} signed", ""));
    assert_eq!(key.verify(&reply), "pass");

    // A verifier that says so of anything would be none.
    let mut forged = reply.raw().to_vec();
    let fingerprint = forged
        .windows(11)
        .position(|text| text == b"Fingerprint")
        .unwrap();
    forged[fingerprint] = b'f';
    assert_eq!(key.verify(&Mail::new(forged)), "fail");
}
