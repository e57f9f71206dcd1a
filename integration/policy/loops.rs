//! Mail that would go round for ever if the gateway answered it: from another
//! gateway, a list, a responder, bounces. All of it passes one real Postfix, until
//! nothing is left in Postfix's queue and the gateway's spool.

use std::{
    fs::{self, DirBuilder},
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::harness::{ALICE, Draft, GATEWAY, Gateway, Layout, Site, kms_gateway, run, until};

const SECOND: &str = "second@kms.example.org";

/// A loaded machine may need this long for a few messages.
const PATIENCE: Duration = Duration::from_secs(60);

/// Another gateway of the same site, with an address, a database and a
/// listener of its own.
struct SecondGateway {
    config: PathBuf,
    listen: SocketAddr,
}

impl SecondGateway {
    fn lay_out(layout: &Layout) -> Self {
        let directory = layout.directory().join("second");
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .expect("a directory");
        let config = directory.join("gateway.toml");
        let (listen, internal) = (layout.port(8891), layout.port(18027));
        let first = fs::read_to_string(layout.config()).expect("the configuration");
        let second = first
            .replace(GATEWAY, SECOND)
            .replace(&layout.port(8890).to_string(), &listen.to_string())
            .replace("kms-gateway-internal", "second-internal")
            .replace(parent(&layout.config()), parent(&config));
        fs::write(&config, second).expect("the configuration");
        let init = [
            "kmc",
            "init",
            "--create-master-secret",
            "--issuer",
            "Example",
            "--name",
            "K2",
            "--expires",
            "20990101T000000Z",
        ];
        run(&mut kms_gateway(&config, &init), b"");

        let mailboxes = layout.directory().join("etc/mailboxes");
        let known = fs::read_to_string(&mailboxes).expect("the mailboxes");
        fs::write(&mailboxes, format!("{known}{SECOND} second/\n")).expect("the mailboxes");
        let milter = |port: u16| format!("inet:{}", layout.port(port));
        layout.set_postfix(&format!("smtpd_milters={}, {}", milter(8890), milter(8891)));
        let transport = |address, port: u16| {
            let listener = layout.port(port);
            format!("{{{address} = kms-gateway:[{}]:{port}}}", listener.ip())
        };
        layout.set_postfix(&format!(
            "transport_maps=inline:{{ {}, {} }}",
            transport(GATEWAY, 18026),
            transport(SECOND, 18027)
        ));
        layout.add_postfix_service(&format!("{internal}/inet={internal} inet n - n - - smtpd"));
        for parameter in [
            format!("smtpd_milters={}", milter(8891)),
            "milter_macro_daemon_name=second-internal".to_owned(),
            "receive_override_options=no_address_mappings".to_owned(),
        ] {
            layout.set_postfix_service(18027, &parameter);
        }
        Self { config, listen }
    }

    fn start(&self) -> Gateway {
        let serve = kms_gateway(&self.config, &["serve"]);
        Gateway::start(serve, &self.config.with_extension("log"), self.listen)
    }
}

fn parent(path: &Path) -> &str {
    path.parent()
        .and_then(Path::to_str)
        .expect("a path in UTF-8")
}

/// The events of the audit log's entries.
fn events(config: &Path) -> Vec<String> {
    let json = run(&mut kms_gateway(config, &["audit", "list", "--json"]), b"");
    let entries: Vec<Value> = serde_json::from_str(&json).expect("an array");
    let event = |entry: &Value| entry["event"].as_str().unwrap_or_default().to_owned();
    entries.iter().map(event).collect()
}

fn count(events: &[String], wanted: &str) -> usize {
    events.iter().filter(|event| *event == wanted).count()
}

/// Waits until so many messages have been judged, each request among them has
/// had its reply taken or refused, and Postfix has nothing left to do.
fn wait_for_silence(site: &Site, config: &Path, gateway: &Gateway, messages: usize) -> Vec<String> {
    until(
        &format!("{messages} messages, then silence"),
        PATIENCE,
        || {
            let queued = site.postfix.queue().len();
            let events = events(config);
            let requests = count(&events, "accepted");
            let judged = gateway.rules().len();
            assert!(
                judged <= messages,
                "more messages than {messages}: {events:?}"
            );
            let ended = count(&events, "delivered") + count(&events, "undeliverable");
            let silent = queued == 0 && judged == messages && ended == requests;
            silent.then_some(events)
        },
    )
}

/// The rules by which it ignored mail, in order.
fn ignored(gateway: &Gateway) -> Vec<String> {
    let mut rules = gateway.rules();
    rules.retain(|rule| rule != "request");
    rules
}

fn first_gateway(site: &Site) -> &Gateway {
    site.gateway.as_ref().expect("it runs")
}

#[test]
fn two_gateways_that_ask_each_other_exchange_one_message_each_way() {
    let layout = Layout::new();
    let second = SecondGateway::lay_out(&layout);
    let running = second.start();
    let site = layout.start();
    for (from, to) in [(GATEWAY, SECOND), (SECOND, GATEWAY)] {
        let forged = Draft::request("{KMS:Help}", "please\n")
            .with("From", from)
            .with("To", to);
        let taken = site.smtp().send(from, &[to], &forged.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    }
    let both = [
        (&site.layout.config(), first_gateway(&site)),
        (&second.config, &running),
    ];
    for (config, gateway) in both {
        // The forged request, and the other's reply to the other one.
        let events = wait_for_silence(&site, config, gateway, 2);
        assert_eq!(count(&events, "accepted"), 1, "{events:?}");
        assert_eq!(ignored(gateway), ["return-path"]);
    }
    assert!(running.stop().success());
}

#[test]
fn a_list_that_the_gateway_is_subscribed_to_is_never_answered() {
    let site = Layout::new().start();
    let post = |list: &str| {
        Draft::request("{KMS:Help}", "please\n")
            .with("To", &format!("{list}@vendor.example, {GATEWAY}"))
            .with("List-Id", &format!("Vendors <{list}.vendor.example>"))
            .with("Precedence", "list")
            .with(
                "List-Unsubscribe",
                &format!("<mailto:{list}-leave@vendor.example>"),
            )
            .with("X-Mailman-Version", "2.1.39")
    };
    // The reverse path of Mailman, and one of a list manager that keeps the author's.
    for (path, list) in [
        ("vendors-bounces@vendor.example", "vendors"),
        (ALICE, "others"),
    ] {
        let taken = site.smtp().send(path, &[GATEWAY], &post(list).to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    }
    let gateway = first_gateway(&site);
    wait_for_silence(&site, &site.layout.config(), gateway, 2);
    assert_eq!(ignored(gateway), ["return-path", "precedence"]);
    assert!(site.mailbox(ALICE).mails().is_empty());
}

/// Answers like the responders of old do, which leave out more and more of
/// what RFC 3834 asks for.
#[test]
fn a_responder_that_answers_replies_hears_nothing_more() {
    let site = Layout::new().start();
    let reply = site.ask(&Draft::request("{KMS:Help}", "please\n"));
    let subject = reply.header("Subject").expect("a Subject");
    let answer = |subject: String| {
        Draft::request(&subject, "I am away until Monday.\n")
            .with("In-Reply-To", &reply.header("Message-ID").expect("an id"))
    };
    let answers = [
        (
            "",
            answer(format!("Auto: {subject}")).with("Auto-Submitted", "auto-replied (vacation)"),
        ),
        (
            ALICE,
            answer(format!("Auto: {subject}")).with("Auto-Submitted", "auto-replied"),
        ),
        (
            ALICE,
            answer(format!("Out of Office: {subject}")).with("Precedence", "bulk"),
        ),
        (ALICE, answer(format!("Re: {subject}"))),
        (ALICE, answer(subject.clone())),
    ];
    for (path, answer) in &answers {
        let taken = site.smtp().send(path, &[GATEWAY], &answer.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    }
    let gateway = first_gateway(&site);
    wait_for_silence(&site, &site.layout.config(), gateway, 1 + answers.len());
    let expected = [
        "return-path",
        "auto-submitted",
        "precedence",
        "subject",
        "subject",
    ];
    assert_eq!(ignored(gateway), expected);
    assert_eq!(site.mailbox(ALICE).mails().len(), 1);
}

#[test]
fn a_requester_that_bounces_ends_in_silence() {
    let layout = Layout::new();
    // Accepted at RCPT, and bounced when Postfix has it in the queue.
    layout
        .set_postfix("virtual_alias_maps=inline:{ {gone@vendor.example = gone@nowhere.example} }");
    // Not the default: with it such a bounce never comes back to the gateway.
    layout.set_gateway("reply", "reverse_path", GATEWAY);
    let site = layout.start();
    for from in ["gone@vendor.example", "unknown@vendor.example"] {
        let draft = Draft::request("{KMS:Help}", "please\n").with("From", from);
        let taken = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    }
    // Two requests, and the bounce of the first one's reply; the second one's
    // is refused when it is handed over.
    let gateway = first_gateway(&site);
    let events = wait_for_silence(&site, &site.layout.config(), gateway, 3);
    assert_eq!(ignored(gateway), ["return-path"]);
    assert_eq!(
        (count(&events, "delivered"), count(&events, "undeliverable")),
        (1, 1)
    );
    assert!(site.mailbox(ALICE).mails().is_empty());
}
