//! Floods: requests beyond a sender's allowance.

use std::{net::IpAddr, sync::Arc};

use jiff::SignedDuration;

use super::house::{House, OURS, REQUEST, add_fields, c_string, house, rules};
use crate::{
    kms::{
        Dak,
        administration::{Administration, NewModule, new_smid},
    },
    milter::{Answer, Rules, Session},
    policy::throttle::{Allowance, Excess},
    store::{Leasing, testing::PORT},
    sts::{StsTime, TypedRecord, VkloadReq, write_in_mail},
    time::{Clock, SystemClock},
};

/// Two requests at once, and a block above three.
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
    /// Sends requests one after the other, each a message of its own. Returns the rule of
    /// each by the audit log; none for those done at once.
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
            add_fields(&mut session, &headers);
            session.body(body.as_bytes());
            assert_eq!(session.end_of_message("4QUEUEID").await, Answer::Discard);
        }
        let events = self.events().await.into_iter().skip(before);
        events.map(|(_, rule)| rule).collect()
    }

    /// Registers a module, and returns the body of a request from it.
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
            .work()
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
