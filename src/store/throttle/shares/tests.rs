//! The shares of strangers, and how they stop being strangers.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::policy::{Charges, Requester, Sender};
use crate::store::testing::{TestStore, at, completion, id};
use crate::store::throttle::testing::{address, forger, from, jane, unknown};
use crate::store::{Accepted, NewRequest, StoreError};

#[tokio::test]
async fn strangers_have_their_shares_and_leave_the_rest() {
    let test = TestStore::with(|settings| settings.max_requests = 40).await;
    let stranger = async |number: u8, network: u8| {
        let target = format!("new{number}@b.example");
        let mut request = from(&forger(&target, network), &target, number);
        request.charges = Charges::default();
        test.store.accept(request).await
    };
    let crowded = |name: &str, accepted: Result<Accepted, StoreError>| {
        let Err(StoreError::Crowded { reason }) = accepted else {
            panic!("{accepted:?}")
        };
        assert!(reason.starts_with(name), "{reason}");
    };
    // 5 % for a network, 10 % for newcomers, 50 % for all strangers.
    for number in 0..2 {
        assert_eq!(stranger(number, 1).await.unwrap(), Accepted::New);
    }
    crowded("198.51.1.0/24 hold 2", stranger(2, 1).await);
    for number in 2..4 {
        assert_eq!(stranger(number, 2).await.unwrap(), Accepted::New);
    }
    crowded("newcomers hold 4", stranger(4, 3).await);

    test.execute("INSERT INTO reply_targets (sequence, target) VALUES (1, 'old@b.example')")
        .await;
    let mut old = 0;
    let reason = loop {
        let mut request = from(
            &forger("old@b.example", 10 + old),
            "old@b.example",
            10 + old,
        );
        request.charges = Charges::default();
        match test.store.accept(request).await {
            Ok(_) => old += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(old, 16, "{reason}");
    assert!(reason.contains("strangers hold 20"), "{reason}");
    for number in 100..120 {
        assert_eq!(
            test.store.accept(jane_elsewhere(number)).await.unwrap(),
            Accepted::New
        );
    }
    let full = test.store.accept(jane_elsewhere(120)).await;
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
}

/// A verified request that only the spool's bounds limit.
fn jane_elsewhere(number: u8) -> NewRequest {
    let mut request = jane(number);
    request.charges = Charges::default();
    request.sender = number.to_string();
    request
}

#[tokio::test]
async fn what_strangers_hold_is_given_back_when_their_replies_are_gone() {
    let test = TestStore::new().await;
    let target = "new@b.example";
    test.store
        .accept(from(&unknown(target), target, 1))
        .await
        .unwrap();
    let shares = async || -> Vec<(String, i64)> {
        let held = test.store.read(|connection| {
            let rows = connection.all(
                "SELECT share, messages FROM spool_shares ORDER BY share",
                &[],
            )?;
            rows.iter()
                .map(|row| Ok((row.get("share")?, row.get("messages")?)))
                .collect()
        });
        held.await.unwrap()
    };
    let all_hold =
        |count| ["192.0.2.0/24", "newcomers", "strangers"].map(|share| (share.to_owned(), count));
    assert_eq!(shares().await, all_hold(1));
    let leased = test.lease(at(1)).await.unwrap();
    assert_eq!(leased.requester, Requester::Newcomer);
    assert_eq!(leased.targets, [address(target)]);
    let completion = completion(at(1), &[target]);
    test.store
        .complete(&leased.token, completion)
        .await
        .unwrap();
    assert_eq!(shares().await, all_hold(1), "the reply waits");
    let delivery = test.lease_delivery(at(1)).await.unwrap();
    test.store.delivered(&delivery, at(1), "250").await.unwrap();
    let left: Vec<_> = shares().await.into_iter().map(|(_, count)| count).collect();
    assert_eq!(left, [0, 0], "no row of a network is left behind");
}

#[tokio::test]
async fn an_address_is_remembered_from_its_answer_on_and_known_by_a_verified_one() {
    let test = TestStore::new().await;
    let vendor = "jane@vendor.example";
    let who = async |number: u8, sender: &Sender| {
        let mut request = from(sender, vendor, number);
        request.charges = Charges::default();
        request.network = Some(std::net::IpAddr::from([192, 0, 2, 1]).into());
        test.store.accept(request).await.unwrap();
        let leased = test.lease(at(number.into())).await.unwrap();
        let mut completion = completion(at(number.into()), &[vendor]);
        completion.audit.result = Some("Success".to_owned());
        test.store
            .complete(&leased.token, completion)
            .await
            .unwrap();
        leased.requester
    };
    let answer = async |number: u8| {
        let delivery = test.lease_delivery(at(number.into())).await.unwrap();
        test.store
            .delivered(&delivery, at(number.into()), "250")
            .await
            .unwrap();
    };
    let stranger = unknown(vendor);
    assert_eq!(who(1, &stranger).await, Requester::Newcomer);
    assert_eq!(
        who(2, &stranger).await,
        Requester::Newcomer,
        "not answered yet"
    );
    answer(2).await;
    assert_eq!(who(3, &stranger).await, Requester::Answered);
    assert_eq!(
        who(4, &Sender::Module(String::new())).await,
        Requester::Verified
    );
    for _ in 0..3 {
        answer(4).await;
    }
    assert_eq!(who(5, &stranger).await, Requester::Known);
    answer(5).await;
    assert_eq!(
        who(6, &stranger).await,
        Requester::Known,
        "by an earlier answer"
    );
}

#[tokio::test]
async fn verified_requests_are_leased_before_strangers() {
    let test = TestStore::new().await;
    let strangers = 1..4;
    for number in strangers {
        let target = format!("new{number}@b.example");
        let mut request = from(&forger(&target, number), &target, number);
        request.charges = Charges::default();
        test.store.accept(request).await.unwrap();
    }
    test.store.accept(jane(9)).await.unwrap();
    let mut order = Vec::new();
    while let Some(leased) = test.lease(at(10)).await {
        order.push(leased.id);
    }
    assert_eq!(order, [9, 1, 2, 3].map(id));
}
