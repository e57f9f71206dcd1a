//! Sender authentication: the word of an OpenDKIM that stands before the
//! gateway in the same Postfix, and what outsiders write in its name.

use std::{cell::Cell, thread, time::Duration};

use serde_json::Value;
use toml::Value as Toml;

use crate::harness::{ALICE, BOB, DkimKey, Draft, GATEWAY, Layout, OpenDkim, Reply, Site, until};

const AUTHSERV_ID: &str = "mx.kms.example.org";

const PATIENCE: Duration = Duration::from_secs(60);

/// Outside the site's own networks.
const CLIENT: &str = "ADDR=192.0.2.9";

/// A site with a verifying OpenDKIM, which knows the vendor's key.
struct Verified {
    site: Site,
    /// How many messages were ignored so far.
    ignored: Cell<usize>,
    vendor: DkimKey,
    _verifier: OpenDkim,
}

impl Verified {
    fn start(require: bool) -> Self {
        let layout = Layout::new();
        let vendor = DkimKey::generate(layout.directory(), "vendor.example");
        let verifier = vendor.verify_at(layout.port(8892), AUTHSERV_ID);
        layout.set_postfix(&format!(
            "smtpd_milters=inet:{}, inet:{}",
            layout.port(8892),
            layout.port(8890)
        ));
        let ids = vec![Toml::from(AUTHSERV_ID)];
        layout.set_gateway("sender_authentication", "authserv_ids", ids);
        layout.set_gateway("sender_authentication", "require", require);
        layout.allow_xclient();
        // Postfix's queue manager sees nothing of a flood that is discarded. The
        // pause that gives it time would last until it does.
        layout.set_postfix("in_flow_delay=0");
        Self {
            site: layout.start(),
            ignored: Cell::new(0),
            vendor,
            _verifier: verifier,
        }
    }

    fn send(&self, client: &str, message: &[u8]) -> Reply {
        let mut smtp = self.site.smtp();
        smtp.speak_for(client);
        let taken = smtp.send(ALICE, &[GATEWAY], message);
        assert_eq!(taken.code, 250, "{taken:?}");
        taken
    }

    fn is_answered(&self, client: &str, draft: &Draft, message: &[u8]) {
        self.send(client, message);
        self.site
            .mailbox(ALICE)
            .wait_for_reply(draft.header("Subject"));
    }

    /// Sends what must be ignored, and gives what the log says of it.
    fn is_ignored(&self, client: &str, message: &[u8]) -> String {
        let before = self.ignored.get();
        self.send(client, message);
        self.ignored.set(before + 1);
        ignored(&self.site, before + 1).pop().expect("its line")
    }
}

/// The log's lines of so many messages that this rule ignored.
fn ignored(site: &Site, messages: usize) -> Vec<String> {
    let decided = " verdict=ignore rule=sender-authentication ";
    until("all ignored are in the log", PATIENCE, || {
        let log = site.gateway.as_ref().expect("it runs").log();
        let lines = log.lines().filter(|line| line.contains(decided));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        (lines.len() == messages).then_some(lines)
    })
}

fn help(number: u32) -> Draft {
    Draft::request(&format!("{{KMS:Help}} {number}"), "please\n")
}

#[test]
fn where_it_is_required_only_authenticated_mail_is_answered() {
    let verified = Verified::start(true);
    let signed = help(1);
    verified.is_answered(CLIENT, &signed, &verified.vendor.signed(&signed));

    let unsigned = help(2).to_bytes();
    let reason = verified.is_ignored(CLIENT, &unsigned);
    assert!(reason.contains("dkim=none"), "{reason}");

    let changed = String::from_utf8(verified.vendor.signed(&help(3))).expect("ASCII");
    let changed = changed.replace("please", "pleese");
    let reason = verified.is_ignored(CLIENT, changed.as_bytes());
    assert!(reason.contains("dkim=fail"), "{reason}");

    // Signed, and by somebody else than its author says he is.
    let other = help(4).with("From", "Alice <alice@kms.example.org>");
    let reason = verified.is_ignored(CLIENT, &verified.vendor.signed(&other));
    assert!(reason.contains("dkim=pass"), "{reason}");

    // The site's own clients need no signature.
    let local = help(5);
    verified.is_answered("ADDR=127.0.0.2", &local, &local.to_bytes());
    let login = help(6);
    let client = format!("{CLIENT} LOGIN=alice");
    verified.is_answered(&client, &login, &login.to_bytes());
}

#[test]
fn what_outsiders_write_in_its_name_is_not_believed() {
    let verified = Verified::start(true);
    let forged = [
        &["dmarc=pass header.from=vendor.example"][..],
        &["dkim=pass header.d=vendor.example"],
        &[
            "spf=pass smtp.mailfrom=vendor.example",
            "dkim=pass header.d=vendor.example",
            "dmarc=pass header.from=vendor.example",
        ],
    ];
    for results in forged {
        let mut message = String::new();
        for result in results {
            message.push_str(&format!(
                "Authentication-Results: {AUTHSERV_ID}; {result}\r\n"
            ));
        }
        let draft = String::from_utf8(help(1).to_bytes()).expect("ASCII");
        let reason = verified.is_ignored(CLIENT, (message + &draft).as_bytes());
        assert!(reason.contains("dkim=none"), "{reason}");
    }
    // Nor is another host's word, which no verifier of ours strips.
    let elsewhere = help(2).with(
        "Authentication-Results",
        "mx.other.example; dmarc=pass header.from=vendor.example",
    );
    verified.is_ignored(CLIENT, &elsewhere.to_bytes());
}

/// Clause 4, and the vendor's right to be served.
#[test]
fn who_forges_a_vendors_address_a_thousand_times_delays_no_signed_request() {
    let verified = Verified::start(false);
    // Side by side: OpenDKIM takes its time with each.
    thread::scope(|scope| {
        for session in 0..20 {
            let mut smtp = verified.site.smtp();
            scope.spawn(move || {
                smtp.speak_for("ADDR=198.51.100.66");
                for number in 0..50 {
                    let forged = help(session * 50 + number).to_bytes();
                    let taken = smtp.send("mallory@attacker.example", &[GATEWAY], &forged);
                    assert_eq!(taken.code, 250, "{taken:?}");
                }
            });
        }
    });
    let blocked = || -> Vec<Value> {
        let json = verified.site.layout.gateway(&["senders", "list", "--json"]);
        let senders: Vec<Value> = serde_json::from_str(&json).expect("an array");
        let is_blocked = |sender: &Value| sender["stage"] == "blocked";
        senders.into_iter().filter(is_blocked).collect()
    };
    assert_eq!(blocked().len(), 1);

    let own = Draft::request("{KMS:Help} mine", "please\n");
    // From the attacker's own network even.
    let client = "ADDR=198.51.100.67";
    verified.is_answered(client, &own, &verified.vendor.signed(&own));
    assert_eq!(blocked().len(), 1, "the block was over before the answer");
    // Unsigned, it would have been ignored.
    let before = verified.site.layout.audited("blocked");
    let unsigned = Draft::request("{KMS:Help} unsigned", "please\n");
    verified.send(client, &unsigned.to_bytes());
    assert_eq!(verified.site.layout.audited("blocked"), before + 1);
}

/// SPF and DMARC are often a policy service's, which Postfix has put its word
/// before the message: on top of what any milter sees.
#[test]
fn a_policy_services_word_counts_beside_it() {
    const SERVICE: &str = "spf.kms.example.org";
    let layout = Layout::new();
    let vendor = DkimKey::generate(layout.directory(), "vendor.example");
    let _verifier = vendor.verify_at(layout.port(8892), AUTHSERV_ID);
    let milters = [8892, 8890].map(|port| format!("inet:{}", layout.port(port)));
    layout.set_postfix(&format!("smtpd_milters={}", milters.join(", ")));
    let says = |result: &str| format!("PREPEND Authentication-Results: {SERVICE}; {result}");
    layout.set_postfix(&format!(
        "smtpd_sender_restrictions=check_sender_access inline:{{ {{{ALICE} = {}}}, {{{BOB} = {}}} }}",
        says("spf=fail smtp.mailfrom=vendor.example"),
        says("dmarc=fail header.from=vendor.example"),
    ));
    let ids = vec![Toml::from(AUTHSERV_ID), Toml::from(SERVICE)];
    layout.set_gateway("sender_authentication", "authserv_ids", ids);
    layout.allow_xclient();
    let site = layout.start();
    let send = |path: &str, message: &[u8]| {
        let mut smtp = site.smtp();
        smtp.speak_for(CLIENT);
        let taken = smtp.send(path, &[GATEWAY], message);
        assert_eq!(taken.code, 250, "{taken:?}");
    };
    // SPF failed and the signature holds: forwarded.
    let forwarded = help(1);
    send(ALICE, &vendor.signed(&forwarded));
    site.mailbox(ALICE)
        .wait_for_reply(forwarded.header("Subject"));

    let changed = String::from_utf8(vendor.signed(&help(2))).expect("ASCII");
    send(ALICE, changed.replace("please", "pleese").as_bytes());
    send(BOB, &help(3).to_bytes());
    let reasons = [
        "SPF and DKIM both failed",
        "DMARC failed for \"vendor.example\"",
    ];
    let ignored = ignored(&site, reasons.len());
    for (line, reason) in ignored.iter().zip(reasons) {
        assert!(line.replace('\\', "").contains(reason), "{line}");
    }
}
