//! Answers that are accepted.

use super::*;

#[tokio::test]
async fn a_key_load_file_is_taken_with_no_effect_on_our_own_store() {
    let vectors = vectors();
    let server = Server::answering(json!({"answer": "granted", "key_load_file": vectors["klf"]}));
    let Issue::Granted(grant) = server.kms().issue(&issue_question()).await.unwrap() else {
        panic!("refused")
    };
    let file: Vec<&str> = grant.key_load_file.iter().map(Record::text).collect();
    assert_eq!(json!(file), vectors["klf"]);
    assert_eq!(grant.effects, Effects::None);
    let keys: Vec<String> = grant
        .keys
        .iter()
        .map(|(sgc, krn)| format!("{sgc}/{krn}"))
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], "000439/1");
    let expected = json!({
        "version": 1,
        "question": "issue",
        "request_id": "ab".repeat(16),
        "record": vectors["request"],
        "accepted_at": "20260301T120007Z",
        "now": "20260301T120007Z",
    });
    assert_eq!(server.heard(), expected);
}

#[tokio::test]
async fn every_refusal_is_known_and_in_our_own_words() {
    let other = "KMCID.1:Prism:K0001:20200622T140747Z:9863A537B5AF34F5:6850";
    let at = "20260301T120007Z".parse().unwrap();
    let authentication = Refusal::Authentication;
    let cases = [
        (json!({"code": "expired"}), Refusal::Expired { now: at }),
        (json!({"code": "future"}), Refusal::Future { now: at }),
        (
            json!({"code": "kmc", "current": other}),
            Refusal::Kmc {
                current: other.parse().unwrap(),
            },
        ),
        (
            json!({"code": "authentication", "failure": "unknown-module"}),
            authentication(AuthenticationFailure::UnknownModule),
        ),
        (
            json!({"code": "authentication", "failure": "revoked"}),
            authentication(AuthenticationFailure::Revoked),
        ),
        (
            json!({"code": "authentication", "failure": "hardware-id"}),
            authentication(AuthenticationFailure::HardwareId),
        ),
        (
            json!({"code": "authentication", "failure": "mac"}),
            authentication(AuthenticationFailure::Mac),
        ),
        (
            json!({"code": "public-key", "problem": "off-curve", "curve": "P-384"}),
            Refusal::PublicKey("the point does not lie on P-384".to_owned()),
        ),
        (json!({"code": "replayed"}), Refusal::Replayed),
        (json!({"code": "no-vending-keys"}), Refusal::NoVendingKeys),
        (
            json!({"code": "limit", "until": "20260302T000000Z"}),
            Refusal::Limit {
                until: "20260302T000000Z".parse().unwrap(),
            },
        ),
    ];
    for (refusal, expected) in cases {
        let answer = json!({"answer": "refused", "refusal": refusal});
        let issuing = Server::answering(answer.clone());
        let Issue::Refused(found) = issuing.kms().issue(&issue_question()).await.unwrap() else {
            panic!("granted")
        };
        assert_eq!(found, expected);
        let foretelling = Server::answering_anyone(answer);
        let foretold = foretelling.kms().foretell(&issue_question()).await;
        assert_eq!(foretold.unwrap(), Some(expected));
        assert!(foretelling.heard().get("request_id").is_none());
    }
    let would = Server::answering_anyone(json!({"answer": "would-grant"}));
    assert_eq!(would.kms().foretell(&issue_question()).await.unwrap(), None);
}

#[tokio::test]
async fn a_public_key_is_read_and_its_fingerprint_computed_here() {
    let vectors = vectors();
    let record = &vectors["pk_record"];
    let server = Server::answering_anyone(json!({"answer": "public-key", "record": record}));
    let key = server.kms().public_key(now()).await.unwrap();
    assert_eq!(json!(key.fingerprint.to_string()), vectors["fingerprint"]);
    assert_eq!(json!(key.record.to_record().text()), *record);
    let late = "2099-01-01T00:00:00Z".parse().unwrap();
    assert_trouble(server.kms().public_key(late).await, &server, "expired at");
}

#[tokio::test]
async fn updates_say_what_the_file_says() {
    let file = texts(&vectors()["update"]);
    let signer = "0123456789ABCDEF";
    let server = Server::answering(json!({"answer": "applied", "serial": 1, "signer": signer}));
    let answer = server.kms().update(&update_question(&file)).await.unwrap();
    let Update::Applied(applied) = answer else {
        panic!("{answer:?}")
    };
    let Applied {
        serial,
        signer: by,
        added,
        revoked,
        effects,
    } = *applied;
    assert_eq!(
        (serial, by.to_string().as_str(), added.len(), revoked.len()),
        (1, signer, 1, 1)
    );
    assert_eq!(effects, Effects::None);
    assert_eq!(server.heard()["file"], json!(file));

    let again = Server::answering(json!({"answer": "already-applied", "serial": 1}));
    let answer = again.kms().update(&update_question(&file)).await.unwrap();
    assert!(matches!(answer, Update::AlreadyApplied { serial: 1 }));

    let signature = UpdateRefusal::Signature;
    let cases = [
        (
            json!({"code": "format", "reason": "twice"}),
            UpdateRefusal::Format("twice".to_owned()),
        ),
        (
            json!({"code": "signature", "failure": "no-keys"}),
            signature(SignatureFailure::NoKeys),
        ),
        (
            json!({"code": "signature", "failure": "nobody-known"}),
            signature(SignatureFailure::NobodyKnown),
        ),
        (
            json!({"code": "signature", "failure": "not-valid-now"}),
            signature(SignatureFailure::NotValidNow),
        ),
        (
            json!({"code": "serial", "expected": 7}),
            UpdateRefusal::Serial { expected: 7 },
        ),
    ];
    for (refusal, expected) in cases {
        let refusing = Server::answering(json!({"answer": "update-refused", "refusal": refusal}));
        let answer = refusing
            .kms()
            .update(&update_question(&file))
            .await
            .unwrap();
        let Update::Refused(found) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn what_is_no_file_of_records_is_refused_without_a_question() {
    let server = Server::new(Manner::Silent);
    let question = update_question(&["hello".to_owned()]);
    let answer = server.kms().update(&question).await.unwrap();
    assert!(matches!(answer, Update::Refused(UpdateRefusal::Format(_))));
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn whether_a_module_asks_is_told() {
    for expected in [true, false] {
        let answer = json!({"answer": "from-module", "from_module": expected});
        let server = Server::answering_anyone(answer);
        let answer = server.kms().is_from_module(&request(), now()).await;
        assert_eq!(answer.unwrap(), expected);
    }
}
