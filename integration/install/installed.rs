//! A Postfix works after `kms-gateway postfix install`, as Debian installs it and
//! hardened: requests are answered, and other mail is delivered.

use std::{fs, net::TcpListener, os::unix::fs::MetadataExt, process::Command};

use crate::harness::{
    ALICE, BOB, DkimKey, Draft, GATEWAY, Installer, Layout, Mailbox, OpenDkim, Postfix, Site, Smtp,
    output, python, run,
};

fn help(number: u32) -> Draft {
    Draft::request(&format!("{{KMS:Help}} {number}"), "please\n")
}

/// The site's own Postfix and gateway, started.
fn start(installer: Installer) -> Site {
    installer.layout.start()
}

/// Sends a request by the port that the whole world uses, and waits for the answer.
fn is_answered(site: &Site, draft: &Draft) {
    let mut smtp = Smtp::connect(site.layout.port(25));
    let taken = smtp.send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    site.mailbox(ALICE).wait_for_reply(draft.header("Subject"));
}

fn other_mail_is_delivered(site: &Site) {
    let draft = Draft::request("lunch", "at noon?\n").with("To", BOB);
    let mut smtp = Smtp::connect(site.layout.port(25));
    let taken = smtp.send(ALICE, &[BOB], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    site.mailbox(BOB).wait_for("the other mail", |mail| {
        mail.header("Subject").as_deref() == Some("lunch")
    });
}

/// How many requests went through the internal listener.
fn passed_internally(site: &Site) -> usize {
    let port = site.layout.port(18026).port();
    let line = format!(":{port}, delay=");
    site.postfix.log().matches(&line).count()
}

#[test]
fn debians_own_configuration() {
    let installer = Installer::on_debian();
    let before = installer.files();
    let shown = installer.run(&["--dry-run"]);
    for words in [
        "the gateway is the last milter of smtpd",
        "postconf -c ",
        "Nothing was changed",
    ] {
        assert!(shown.contains(words), "{words:?}: {shown}");
    }
    installer.assert_files(&before);
    assert!(installer.is_gone());

    let shown = installer.run(&[]);
    assert!(shown.contains("reload"), "{shown}");
    let installed = installer.files();
    let shown = installer.run(&[]);
    assert!(shown.contains("Nothing to change"), "{shown}");
    installer.assert_files(&installed);

    let site = start(installer);
    is_answered(&site, &help(1));
    assert_eq!(passed_internally(&site), 0, "the milter was passed by");
    other_mail_is_delivered(&site);
    let checked = output(site.postfix.tool("postfix").arg("check"), b"");
    assert!(!checked.stderr.contains("kms-gateway"), "{checked:?}");
    // With both running the ports are our own.
    let again = run_again(&site.layout);
    assert!(again.contains("Nothing to change"), "{again}");
}

/// The installer on a site that runs; where mail comes out of the queue it remembers.
fn run_again(layout: &Layout) -> String {
    run(
        Command::new(env!("CARGO_BIN_EXE_kms-gateway"))
            .arg("--config")
            .arg(layout.config())
            .args(["postfix", "install", "--config-directory"])
            .arg(layout.directory().join("etc")),
        b"",
    )
}

#[test]
fn a_unix_socket_inside_the_chroot() {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    layout.gateway(&[
        "config",
        "set",
        "milter.listen",
        "unix:/run/kms-gateway/milter",
    ]);
    let refusal = installer.refusal(&[]);
    assert!(
        refusal.contains("chrooted") && refusal.contains("smtp"),
        "{refusal}"
    );

    let directory = layout.directory().join("queue/kms-gateway");
    let socket = directory.join("milter");
    let listen = format!("unix:{}", socket.display());
    layout.gateway(&["config", "set", "milter.listen", &listen]);
    let port = layout.port(2527);
    layout.add_postfix_service(&format!("{port}/inet={port} inet n - n - - smtpd"));
    let without = layout.port(2526);
    layout.add_postfix_service(&format!(
        "{without}/inet={without} inet n - n - - smtpd -o smtpd_milters="
    ));
    let shown = installer.run(&[]);
    assert!(shown.contains(":smtp is chrooted"), "{shown}");
    assert!(
        shown.contains(&format!("{port} is not chrooted")),
        "{shown}"
    );
    let milters = layout.postfix_parameter("smtpd_milters");
    assert!(
        milters.starts_with("{ unix:kms-gateway/milter,"),
        "{milters}"
    );
    let metadata = fs::metadata(&directory).expect("the directory");
    assert_eq!(metadata.mode() & 0o7777, 0o2750);

    let gateway = layout.start_gateway_at(&socket);
    let site = installer.layout.start_with(Some(gateway));
    is_answered(&site, &help(1));
    let draft = help(2);
    let taken = Smtp::connect(port).send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    site.mailbox(ALICE).wait_for_reply(draft.header("Subject"));
    assert_eq!(passed_internally(&site), 0, "the milter was passed by");
    // And by the internal listener, which is not chrooted.
    let draft = help(3);
    let taken = site
        .smtp_without_milters()
        .send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    site.mailbox(ALICE).wait_for_reply(draft.header("Subject"));
    assert_eq!(passed_internally(&site), 1);
}

#[test]
fn the_internal_wiring_leaves_smtpd_alone() {
    let installer = Installer::on_debian();
    installer.layout.set_postfix("smtpd_milters=");
    let before = installer.files();
    installer.run(&[]);
    let shown = installer.run(&["--wiring", "internal"]);
    assert!(shown.contains("no milter of smtpd"), "{shown}");
    assert_eq!(installer.layout.postfix_parameter("smtpd_milters"), "");
    let after = installer.files();
    installer.run(&[]);
    installer.assert_files(&after);
    installer.uninstall(&[]);
    installer.assert_files(&before);
    installer.run(&["--wiring", "internal"]);
    let site = start(installer);
    is_answered(&site, &help(1));
    assert_eq!(passed_internally(&site), 1);
    other_mail_is_delivered(&site);
}

#[test]
fn by_ipv6_where_postfix_uses_it() {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    // Both at once, so that they are two.
    let free = [(); 2].map(|()| TcpListener::bind("[::1]:0").expect("a free port"));
    let [reply, internal] = free.map(|port| port.local_addr().expect("an address").to_string());
    layout.gateway(&["config", "set", "reply.smtp", &reply]);
    let options = ["--wiring", "internal", "--internal", &internal];
    let refusal = installer.refusal(&options);
    assert!(refusal.contains("Postfix uses no ipv6"), "{refusal}");

    layout.set_postfix("inet_protocols=all");
    installer.run(&options);
    let site = start(installer);
    is_answered(&site, &help(1));
    other_mail_is_delivered(&site);
    let line = format!("relay=::1{internal}, delay=");
    assert_eq!(site.postfix.log().matches(&line).count(), 1, "{line}");
}

/// A probe while the gateway is down would be kept as a failure for hours.
#[test]
fn a_site_that_verifies_recipients() {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    layout.set_postfix(
        "smtpd_recipient_restrictions=reject_unverified_recipient, permit_mynetworks, reject",
    );
    installer.run(&[]);
    let mut site = start(installer);
    site.gateway.take().expect("a gateway").stop();
    let draft = help(1);
    let taken = Smtp::connect(site.layout.port(25)).send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    site.gateway = Some(site.layout.start_gateway());
    site.postfix.deliver_all();
    site.mailbox(ALICE).wait_for_reply(draft.header("Subject"));
}

/// Debian's with all that a careful admin adds.
struct Hardened {
    installer: Installer,
    key: DkimKey,
    _opendkim: OpenDkim,
}

impl Hardened {
    fn new() -> Self {
        let installer = Installer::on_debian();
        let layout = &installer.layout;
        let key = DkimKey::generate(layout.directory(), "kms.example.org");
        let opendkim = key.sign_at(layout.port(8891));
        let site = layout.directory().display();
        let certificate = layout.directory().join("certificate.pem");
        run(
            Command::new("openssl")
                .args([
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                ])
                .args(["-subj", "/CN=mail.kms.example.org", "-keyout"])
                .arg(&certificate)
                .arg("-out")
                .arg(layout.directory().join("chain.pem")),
            b"",
        );
        let filter = layout.port(10026);
        let address = filter.ip();
        for parameter in [
            format!("smtpd_tls_chain_files={site}/certificate.pem, {site}/chain.pem"),
            "smtpd_tls_security_level=encrypt".to_owned(),
            format!("content_filter=scan:[{}]:{}", filter.ip(), filter.port()),
            format!("smtpd_milters=inet:{}", layout.port(8891)),
            "non_smtpd_milters=$smtpd_milters".to_owned(),
            "milter_default_action=tempfail".to_owned(),
            "smtpd_helo_required=yes".to_owned(),
            "smtpd_helo_restrictions=reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname"
                .to_owned(),
            "smtpd_sender_restrictions=reject_non_fqdn_sender".to_owned(),
            "smtpd_client_restrictions=permit_mynetworks, reject".to_owned(),
            "smtpd_data_restrictions=reject_unauth_pipelining, reject_multi_recipient_bounce"
                .to_owned(),
            "disable_vrfy_command=yes".to_owned(),
            "postscreen_access_list=permit_mynetworks".to_owned(),
            "smtp_tls_security_level=encrypt".to_owned(),
            "smtp_bind_address=192.0.2.1".to_owned(),
        ] {
            layout.set_postfix(&parameter);
        }
        for service in [
            format!("{address}:smtp/inet={address}:smtp inet n - y - 1 postscreen"),
            "smtpd/pass=smtpd pass - - y - - smtpd".to_owned(),
            "tlsproxy/unix=tlsproxy unix - - y - 0 tlsproxy".to_owned(),
            "dnsblog/unix=dnsblog unix - - y - 0 dnsblog".to_owned(),
            format!(
                "{address}:submission/inet={address}:submission inet n - y - - smtpd -o syslog_name=postfix/submission \
                 -o smtpd_milters=inet:{} -o smtpd_helo_restrictions=",
                layout.port(8891)
            ),
            "scan/unix=scan unix - - n - - smtp -o smtp_tls_security_level=none -o smtp_bind_address=".to_owned(),
            format!(
                "{filter}/inet={filter} inet n - n - - smtpd -o content_filter= -o smtpd_milters= \
                 -o smtpd_tls_security_level=none -o smtpd_helo_restrictions= \
                 -o receive_override_options=no_header_body_checks,no_unknown_recipient_checks"
            ),
        ] {
            layout.add_postfix_service(&service);
        }
        Self {
            installer,
            key,
            _opendkim: opendkim,
        }
    }

    /// Installs, asks by each way in, and uninstalls.
    fn serves(self, copies: bool) {
        let Self { installer, key, .. } = &self;
        let before = installer.files();
        installer.run(&["--dry-run"]);
        installer.assert_files(&before);
        installer.run(&[]);
        let installed = installer.files();
        installer.run(&[]);
        installer.assert_files(&installed);
        assert_eq!(
            installer
                .layout
                .gateway(&["config", "get", "milter.keep_bcc"]),
            format!("{copies}\n")
        );
        let gateway = installer.layout.start_gateway();
        let running = Postfix::start(installer.layout.directory());
        let mailbox =
            |person: &str| Mailbox::new(installer.layout.directory().join("mail").join(person));
        for (number, port) in [(1, 25), (2, 587)] {
            let draft = help(number);
            self.send_by_tls(port, GATEWAY, &draft);
            let reply = mailbox("alice").wait_for_reply(draft.header("Subject"));
            assert_eq!(key.verify(&reply), "pass", "by port {port}");
            if copies {
                mailbox("archive").wait_for("the archive's copy", |mail| {
                    mail.header("Subject").as_deref() == Some(draft.header("Subject"))
                });
            }
        }
        let lunch = Draft::request("lunch", "at noon?\n").with("To", BOB);
        self.send_by_tls(25, BOB, &lunch);
        mailbox("bob").wait_for("the other mail", |mail| {
            mail.header("Subject").as_deref() == Some("lunch")
        });
        let log = running.log();
        assert!(!log.contains("warning: milter "), "{log}");
        drop((running, gateway));
        installer.uninstall(&[]);
        installer.assert_files(&before);
    }

    fn send_by_tls(&self, port: u16, recipient: &str, draft: &Draft) {
        let to = self.installer.layout.port(port);
        run(
            python("install/send_by_tls.py")
                .arg(to.ip().to_string())
                .arg(port.to_string())
                .args([ALICE, recipient]),
            &draft.to_bytes(),
        );
    }
}

#[test]
fn a_hardened_configuration() {
    Hardened::new().serves(false);
}

#[test]
fn a_hardened_configuration_with_an_archive() {
    let hardened = Hardened::new();
    hardened
        .installer
        .layout
        .set_postfix("always_bcc=archive@kms.example.org");
    hardened.serves(true);
}

#[test]
fn a_probe_of_recipient_verification_does_not_reach_the_gateway() {
    const PARAMETER: &str = "address_verify_transport_maps";
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    let restrictions =
        "smtpd_recipient_restrictions=permit_mynetworks, reject_unverified_recipient";
    layout.set_postfix(restrictions);
    let before = installer.files();
    installer.run(&[]);
    let exception = format!("inline:{{ {{{GATEWAY} = discard:kms-gateway}} }}, $transport_maps");
    assert_eq!(layout.postfix_parameter(PARAMETER), exception);
    // The exception goes when no recipient is verified any more.
    layout.set_postfix("smtpd_recipient_restrictions=permit_mynetworks");
    installer.run(&[]);
    assert_eq!(layout.postfix_parameter(PARAMETER), "$transport_maps");
    layout.set_postfix(restrictions);
    installer.run(&[]);
    installer.uninstall(&[]);
    let after = installer.files();
    let file = layout.postfix_file("main.cf");
    assert_eq!(
        String::from_utf8_lossy(&after[&file]),
        String::from_utf8_lossy(&before[&file])
    );
}
