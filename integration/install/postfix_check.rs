//! The findings of `kms-gateway postfix check`: none for a Postfix that is as the
//! gateway needs it. For any other it prints each difference and its remedy.

use std::{fs, process::Command};

use crate::harness::{BOB, GATEWAY, Installer, output, run};

/// Debian's Postfix for the domain of the gateway, which is added.
fn installed() -> Installer {
    let installer = Installer::on_debian();
    installer.run(&[]);
    installer.settle();
    assert_eq!(installer.differences(), [] as [&str; 0]);
    installer
}

/// A change of Postfix's files by postconf(1).
fn postconf(installer: &Installer, arguments: &[&str]) {
    let etc = installer.layout.directory().join("etc");
    run(
        Command::new("postconf").arg("-c").arg(etc).args(arguments),
        b"",
    );
    installer.settle();
}

#[test]
fn a_postfix_without_the_gateway_is_said_so() {
    let installer = Installer::on_debian();
    let found = installer.differences();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("postfix install adds it"), "{found:?}");
}

/// Each row: what the admin does, and the words of what differs then.
#[test]
fn each_difference_has_its_remedy() {
    let installer = installed();
    let layout = &installer.layout;
    let reply = layout.port(18025);
    let internal = layout.port(18026);
    let milters = layout.postfix_parameter("smtpd_milters");
    let other_action = milters.replace("default_action=accept", "default_action=tempfail");
    let milter = format!("inet:{}", layout.port(8890));
    let catch_all = format!("inline:{{ {{@kms.example.org = {BOB}}} }}");
    let timeout = format!("{internal}/inet/smtpd_milters={milter}");
    let signer = format!("{reply}/inet/smtpd_milters={milter}");
    let tls = format!("{reply}/inet/smtpd_tls_security_level=encrypt");
    let service = format!("{internal}/inet");
    let rows: &[(&[&str], &[&str])] = &[
        (
            &["-e", "smtpd_milters = inet:localhost:8891"],
            &["smtpd_milters lacks the gateway", "postfix install"],
        ),
        (
            &["-e", &format!("smtpd_milters = {other_action}")],
            &["default_action=tempfail", "write default_action=accept"],
        ),
        (
            &[
                "-e",
                &format!("smtpd_milters = {milters}, inet:localhost:8891"),
            ],
            &["a milter stands after the gateway"],
        ),
        (
            &["-e", "non_smtpd_milters = $smtpd_milters"],
            &["non_smtpd_milters names the gateway"],
        ),
        (
            &["-e", "transport_maps = hash:/none"],
            &["can't be read", "hash:/none"],
        ),
        (
            &[
                "-e",
                &format!("transport_maps = inline:{{ {{{GATEWAY} = smtp:}} }}"),
            ],
            &["transport_maps sends", "to smtp:"],
        ),
        (&["-X", "kms-gateway_destination_rate_delay"], &[]),
        (
            &["-e", "kms-gateway_destination_rate_delay = 5s"],
            &["default_destination_rate_delay is 5s", "postconf -e"],
        ),
        (
            &["-MX", &service],
            &["lacks the service", "The internal listener"],
        ),
        (
            &["-P", &timeout],
            &["mail could bypass the gateway", "postconf -P"],
        ),
        (&["-P", &signer], &["has the gateway among its milters"]),
        (
            &["-P", &tls],
            &["smtpd_tls_security_level=encrypt, and needs smtpd_tls_security_level=none"],
        ),
        (
            &[
                "-e",
                "smtpd_recipient_restrictions = reject_unverified_recipient",
            ],
            &["reject_unverified_recipient probes"],
        ),
        (
            &["-e", &format!("virtual_alias_maps = {catch_all}")],
            &[
                "@kms.example.org in virtual_alias_maps",
                "goes to bob@",
                "map the address to itself",
            ],
        ),
        (
            &[
                "-e",
                "relocated_maps = inline:{ {@kms.example.org = gone} }",
            ],
            &["relocated_maps"],
        ),
        (
            &["-e", "always_bcc = archive@kms.example.org"],
            &["keep_bcc is false", "always_bcc"],
        ),
        (
            &["-e", "recipient_delimiter = -"],
            &["recipient_delimiter", "config set"],
        ),
        (
            &["-e", "defer_transports = kms-gateway"],
            &["defer_transports"],
        ),
        (
            &["-e", "master_service_disable = inet"],
            &["master_service_disable has inet"],
        ),
        (
            &["-e", "maximal_queue_lifetime = 2h"],
            &["maximal_queue_lifetime is 2h"],
        ),
        (
            &["-e", "virtual_mailbox_domains = other.example"],
            &["is no domain of this Postfix"],
        ),
        (
            &["-e", "mynetworks = 192.0.2.0/24"],
            &["mynetworks of main.cf"],
        ),
        (&["-e", "inet_protocols = ipv6"], &["Postfix uses no ipv4"]),
    ];
    let before = installer.files();
    for (change, words) in rows {
        postconf(&installer, change);
        let found = installer.differences();
        let is_named = words
            .iter()
            .all(|word| found.iter().any(|line| line.contains(word)));
        assert!(is_named, "{change:?}: {words:?} in {found:#?}");
        assert!(
            words.is_empty() || found.len() == 1 || change.contains(&"-e"),
            "{found:#?}"
        );
        for (file, content) in &before {
            fs::write(file, content).expect("as it was");
        }
        installer.settle();
    }
    assert_eq!(installer.differences(), [] as [&str; 0]);
}

/// A service may take from main.cf whatever does it no harm.
#[test]
fn an_override_that_is_not_there_matters_if_main_cf_says_otherwise() {
    let installer = installed();
    let layout = &installer.layout;
    let name = format!("{}/inet/content_filter", layout.port(18026));
    postconf(&installer, &["-PX", &name]);
    assert_eq!(installer.differences(), [] as [&str; 0]);
    layout.set_postfix("content_filter=scan:[127.0.0.1]:10026");
    let found = installer.differences();
    assert!(
        found.len() == 1 && found[0].contains("must override what main.cf says: content_filter"),
        "{found:?}"
    );
}

/// As Postfix looks an address up: exactly, by its domain, by an alias domain, and
/// again whatever comes of it.
#[test]
fn an_alias_is_followed_as_postfix_follows_it() {
    let installer = installed();
    let layout = &installer.layout;
    let aliases = |entries: &str| {
        layout.set_postfix(&format!("virtual_alias_maps=inline:{{ {entries} }}"));
        installer.differences()
    };
    let catch_all = format!("{{@kms.example.org = {BOB}}}");
    for taken in [
        format!("{{{GATEWAY} = {BOB}}}"),
        catch_all.clone(),
        "{@kms.example.org = @other.example}".to_owned(),
        format!("{{{GATEWAY} = postmaster}}"),
        format!("{{{GATEWAY} = one@kms.example.org}}, {{one@kms.example.org = {BOB}}}"),
    ] {
        let found = aliases(&taken);
        assert!(
            found.iter().any(|line| line.contains("is an alias by")),
            "{taken}: {found:?}"
        );
    }
    for cured in [
        format!("{{{GATEWAY} = {GATEWAY}}}, {catch_all}"),
        "{@kms.example.org = @kms.example.org}".to_owned(),
        format!("{{@other.example = {BOB}}}"),
    ] {
        assert_eq!(aliases(&cured), [] as [&str; 0], "{cured}");
    }
    // A copy for somebody else would be lost.
    let found = aliases(&format!("{{{GATEWAY} = {GATEWAY}, {BOB}}}"));
    assert!(
        found.len() == 1 && found[0].contains("keep_bcc is false"),
        "{found:?}"
    );
    layout.set_postfix("virtual_alias_maps=");
    layout.set_postfix(&format!(
        "recipient_canonical_maps=inline:{{ {{{GATEWAY} = {BOB}}} }}"
    ));
    let found = installer.differences();
    assert!(
        found.len() == 1 && found[0].contains("recipient_canonical_maps"),
        "{found:?}"
    );
}

/// smtpd looks a recipient up without its extension too.
#[test]
fn the_mailbox_of_an_address_with_an_extension_is_found() {
    let installer = installed();
    let layout = &installer.layout;
    let address = GATEWAY.replace('@', "+kms@");
    layout.set_gateway("gateway", "addresses", vec![address.clone()]);
    layout.set_postfix(&format!(
        "virtual_mailbox_maps=inline:{{ {{{GATEWAY} = box}} }}"
    ));
    let is_refused = || {
        let line = format!("{address} is no valid recipient");
        installer
            .differences()
            .iter()
            .any(|found| found.contains(&line))
    };
    for (delimiter, expected) in [("", true), ("+", false)] {
        layout.set_postfix(&format!("recipient_delimiter={delimiter}"));
        assert_eq!(is_refused(), expected, "{delimiter:?}");
    }
}

/// The gateway would take mail that a filter brings back for mail of this machine.
#[test]
fn the_port_by_which_a_filter_brings_mail_back_has_no_milter() {
    let installer = installed();
    let layout = &installer.layout;
    let back = layout.port(10026);
    layout.add_postfix_service(&format!(
        "{back}/inet={back} inet n - n - - smtpd -o content_filter="
    ));
    assert_eq!(installer.differences(), [] as [&str; 0], "no filter");
    layout.set_postfix("content_filter=scan:[127.0.0.1]:10025");
    let found = installer.differences();
    let remedy = format!("postconf -P '{back}/inet/smtpd_milters='");
    assert!(found.len() == 1 && found[0].contains(&remedy), "{found:?}");
    let shown = installer.run(&["--dry-run"]);
    assert!(shown.contains(&remedy), "{shown}");

    // The public service alone has a filter, and is not the way back.
    layout.set_postfix("content_filter=");
    let public = format!("{}:smtp/inet", layout.port(0).ip());
    let filter = format!("{public}/smtpd_proxy_filter=127.0.0.1:10025");
    postconf(&installer, &["-P", &filter]);
    let found = installer.differences();
    assert!(found.len() == 1 && found[0].contains(&remedy), "{found:?}");
    postconf(&installer, &["-P", &format!("{back}/inet/smtpd_milters=")]);
    assert_eq!(installer.differences(), [] as [&str; 0]);
}

/// Masquerading is meant: a note, and no fault.
#[test]
fn masquerading_is_noted_and_json_has_all() {
    let installer = installed();
    installer
        .layout
        .set_postfix("masquerade_domains=example.org");
    assert_eq!(installer.differences(), [] as [&str; 0]);
    let json = run(installer.postfix("check").arg("--json"), b"");
    let json: serde_json::Value = serde_json::from_str(&json).expect("an object");
    assert_eq!(json["wiring"], "edge");
    assert_eq!(json["differences"], serde_json::json!([]));
    let note = json["notes"][0].as_str().expect("a note");
    assert!(note.contains("masquerade_domains"), "{note}");
    let shown = installer.run(&[]);
    assert!(shown.contains(note), "{shown}");
}

/// `kms-gateway check` compares the Postfix that postconf(1) finds.
#[test]
fn check_says_the_same() {
    let installer = installed();
    let layout = &installer.layout;
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms-gateway"));
        command.arg("--config").arg(layout.config()).arg("check");
        output(
            command.env("MAIL_CONFIG", layout.directory().join("etc")),
            b"",
        )
    };
    let ended = check();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("edge wiring"), "{ended:?}");
    layout.set_postfix("smtpd_milters=");
    let ended = check();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let [difference] = &installer.differences()[..] else {
        panic!("{ended:?}")
    };
    assert!(lines.contains(&difference.as_str()), "{ended:?}");
    installer.uninstall(&[]);
    let ended = check();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("the gateway is not in Postfix"),
        "{ended:?}"
    );
}

/// A table that can't be asked is no reason to say that all is well.
#[test]
fn a_table_that_cannot_be_read_is_named() {
    let installer = installed();
    let layout = &installer.layout;
    layout.set_postfix("virtual_alias_maps=texthash:/nowhere/aliases");
    let found = installer.differences();
    assert!(
        found.iter().any(|line| line.contains("/nowhere/aliases")),
        "{found:?}"
    );
}

/// As `always_bcc` does; in whatever table.
#[test]
fn the_action_bcc_keeps_copies_too() {
    let archive = "BCC archive@kms.example.org";
    let file = |installer: &Installer, text: &str| {
        let file = installer.layout.directory().join("table");
        fs::write(&file, text).expect("a table");
        file.display().to_string()
    };
    let keeps = |setting: &dyn Fn(&Installer) -> String| {
        let installer = Installer::on_debian();
        let setting = setting(&installer);
        installer.layout.set_postfix(&setting);
        let before = installer.files();
        let shown = installer.run(&[]);
        let kept = installer
            .layout
            .gateway(&["config", "get", "milter.keep_bcc"]);
        installer.uninstall(&[]);
        installer.assert_files(&before);
        assert_eq!(shown.contains("action BCC"), kept == "true\n", "{shown}");
        kept == "true\n"
    };
    let checks = |installer: &Installer| {
        let table = file(installer, &format!("/^Subject: .*KMS/ {archive}\n"));
        format!("header_checks=regexp:{table}")
    };
    assert!(keeps(&checks));
    let access = |_: &Installer| {
        format!(
            "smtpd_recipient_restrictions=check_recipient_access inline:{{ {{{GATEWAY} = {archive}}} }}, permit"
        )
    };
    assert!(keeps(&access));
    let hashed = |installer: &Installer| {
        let table = file(installer, &format!("alice@vendor.example {archive}\n"));
        let etc = installer.layout.directory().join("etc");
        run(
            Command::new("postmap")
                .arg("-c")
                .arg(etc)
                .arg(format!("hash:{table}")),
            b"",
        );
        format!("smtpd_sender_restrictions=check_sender_access proxy:hash:{table}")
    };
    assert!(keeps(&hashed));
    let without = |installer: &Installer| {
        let table = file(installer, "/^X-BCC: a@b/ IGNORE\n");
        format!("header_checks=regexp:{table}")
    };
    assert!(!keeps(&without));
}
