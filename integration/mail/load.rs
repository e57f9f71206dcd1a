//! Many at once: each request gets its own reply, and one only.

use std::{collections::BTreeSet, thread};

use kms_gateway::{
    security_module::SecurityModule,
    sts::{PkEcdh, StsTime, TypedRecord, single_in_mail, write_in_mail},
};

use crate::harness::{ALICE, Draft, GATEWAY, Layout, Site, SoftwareModule};

const SESSIONS: usize = 20;
const REQUESTS_EACH: usize = 10;

/// A session's module, and the public keys of its requests, by their number.
struct Vendor {
    session: usize,
    module: SecurityModule,
    requests: Vec<String>,
}

impl Vendor {
    /// With all requests made, so that sending takes no time for it.
    fn new(site: &Site, session: usize, kmc_key: &PkEcdh) -> (Self, Vec<Draft>) {
        let registered = SoftwareModule::new(&site.layout, &format!("9{session:07}"));
        let mut module = SecurityModule::load(registered.state()).unwrap();
        let now: StsTime = StsTime::from_timestamp(jiff::Timestamp::now()).unwrap();
        let mut vendor_requests = Vec::new();
        let drafts = (0..REQUESTS_EACH)
            .map(|number| {
                let request = module.request(kmc_key.clone(), now).unwrap();
                vendor_requests.push(request.public_key.to_string());
                let subject = format!("{{KMS:GetKlfStsEd2}} {session}/{number}");
                let text = write_in_mail(&request.to_record()).replace("\r\n", "\n");
                Draft::request(&subject, &text).with("From", &sender(session))
            })
            .collect();
        let vendor = Self {
            session,
            module,
            requests: vendor_requests,
        };
        (vendor, drafts)
    }

    /// Opens the answer to one request, which must be the answer to no other.
    fn open(&mut self, number: usize, key_load_file: &[u8]) {
        let open = |module: &SecurityModule| -> BTreeSet<String> {
            module
                .pending_requests()
                .map(|request| request.public_key.to_string())
                .collect()
        };
        let before = open(&self.module);
        let keys = self.module.open(key_load_file).expect("its own answer");
        assert_eq!(keys.len(), 2, "{}/{number}", self.session);
        let after = open(&self.module);
        let answered: Vec<&String> = before.difference(&after).collect();
        assert_eq!(
            answered,
            [&self.requests[number]],
            "{}/{number}",
            self.session
        );
    }
}

/// A sender of each session's own, with all mail in Alice's mailbox.
fn sender(session: usize) -> String {
    ALICE.replace('@', &format!("+{session}@"))
}

#[test]
fn two_hundred_requests_get_two_hundred_replies() {
    let mut site = Layout::new().start();
    let kmc_key: PkEcdh = single_in_mail(&site.layout.gateway(&["kmc", "public-key"])).unwrap();
    let (mut vendors, drafts): (Vec<Vendor>, Vec<Vec<Draft>>) = (0..SESSIONS)
        .map(|session| Vendor::new(&site, session, &kmc_key))
        .unzip();

    thread::scope(|scope| {
        for (session, drafts) in drafts.iter().enumerate() {
            let mut smtp = site.smtp();
            scope.spawn(move || {
                for draft in drafts {
                    let accepted = smtp.send(&sender(session), &[GATEWAY], &draft.to_bytes());
                    assert_eq!(accepted.code, 250, "{accepted:?}");
                }
            });
        }
    });

    site.mailbox(ALICE).wait_for_count(SESSIONS * REQUESTS_EACH);
    // Whatever is still on its way arrives before the gateway has ended and
    // Postfix's queue is empty.
    let ended = site.gateway.take().unwrap().stop();
    assert!(ended.success(), "{ended:?}");
    crate::harness::until(
        "Postfix's queue is empty",
        std::time::Duration::from_secs(30),
        || site.postfix.queue().is_empty().then_some(()),
    );

    let replies = site.mailbox(ALICE).mails();
    assert_eq!(replies.len(), SESSIONS * REQUESTS_EACH);
    let mut answered = BTreeSet::new();
    for reply in &replies {
        let subject = reply.header("Subject").unwrap();
        let (session, number) = subject
            .strip_prefix("Auto: {KMS:GetKlfStsEd2} ")
            .unwrap()
            .split_once('/')
            .unwrap();
        let (session, number): (usize, usize) = (session.parse().unwrap(), number.parse().unwrap());
        assert!(
            answered.insert((session, number)),
            "{subject} is answered twice"
        );
        assert_eq!(
            reply.header("To").unwrap(),
            format!("<{}>", sender(session))
        );
        assert_eq!(
            reply.result()[0],
            "Success",
            "{subject}: {:?}",
            reply.result()
        );
        vendors[session].open(number, &reply.attachment().2);
    }
}
