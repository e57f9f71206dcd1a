//! Attackers against a real Postfix: what they can have the gateway write to a
//! victim, how much of the spool they can hold, and whether honest requests
//! notice them. Prints the figures that the guide for mail admins has.

mod honest;
mod strangers;

use std::{collections::BTreeMap, time::Duration};

use honest::{Honest, Kind};
use serde_json::Value;
use strangers::{Asking, Flood, minimal};

use crate::harness::{ALICE, BOB, CAROL, Draft, GATEWAY, Layout, Mail, Module, Site, Smtp, until};

const PATIENCE: Duration = Duration::from_secs(120);

/// A site that hears of clients by XCLIENT, and throws away what goes to
/// strangers elsewhere.
fn open_to_the_world() -> Layout {
    let layout = Layout::new();
    layout.allow_xclient();
    layout.set_postfix("default_transport=discard");
    // Postfix's queue manager sees nothing of mail that the milter takes.
    layout.set_postfix("in_flow_delay=0");
    // Postfix slows clients down that are refused, and hangs up on them. These
    // would come again by another connection; here each goes on, at its fastest.
    layout.set_postfix("smtpd_soft_error_limit=100000");
    layout.set_postfix("smtpd_hard_error_limit=100000");
    layout
}

/// Everything that waits, by `queue list`.
fn waiting(site: &Site) -> Vec<Value> {
    let shown = site.layout.gateway(&["queue", "list", "--json"]);
    serde_json::from_str(&shown).expect("a JSON array")
}

/// Waits until nothing is left to be done now.
fn settle(site: &Site) {
    until("only what has to wait is left", PATIENCE, || {
        let waits_its_turn = |own: &Value| {
            own["what"] == "request" && (own["state"] == "throttled" || own["state"] == "behind")
        };
        let is_settled = waiting(site).iter().all(waits_its_turn);
        (is_settled && site.postfix.queue().is_empty()).then_some(())
    });
}

/// The content of a victim's mailbox.
struct Received {
    mails: Vec<Mail>,
}

impl Received {
    fn by(site: &Site, person: &str) -> Self {
        let mails = site.mailbox(person).mails();
        Self { mails }
    }

    fn bytes(&self) -> usize {
        self.mails.iter().map(|mail| mail.as_sent().len()).sum()
    }

    fn largest(&self) -> usize {
        let sizes = self.mails.iter().map(|mail| mail.as_sent().len());
        sizes.max().unwrap_or(0)
    }

    /// How many mails there are of each result or code.
    fn kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for mail in &self.mails {
            let result = mail.result();
            let kind = match result[0].as_str() {
                "Success" => "Success",
                _ => result[1].as_str(),
            };
            *kinds.entry(kind.to_owned()).or_default() += 1;
        }
        kinds
    }
}

/// One network asks for Help in a victim's name, again and again, and names
/// four others in Reply-To.
#[test]
fn one_network_gets_little_written_to_one_victim() {
    const ASKED: usize = 240;
    let site = open_to_the_world().start();
    let mut smtp = site.smtp();
    smtp.speak_for("ADDR=203.0.113.7");
    let mut bytes_in = 0;
    let mut size_in = 0;
    let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
    for number in 0..ASKED {
        let message = minimal(
            ALICE,
            "Help",
            number,
            &[ALICE, BOB, CAROL, "d@x.example", "e@x.example"],
        );
        size_in = message.len();
        bytes_in += message.len();
        let reply = smtp.send("mallory@attacker.example", &[GATEWAY], &message);
        *answers.entry(reply.code).or_default() += 1;
    }
    settle(&site);
    let received = Received::by(&site, ALICE);
    println!(
        "one network, one victim: {ASKED} requests of {size_in} bytes, answers {answers:?}; the victim got \
         {} mails ({:?}), {} bytes, {:.2} times the bytes that came; the largest has {} bytes, {:.1} times a request",
        received.mails.len(),
        received.kinds(),
        received.bytes(),
        ratio(received.bytes(), bytes_in),
        received.largest(),
        ratio(received.largest(), size_in),
    );
    assert!(received.mails.len() <= 22, "{:?}", received.kinds());
    assert!(received.largest() <= 2048, "{}", received.largest());
    assert!(received.bytes() < bytes_in, "more goes out than came in");
    for other in [BOB, CAROL] {
        assert!(
            site.mailbox(other).mails().is_empty(),
            "{other} was written to"
        );
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// No reply to a stranger is large, whatever is asked and however it is wrong,
/// and none has more of the stranger's words than it may.
#[test]
fn no_answer_to_a_stranger_is_large() {
    let site = open_to_the_world().start();
    let mut smtp = site.smtp();
    smtp.speak_for("ADDR=203.0.113.7");
    let long = "words ".repeat(300);
    let services = [
        "Help",
        "GetPublicKey",
        "GetKlfStsEd2",
        "SmUpdateStsEd2",
        "Nothing",
    ];
    let mut largest = BTreeMap::new();
    for (number, service) in services.iter().enumerate() {
        for (who, subject) in [(ALICE, ""), (BOB, long.as_str())] {
            let draft = Draft::request(&format!("{{KMS:{service}}} {subject}"), "nothing\n")
                .with("From", who)
                .with(
                    "References",
                    &format!("<{}@attacker.example>", "r".repeat(500)),
                );
            let taken = smtp.send("mallory@attacker.example", &[GATEWAY], &draft.to_bytes());
            assert_eq!(taken.code, 250, "{taken:?}");
        }
        for who in [ALICE, BOB] {
            let mails = site.mailbox(who).wait_for_count(number + 1);
            for mail in mails {
                let words = mail
                    .header("Subject")
                    .expect("Subject")
                    .matches("words")
                    .count();
                assert!(words <= 256 / "words ".len() + 1, "{words}");
                let size = mail.as_sent().len();
                let known = largest
                    .entry((who, mail.result()[..2].join(" ")))
                    .or_insert(size);
                *known = size.max(*known);
            }
        }
    }
    // The longest Message-ID that comes back, and a Subject that has to be encoded.
    let draft = Draft::request(&format!("{{KMS:Help}} {}", "\u{1f600}".repeat(300)), "")
        .with("From", CAROL)
        .with("Message-ID", &format!("<{}@x.example>", "m".repeat(880)));
    let message = draft.to_bytes();
    let taken = smtp.send("mallory@attacker.example", &[GATEWAY], &message);
    assert_eq!(taken.code, 250, "{taken:?}");
    let answer = site.mailbox(CAROL).wait_for_count(1).remove(0);
    let size = answer.as_sent().len();
    println!("of {} bytes with long words: {size}", message.len());
    assert!(size <= 2048 + message.len(), "{size}");
    println!("sizes of answers to strangers, by whom and result: {largest:?}");
    assert!(largest.values().all(|size| *size <= 2048), "{largest:?}");
}

/// However many networks ask in a victim's name.
#[test]
fn many_networks_get_no_more_written_to_one_victim() {
    const NETWORKS: usize = 60;
    let site = open_to_the_world().start();
    let mut sent = 0;
    for network in 0..NETWORKS {
        let mut smtp = site.smtp();
        smtp.speak_for(&format!("ADDR=198.51.{network}.7"));
        for _ in 0..5 {
            sent += 1;
            let message = minimal(ALICE, "Help", sent, &[]);
            let reply = smtp.send("mallory@attacker.example", &[GATEWAY], &message);
            assert!(matches!(reply.code, 250 | 450), "{reply:?}");
        }
    }
    settle(&site);
    let received = Received::by(&site, ALICE);
    let kinds = received.kinds();
    println!("{NETWORKS} networks, one victim: {sent} requests, the victim got {kinds:?}");
    assert!(kinds["Success"] <= 21, "{kinds:?}");
    assert!(
        kinds.get("Deferred").copied().unwrap_or(0) <= 1,
        "{kinds:?}"
    );
    assert_eq!(kinds.get("Blocked"), None, "{kinds:?}");
}

/// The reply port is closed, so that whatever is taken stays in the spool.
#[test]
fn strangers_hold_their_shares_of_the_spool_and_no_more() {
    const ROOM: u32 = 200;
    let layout = open_to_the_world();
    layout.set_gateway("store", "max_requests", i64::from(ROOM));
    layout.close_reply_port();
    let honest = Honest::new(&layout);
    let site = layout.start();
    let one = Flood::of(300).networks(1).run(&site);
    let held_by_one = waiting(&site).len();
    let many = Flood::of(600).networks(200).run(&site);
    let held = waiting(&site).len();
    println!(
        "of {ROOM} places: one network's strangers hold {held_by_one} ({one}), all newcomers {held} ({many})"
    );
    assert_eq!(held_by_one, (ROOM / 20) as usize);
    assert_eq!(held, (ROOM / 10) as usize);
    for kind in Kind::ALL {
        let reply = honest.send(kind, 0, &mut site.smtp());
        assert_eq!(reply.code, 250, "{kind:?}: {reply:?}");
    }
    site.layout
        .set_gateway("reply", "smtp", site.layout.port(18025).to_string());
    site.gateway
        .as_ref()
        .expect("it runs")
        .signal(rustix::process::Signal::HUP);
    for kind in Kind::ALL {
        honest.is_answered(kind, 0, &site);
    }
}

/// Ten thousand strangers ask while a module, a login and an authenticated
/// vendor do. The control sends as much that is ignored: what Postfix alone
/// takes of the machine.
#[test]
fn ten_thousand_strangers_delay_no_module_login_or_authenticated_vendor() {
    const STRANGERS: usize = 10_000;
    let layout = open_to_the_world();
    let honest = Honest::new(&layout);
    let site = layout.start();
    let strangers = Flood::of(STRANGERS).networks(50);
    let ignored = honest.during(&site, &strangers.clone().asking(Asking::Nothing));
    let asked = honest.during(&site, &strangers);
    for kind in Kind::ALL {
        println!(
            "{kind:?}: {} while {STRANGERS} messages are ignored, {} while {STRANGERS} strangers ask",
            ignored.delays(kind),
            asked.delays(kind)
        );
    }
    println!("strangers: {}", asked.flooded);
    assert!(
        asked.flooded.refused() > asked.flooded.taken(),
        "{}",
        asked.flooded
    );

    // Newcomers of a network that no stranger came from are taken as well.
    let mut smtp = site.smtp();
    smtp.speak_for("ADDR=192.0.2.200");
    let first = Draft::request("{KMS:Help} my first", "").with("From", "carol@vendor.example");
    let reply = smtp.send(CAROL, &[GATEWAY], &first.to_bytes());
    println!(
        "a vendor's first request ever, afterwards: {}",
        reply.text.trim_end()
    );
    assert!(matches!(reply.code, 250 | 450), "{reply:?}");
    let gateway = site.gateway.as_ref().expect("it runs");
    assert!(!gateway.log().contains("panicked"), "a panic");
}

/// One network of strangers leaves room for another's vendor.
#[test]
fn a_vendors_first_request_is_answered_while_one_network_floods() {
    let site = open_to_the_world().start();
    let flood = Flood::of(1000).networks(1).run(&site);
    assert!(flood.refused() > 0, "{flood}");
    let mut smtp = site.smtp();
    smtp.speak_for("ADDR=192.0.2.200");
    let first = Draft::request("{KMS:Help} my first", "").with("From", CAROL);
    let reply = smtp.send(CAROL, &[GATEWAY], &first.to_bytes());
    assert_eq!(reply.code, 250, "{reply:?}");
    let answer = site.mailbox(CAROL).wait_for_reply("{KMS:Help} my first");
    assert_eq!(answer.result()[0], "Success");
    println!("a first request while one network floods ({flood}): answered at once");
}

/// Forgers of an authenticated vendor spend none of its allowance.
#[test]
fn forgers_of_a_vendor_delay_none_of_its_own_mail() {
    let layout = open_to_the_world();
    let honest = Honest::new(&layout);
    let site = layout.start();
    let flood = Flood::of(500).networks(100).forging(BOB).run(&site);
    println!("forged in the vendor's name: {flood}");
    assert!(flood.refused() > 0, "{flood}");
    for kind in Kind::ALL {
        let reply = honest.send(kind, 1, &mut site.smtp());
        assert_eq!(reply.code, 250, "{kind:?}: {reply:?}");
        honest.is_answered(kind, 1, &site);
    }
}

/// Two hundred clients stop within a body.
#[test]
fn slow_bodies_hold_up_nobody() {
    let layout = open_to_the_world();
    layout.set_postfix("default_process_limit=400");
    let honest = Honest::new(&layout);
    let site = layout.start();
    let slow: Vec<Smtp> = (0..200)
        .map(|number| {
            let mut smtp = site.smtp();
            smtp.speak_for(&format!("ADDR=198.51.{number}.7"));
            smtp.stop_within_a_body(GATEWAY);
            smtp
        })
        .collect();
    for kind in Kind::ALL {
        let reply = honest.send(kind, 2, &mut site.smtp());
        assert_eq!(reply.code, 250, "{kind:?}: {reply:?}");
        honest.is_answered(kind, 2, &site);
    }
    println!(
        "{} clients stopped within a body: all honest requests were answered",
        slow.len()
    );
}

/// Honest senders are answered as before.
#[test]
fn honest_use_is_answered_at_once() {
    let layout = open_to_the_world();
    let module = crate::harness::SoftwareModule::new(&layout, "SM20");
    let site = layout.start();
    let public_key = site.layout.gateway(&["kmc", "public-key"]);

    // Twenty-five vendors, strangers all, behind one shared mail provider.
    let mut smtp = site.smtp();
    smtp.speak_for("ADDR=203.0.113.25");
    for vendor in 0..25 {
        let from = format!("alice+{vendor}@vendor.example");
        let draft =
            Draft::request(&format!("{{KMS:Help}} vendor {vendor}"), "").with("From", &from);
        let reply = smtp.send(&from, &[GATEWAY], &draft.to_bytes());
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    // One that sends twenty requests at once, without a module and with one.
    for number in 0..20 {
        let help = Draft::request(&format!("{{KMS:GetPublicKey}} {number}"), "").with("From", BOB);
        assert_eq!(smtp.send(BOB, &[GATEWAY], &help.to_bytes()).code, 250);
        let subject = format!("{{KMS:GetKlfStsEd2}} {number}");
        let request = Draft::request(&subject, &module.request(&public_key)).with("From", CAROL);
        assert_eq!(smtp.send(CAROL, &[GATEWAY], &request.to_bytes()).code, 250);
    }
    for (person, count) in [(ALICE, 25), (BOB, 20), (CAROL, 20)] {
        let mails = site.mailbox(person).wait_for_count(count);
        let results: Vec<String> = mails.iter().map(|mail| mail.result()[0].clone()).collect();
        assert_eq!(results, vec!["Success"; count], "{person}");
    }
    assert_eq!(waiting(&site), Vec::<Value>::new());
}
