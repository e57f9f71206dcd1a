//! Requests to both sites, and whether each was answered once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use kms_gateway::{
    security_module::SecurityModule,
    sts::{PkEcdh, StsTime, TypedRecord, single_in_mail, write_in_mail},
};

use crate::{
    harness::{ALICE, Draft, GATEWAY, Mail, Reply, Site, SoftwareModule, until},
    log::Log,
    sites::Pair,
};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Addresses that requests come from, so that none is over its allowance.
const ADDRESSES: usize = 50;

/// The server ends a transaction that says nothing for five seconds.
const HELD_UP: Duration = Duration::from_secs(12);

/// Pause of a sender whose message nobody takes.
const PAUSE: Duration = Duration::from_millis(50);

/// Address number `number` of many, all with mail in Alice's mailbox.
pub fn address(number: usize) -> String {
    ALICE.replace('@', &format!("+{}@", number % ADDRESSES))
}

/// A request for help from this address.
pub fn help(from: &str, words: &str) -> Draft {
    Draft::request(&format!("{{KMS:Help}} {words}"), "please\n").with("From", from)
}

/// Hands a message to one site, once.
pub fn offer(site: &Site, draft: &Draft) -> Reply {
    let from = draft.header("From");
    site.smtp().send(from, &[GATEWAY], &draft.to_bytes())
}

/// Hands a message to one site after the other until one takes it, as mail servers do.
pub fn send(pair: &Pair, first: usize, draft: &Draft) {
    let started = Instant::now();
    for number in first.. {
        let taken = offer(&pair.0[number % 2], draft);
        match taken.code {
            250 => return,
            400..500 => thread::sleep(PAUSE),
            _ => panic!("{taken:?}"),
        }
        assert!(started.elapsed() < PATIENCE, "nobody takes it: {taken:?}");
    }
}

/// Hands a message to one site while the other gateway does not end its transaction. The server
/// does, so that it is taken soon.
pub fn send_beside_a_transaction(site: &Site, draft: &Draft) {
    let begun = Instant::now();
    let taken = offer(site, draft);
    assert_eq!(taken.code, 250, "{taken:?}");
    let held_up = begun.elapsed();
    println!("held up for {held_up:.1?}");
    assert!(held_up < HELD_UP, "held up for {held_up:?}");
}

/// A security module that asks for its keys.
pub struct Vendor {
    module: Mutex<SecurityModule>,
    kmc_key: PkEcdh,
}

impl Vendor {
    pub fn new(pair: &Pair, name: &str) -> Self {
        let registered = SoftwareModule::new(&pair.0[0].layout, name);
        let module = SecurityModule::load(registered.state()).expect("its module");
        let kmc_key = pair.command(&["kmc", "public-key"]);
        Self {
            module: Mutex::new(module),
            kmc_key: single_in_mail(&kmc_key).expect("a key"),
        }
    }

    /// A request for a key load file.
    pub fn request(&self, from: &str, words: &str) -> Draft {
        let now = StsTime::from_timestamp(jiff::Timestamp::now()).expect("a time");
        let mut module = self.module.lock().expect("no panic");
        let record = module.request(self.kmc_key.clone(), now);
        let record = write_in_mail(&record.expect("a request").to_record());
        let subject = format!("{{KMS:GetKlfStsEd2}} {words}");
        Draft::request(&subject, &record.replace("\r\n", "\n")).with("From", from)
    }
}

/// Requests that were taken, and must have one answer each.
#[derive(Default)]
pub struct Asked(Mutex<Vec<Draft>>);

impl Asked {
    pub fn add(&self, draft: Draft) {
        self.0.lock().expect("no panic").push(draft);
    }

    pub fn drafts(&self) -> Vec<Draft> {
        self.0.lock().expect("no panic").clone()
    }

    pub fn count(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    /// Waits until both sites are at rest. Then each request has one result and one reply, with
    /// the same bytes if it came twice. Returns how many replies did.
    pub fn assert_answered_once(&self, pair: &Pair) -> usize {
        pair.deliver_all();
        until("every reply noted", PATIENCE, || {
            let waiting = pair.command(&["queue", "list", "--json"]);
            (waiting.trim() == "[]").then_some(())
        });
        pair.deliver_all();
        let log = Log::of(pair);
        let unique = |event| BTreeSet::from_iter(log.requests(event));
        let accepted = unique("accepted");
        assert_eq!(accepted.len(), self.count(), "one request is one request");
        for event in ["accepted", "completed"] {
            assert_eq!(log.count(event), accepted.len(), "{event} twice");
            assert_eq!(unique(event), accepted, "{event}");
        }
        // Each copy that Postfix took is in the log.
        assert_eq!(unique("delivered"), accepted);
        pair.command(&["audit", "verify"]);
        self.assert_replies(&pair.mails(ALICE))
    }

    /// Each request has one reply, perhaps in copies.
    fn assert_replies(&self, mails: &[Mail]) -> usize {
        let mut replies: BTreeMap<String, Vec<&Mail>> = BTreeMap::new();
        for mail in mails {
            let to = mail.header("In-Reply-To").expect("a request");
            replies.entry(to).or_default().push(mail);
        }
        let asked = self.drafts();
        for draft in &asked {
            let copies = replies.get(draft.header("Message-ID"));
            let copies = copies.unwrap_or_else(|| panic!("no answer to {draft:?}"));
            for copy in copies {
                assert_eq!(copy.as_sent(), copies[0].as_sent(), "not the same bytes");
                let requester = format!("<{}>", draft.header("From"));
                assert_eq!(copy.header("To"), Some(requester));
                let result = copy.result();
                assert_eq!(result[0], "Success", "{result:?}");
            }
        }
        assert_eq!(replies.len(), asked.len(), "replies to what nobody asked");
        replies.values().filter(|copies| copies.len() > 1).count()
    }
}
