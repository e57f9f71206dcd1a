//! DNS blocklists (STS600-9-2 8.2), by a real rbldnsd and a real Postfix:
//! listed clients are refused, with the zone's own words; everybody else is
//! served, also when the zones are slow, dead, sick or mad.

use std::{thread, time::Duration};

use rustix::process::Signal;
use serde_json::Value;
use toml::Value as Toml;

use crate::harness::{
    ALICE, BOB, Draft, GATEWAY, Layout, Mail, Pages, Rbldnsd, Reply, Site, SlowWay, Smtp, run,
    until,
};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// The ports of the name server, and of the way to it.
pub const NAME_SERVER: u16 = 5300;
const WAY: u16 = 5301;

/// 192.0.2.9 and its network are listed for a reason.
pub const LISTED: &str = ":127.0.0.2:Listed 100%%, see https://bl.example/?ip=$\n\
                      127.0.0.2\n192.0.2.0/24\n";

/// A gateway that asks these zones.
pub fn layout(zones: &[&str]) -> Layout {
    let layout = Layout::new();
    ask_zones(&layout, zones);
    layout.set_gateway("dnsbl", "recheck", "1s");
    layout.set_gateway("dnsbl", "resolver", layout.port(NAME_SERVER).to_string());
    layout.allow_xclient();
    layout
}

pub fn ask_zones(layout: &Layout, zones: &[&str]) {
    let zones: Vec<Toml> = zones.iter().map(|zone| Toml::from(*zone)).collect();
    layout.set_gateway("dnsbl", "zones", zones);
}

pub fn serve(layout: &Layout, ttl: u32, zones: &[(&str, &str, &str)]) -> Rbldnsd {
    Rbldnsd::start(layout.directory(), layout.port(NAME_SERVER), ttl, zones)
}

/// A session as from this client.
fn from(site: &Site, client: &str) -> Smtp {
    let mut smtp = site.smtp();
    smtp.speak_for(client);
    smtp
}

pub fn help(number: u32) -> Draft {
    Draft::request(&format!("{{KMS:Help}} {number}"), "please\n")
}

fn send(site: &Site, client: &str, draft: &Draft) -> Reply {
    from(site, client).send(ALICE, &[GATEWAY], &draft.to_bytes())
}

/// The reply to RCPT alone.
pub fn recipient(site: &Site, client: &str) -> u16 {
    let mut smtp = from(site, client);
    assert_eq!(smtp.command(&format!("MAIL FROM:<{ALICE}>")).code, 250);
    smtp.command(&format!("RCPT TO:<{GATEWAY}>")).code
}

#[track_caller]
pub fn is_answered(site: &Site, client: &str, number: u32) -> Mail {
    let draft = help(number);
    let accepted = send(site, client, &draft);
    assert_eq!(accepted.code, 250, "{accepted:?}");
    site.mailbox(ALICE).wait_for_reply(draft.header("Subject"))
}

#[track_caller]
pub fn is_refused(site: &Site, client: &str) -> Reply {
    let refused = send(site, client, &help(0));
    assert_eq!(refused.code, 554, "{refused:?}");
    refused
}

fn audited(site: &Site, rule: &str) -> Vec<Value> {
    let json = site
        .layout
        .gateway(&["audit", "list", "--json", "--rule", rule]);
    serde_json::from_str(&json).expect("an array")
}

pub fn log(site: &Site) -> String {
    site.gateway.as_ref().expect("it runs").log()
}

pub fn logged(site: &Site, text: &str) {
    site.gateway.as_ref().expect("it runs").wait_for_log(text);
}

#[test]
fn a_listed_client_is_refused_at_rcpt_and_told_why() {
    let layout = layout(&["bl.example=127.0.0.[2..11]*3"]);
    let server = serve(&layout, 3600, &[("bl.example", "ip4trie", LISTED)]);
    let site = layout.start();

    // No zone is asked about mail that is not for the gateway.
    let mut smtp = from(&site, "ADDR=192.0.2.9");
    let to_bob = help(1).with("To", BOB).to_bytes();
    assert_eq!(smtp.send(ALICE, &[BOB], &to_bob).code, 250);
    assert_eq!(server.queries(), Vec::<String>::new());

    // The others of the same message are none the worse for it.
    assert_eq!(smtp.command(&format!("MAIL FROM:<{ALICE}>")).code, 250);
    assert_eq!(smtp.command(&format!("RCPT TO:<{BOB}>")).code, 250);
    let refused = smtp.command(&format!("RCPT TO:<{GATEWAY}>"));
    assert_eq!(refused.code, 554);
    assert!(
        refused.text.starts_with(
            "554 5.7.1 Service unavailable; client [192.0.2.9] is listed in bl.example \
             (127.0.0.2: \"Listed 100%, see https://bl.example/?ip=192.0.2.9\")"
        ),
        "{}",
        refused.text
    );
    assert_eq!(smtp.command("DATA").code, 354);
    let both = help(2).with("To", &format!("{BOB}, {GATEWAY}")).to_bytes();
    assert_eq!(smtp.content(&both).code, 250);
    site.mailbox(BOB).wait_for_count(2);

    let asked = server.queries();
    for name in ["9.2.0.192.bl.example A", "9.2.0.192.bl.example TXT"] {
        assert_eq!(
            asked.iter().filter(|own| *own == name).count(),
            1,
            "{asked:?}"
        );
    }
    // A reply is kept as long as its TTL says.
    is_refused(&site, "ADDR=192.0.2.9");
    assert_eq!(server.queries(), asked);

    let entries = audited(&site, "dnsbl");
    let entry = &entries[0];
    for (field, expected) in [
        ("verdict", "reject"),
        ("client", "192.0.2.9"),
        ("helo", "client.vendor.example"),
        ("reverse_path", "<alice@vendor.example>"),
    ] {
        assert_eq!(entry[field], expected, "{entry}");
    }
    assert!(
        entry["reason"]
            .as_str()
            .is_some_and(|text| text.contains("bl.example")),
        "{entry}"
    );
    // Postfix has the message under this name.
    let queue_id = entry["queue_id"].as_str().expect("a text");
    assert!(
        site.postfix.log().contains(&format!("{queue_id}: ")),
        "{queue_id}"
    );
    assert!(site.mailbox(ALICE).mails().is_empty());
}

#[test]
fn weights_decide_and_an_allow_list_helps() {
    let layout = layout(&[
        "bl.example=127.0.0.[2..11]*2",
        "other.example",
        "good.example=127.0.[0..255].[1..3]*-2",
    ]);
    layout.set_gateway("dnsbl", "threshold", 3);
    let _server = serve(
        &layout,
        1,
        &[
            (
                "bl.example",
                "ip4trie",
                "127.0.0.2\n192.0.2.0/24\n198.51.100.7 :127.0.0.12:policy\n",
            ),
            ("bl.example", "ip6trie", "2001:db8:bad::/48\n"),
            (
                "other.example",
                "ip4trie",
                "127.0.0.2\n192.0.2.2\n192.0.2.3\n198.51.100.7\n",
            ),
            ("other.example", "ip6trie", "2001:db8:bad::1/128\n"),
            (
                "good.example",
                "ip4trie",
                ":127.0.5.2:good\n127.0.0.2\n192.0.2.3\n",
            ),
        ],
    );
    let site = layout.start();
    // One zone alone does not suffice, two do, and the allow list takes off.
    is_answered(&site, "ADDR=192.0.2.1", 1);
    is_refused(&site, "ADDR=192.0.2.2");
    is_answered(&site, "ADDR=192.0.2.3", 3);
    // A code that the filter leaves out weighs nothing.
    is_answered(&site, "ADDR=198.51.100.7", 4);
    is_refused(&site, "ADDR=IPV6:2001:db8:bad::1");
    is_answered(&site, "ADDR=IPV6:2001:db8:bad::2", 5);
    is_answered(&site, "ADDR=IPV6:2001:db8::1", 6);
}

#[test]
fn the_sites_own_clients_are_not_looked_up() {
    let layout = layout(&["bl.example"]);
    let trusted = ["127.0.0.0/8", "192.0.2.64/26"].map(Toml::from).to_vec();
    layout.set_gateway("policy", "trusted_networks", trusted);
    let server = serve(&layout, 1, &[("bl.example", "ip4trie", LISTED)]);
    let site = layout.start();
    is_answered(&site, "ADDR=192.0.2.65", 1);
    is_answered(&site, "ADDR=127.0.0.2", 2);
    is_answered(&site, "ADDR=192.0.2.9 LOGIN=alice", 3);
    // Mail from the queue comes from our own Postfix.
    let mut queued = site.smtp_without_milters();
    let draft = help(4);
    assert_eq!(queued.send(ALICE, &[GATEWAY], &draft.to_bytes()).code, 250);
    site.mailbox(ALICE).wait_for_reply(draft.header("Subject"));
    assert_eq!(server.queries(), Vec::<String>::new());
    is_refused(&site, "ADDR=192.0.2.9");
}

#[test]
fn a_sick_zone_is_switched_off_until_it_is_well() {
    let layout = layout(&["bl.example"]);
    // Nobody's 127.0.0.1, the operator's word for "you ask too much", an
    // address of the world's for a name that does not exist, an empty zone.
    let sick = [
        ("127.0.0.0/8\n192.0.2.0/24\n", "lists 127.0.0.1"),
        (":127.255.255.254:Error\n0.0.0.0/0\n", "127.255.255.254"),
        (":203.0.113.80:parked\n0.0.0.0/0\n", "203.0.113.80"),
        ("192.0.2.0/24\n", "does not list 127.0.0.2"),
    ];
    let server = serve(&layout, 1, &[("bl.example", "ip4trie", sick[0].0)]);
    let site = layout.start();
    for (number, (entries, reason)) in (1..).zip(sick) {
        server.set("bl.example", entries);
        is_answered(&site, "ADDR=192.0.2.9", number);
        logged(&site, reason);

        server.set("bl.example", LISTED);
        until("the zone is asked again", PATIENCE, || {
            (recipient(&site, "ADDR=192.0.2.9") == 554).then_some(())
        });
        logged(&site, "is well again");

        // A zone that was well is seen again when it is in doubt, or after an
        // hour; a gateway that starts knows nothing of it.
        let gateway = site.gateway.as_ref().expect("it runs");
        gateway.signal(Signal::HUP);
        until("the configuration is read again", PATIENCE, || {
            let reloads = log(&site).matches("configuration reloaded").count();
            (reloads >= usize::try_from(number).expect("few")).then_some(())
        });
    }
}

/// A commercial list has its customer's key in the name that is asked.
#[test]
fn the_key_of_a_block_list_is_for_the_name_server_alone() {
    const KEY: &str = "aaaabbbbccccddddeeee";
    let zone = format!("{KEY}.zen.dq.spamhaus.net");
    let layout = layout(&[&zone]);
    layout.set_gateway("log", "level", "trace");
    let pages = Pages::configure(&layout);
    let listed = format!(
        ":127.0.0.2:Listed in {}, see https://bl.example/?ip=$&key={KEY}\n127.0.0.2\n192.0.2.0/24\n",
        zone.to_uppercase()
    );
    let server = serve(&layout, 1, &[(&zone, "ip4trie", &listed)]);
    let site = layout.start();
    let refused = is_refused(&site, "ADDR=192.0.2.9");
    assert!(
        refused.text.contains("zen.dq.spamhaus.net (127.0.0.2"),
        "{refused:?}"
    );
    let asked = server.queries();
    assert!(
        asked.iter().any(|name| name.contains(KEY)),
        "the key is used: {asked:?}"
    );
    let explained = run(
        &mut crate::harness::kms_gateway(
            &site.layout.config(),
            &["explain", "--client-ip", "192.0.2.9", "--dns", "-"],
        ),
        &help(1).to_bytes(),
    );

    // A sick zone, one that answers nonsense, and one that is gone.
    server.set(&zone, "192.0.2.0/24\n");
    is_answered(&site, "ADDR=198.51.100.1", 1);
    drop(server);
    is_answered(&site, "ADDR=198.51.100.2", 2);
    logged(&site, "DNS blocklist");

    for (what, shown) in [
        ("the 554", refused.text.clone()),
        ("explain", explained),
        ("the log", log(&site)),
        ("Postfix's log", site.postfix.log()),
        (
            "the audit log",
            site.layout.gateway(&["audit", "list", "--json"]),
        ),
        ("the metrics", pages.get("/metrics").body),
        ("/readyz", pages.get("/readyz").body),
        ("check", site.layout.gateway(&["check"])),
        ("check --json", site.layout.gateway(&["check", "--json"])),
        ("config get", site.layout.gateway(&["config", "get"])),
        (
            "config get dnsbl.zones",
            site.layout.gateway(&["config", "get", "dnsbl.zones"]),
        ),
    ] {
        assert!(!shown.to_lowercase().contains(KEY), "{what}: {shown}");
    }
    let noted = site.layout.gateway(&["check"]);
    assert!(
        noted.contains("note: dnsbl.zones: the queried name of zen.dq.spamhaus.net holds a key"),
        "{noted}"
    );
}

/// A zone that turns bad while it is thought to be well.
#[test]
fn error_codes_refuse_nobody() {
    let layout = layout(&["bl.example"]);
    let server = serve(&layout, 1, &[("bl.example", "ip4trie", LISTED)]);
    let site = layout.start();
    is_answered(&site, "ADDR=198.51.100.1", 1);
    server.set(
        "bl.example",
        "127.0.0.2\n:127.255.255.254:Error: open resolver\n0.0.0.0/0\n",
    );
    is_answered(&site, "ADDR=198.51.100.2", 2);
    logged(&site, "127.255.255.254, an error code");
}

#[test]
fn slow_and_dead_servers_delay_and_harm_nobody_for_long() {
    let layout = layout(&["bl.example"]);
    layout.set_gateway("dnsbl", "resolver", layout.port(WAY).to_string());
    layout.set_gateway("dnsbl", "time_limit", "6s");
    let server = serve(&layout, 1, &[("bl.example", "ip4trie", LISTED)]);
    let way = SlowWay::open(layout.port(WAY), server.address());
    let site = layout.start();

    way.takes(Duration::from_millis(1500));
    is_refused(&site, "ADDR=192.0.2.9");

    // Others' mail goes through while somebody waits for the dead zone.
    way.loses_all();
    let mut waiting = from(&site, "ADDR=192.0.2.10");
    let request = help(1);
    let bytes = request.to_bytes();
    let waiting = thread::spawn(move || waiting.send(ALICE, &[GATEWAY], &bytes));
    let to_bob = help(2).with("To", BOB).to_bytes();
    for _ in 0..5 {
        let delivered = from(&site, "ADDR=192.0.2.11").send(ALICE, &[BOB], &to_bob);
        assert_eq!(delivered.code, 250);
    }
    assert!(!waiting.is_finished(), "the dead zone was not waited for");
    assert_eq!(waiting.join().expect("an answer").code, 250);
    site.mailbox(ALICE)
        .wait_for_reply(request.header("Subject"));
    logged(&site, "does not answer");

    // Dead altogether: the port is closed.
    drop((way, server));
    is_answered(&site, "ADDR=192.0.2.12", 3);
}
