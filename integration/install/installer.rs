//! The files after `kms-gateway postfix install`. A second run changes nothing.
//! `uninstall` leaves nothing behind, whatever was edited in between. A Postfix
//! that cannot work with the gateway is refused.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    process::Command,
};

use crate::harness::{BOB, GATEWAY, Installer, Output, output, run, shim};

#[test]
fn uninstalled_it_is_as_it_was_byte_for_byte() {
    let installer = Installer::on_debian();
    installer.edit(
        "main.cf",
        "# The admin's own, on lines of his own.\nsmtpd_milters =\n  # verifies\n  inet:localhost:8891,\n\
         \tunix:rspamd/milter\nalways_bcc = archive@kms.example.org\n",
    );
    let main = installer.layout.postfix_file("main.cf");
    fs::set_permissions(&main, Permissions::from_mode(0o640)).expect("its mode");
    chown(&main, None, Some(65534)).expect("its group");
    let before = installer.files();

    let shown = installer.uninstall(&[]);
    assert!(shown.contains("not installed"), "{shown}");
    installer.run(&[]);
    assert_eq!(
        installer
            .layout
            .gateway(&["config", "get", "milter.keep_bcc"]),
        "true\n"
    );
    let installed = installer.files();
    let metadata = fs::metadata(&main).expect("main.cf");
    assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (0o640, 65534));
    let shown = installer.uninstall(&["--dry-run"]);
    assert!(shown.contains("byte for byte"), "{shown}");
    installer.assert_files(&installed);
    installer.uninstall(&[]);
    installer.assert_files(&before);
    assert!(installer.is_gone());
    let metadata = fs::metadata(&main).expect("main.cf");
    assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (0o640, 65534));
    let shown = installer.uninstall(&[]);
    assert!(shown.contains("not installed"), "{shown}");
    installer.assert_files(&before);
}

#[test]
fn edits_in_between_survive() {
    let installer = Installer::on_debian();
    installer
        .layout
        .set_postfix("smtpd_milters=inet:localhost:8891");
    installer
        .layout
        .set_postfix("always_bcc=archive@kms.example.org");
    installer.run(&[]);
    let milters = installer.layout.postfix_parameter("smtpd_milters");
    installer
        .layout
        .set_postfix(&format!("smtpd_milters={milters}, inet:localhost:8895"));
    installer.layout.set_postfix("message_size_limit=12345678");
    let own = "tomorrow  unix  -       -       n       -       -       smtp\n";
    installer.edit("master.cf", own);
    installer.layout.set_gateway("log", "level", "debug");

    // Another run puts the gateway last again.
    let shown = installer.run(&[]);
    let numbered = [
        "1. inet:localhost:8891",
        "2. inet:localhost:8895",
        "3. { inet:",
    ];
    assert!(numbered.iter().all(|line| shown.contains(line)), "{shown}");
    let after = installer.files();
    installer.run(&[]);
    installer.assert_files(&after);

    let shown = installer.uninstall(&[]);
    assert!(shown.contains("edited since"), "{shown}");
    let layout = &installer.layout;
    assert_eq!(
        layout.postfix_parameter("smtpd_milters"),
        "inet:localhost:8891, inet:localhost:8895"
    );
    assert_eq!(layout.postfix_parameter("message_size_limit"), "12345678");
    assert_eq!(layout.postfix_parameter("transport_maps"), "");
    let main = fs::read_to_string(layout.postfix_file("main.cf")).expect("main.cf");
    assert!(!main.contains("transport_maps"), "{main}");
    let master = fs::read_to_string(layout.postfix_file("master.cf")).expect("master.cf");
    assert!(
        master.contains(own) && !master.contains("kms-gateway"),
        "{master}"
    );
    assert_eq!(
        layout.gateway(&["config", "get", "milter.keep_bcc"]),
        "false\n"
    );
    assert_eq!(layout.gateway(&["config", "get", "log.level"]), "debug\n");
    assert!(installer.is_gone());
}

/// Other milters stay as they are written, and before ours.
#[test]
fn other_milters_keep_their_order_and_their_words() {
    let ours = |installer: &Installer| {
        format!(
            "{{ inet:{}, default_action=accept, connect_timeout=2s, command_timeout=10s, content_timeout=60s }}",
            installer.layout.port(8890)
        )
    };
    for written in [
        "inet:localhost:8891",
        "inet:localhost:11332, unix:opendkim/opendkim.sock, local:dmarc.sock",
        "{ unix:/run/rspamd/milter.sock, default_action=tempfail, connect_timeout = 3s }, inet:[::1]:8891",
        "$non_smtpd_milters",
        "${mymilters} $(mymilters),inet:localhost:8893",
    ] {
        let installer = Installer::on_debian();
        let layout = &installer.layout;
        layout.set_postfix("mymilters=inet:localhost:8899");
        layout.set_postfix("non_smtpd_milters=inet:localhost:8898, inet:localhost:8897");
        layout.set_postfix(&format!("smtpd_milters={written}"));
        let before = installer.files();
        installer.run(&[]);
        assert_eq!(
            layout.postfix_parameter("smtpd_milters"),
            format!("{written}, {}", ours(&installer))
        );
        assert_eq!(
            layout.postfix_parameter("non_smtpd_milters"),
            "inet:localhost:8898, inet:localhost:8897"
        );
        let replies = installer.service(&format!("{}/inet", layout.port(18025)));
        assert!(
            replies.contains("{smtpd_milters=inet:localhost:8898, inet:localhost:8897}"),
            "{replies}"
        );
        installer.uninstall(&[]);
        installer.assert_files(&before);
    }
}

/// As OpenDKIM's and rspamd's own instructions have it.
#[test]
fn local_mail_that_has_the_milters_of_smtpd_does_not_get_ours() {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    layout.set_postfix("smtpd_milters=inet:localhost:8891");
    layout.set_postfix("non_smtpd_milters=$smtpd_milters");
    installer.run(&[]);
    assert_eq!(
        layout.postfix_parameter("non_smtpd_milters"),
        "inet:localhost:8891"
    );
    let shown = installer.run(&[]);
    assert!(shown.contains("Nothing to change"), "{shown}");
    // A further milter of the admin's is carried over.
    let milters = layout.postfix_parameter("smtpd_milters");
    layout.set_postfix(&format!("smtpd_milters=inet:localhost:8892, {milters}"));
    installer.run(&[]);
    assert_eq!(
        layout.postfix_parameter("non_smtpd_milters"),
        "inet:localhost:8892, inet:localhost:8891"
    );
    installer.uninstall(&[]);
    assert_eq!(
        layout.postfix_parameter("non_smtpd_milters"),
        "$smtpd_milters"
    );
    assert_eq!(
        layout.postfix_parameter("smtpd_milters"),
        "inet:localhost:8892, inet:localhost:8891"
    );

    layout.set_postfix("all=$smtpd_milters");
    layout.set_postfix("non_smtpd_milters=$all");
    let refusal = installer.refusal(&[]);
    assert!(refusal.contains("non_smtpd_milters refers"), "{refusal}");
}

#[test]
fn signers_are_chosen_and_remembered() {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    layout.set_postfix(
        "smtpd_milters=inet:localhost:11332, { inet:localhost:8891, default_action=accept }",
    );
    let signed_by = |arguments: &[&str]| {
        installer.run(arguments);
        let parameter = format!("{}/inet/smtpd_milters", layout.port(18025));
        let etc = layout.directory().join("etc");
        let shown = run(
            Command::new("postconf")
                .arg("-c")
                .arg(etc)
                .args(["-P", &parameter]),
            b"",
        );
        let (_, value) = shown.split_once('=').expect("a value");
        value.trim().to_owned()
    };
    assert_eq!(
        signed_by(&[]),
        "inet:localhost:11332, { inet:localhost:8891, default_action=accept }"
    );
    let chosen = "{ inet:localhost:8891, default_action=accept }";
    assert_eq!(signed_by(&["--signer", "inet:localhost:8891"]), chosen);
    assert_eq!(signed_by(&[]), chosen);
    assert_eq!(signed_by(&["--signer", "none"]), "");
    let ours = format!("inet:{}", layout.port(8890));
    let refusal = installer.refusal(&["--signer", &ours]);
    assert!(refusal.contains("is the gateway"), "{refusal}");
}

#[test]
fn a_changed_gateway_toml_is_carried_over() {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    layout.set_postfix("transport_maps=regexp:/etc/postfix/transport, hash:/etc/other");
    let before = installer.files();
    installer.run(&[]);
    let set = |key: &str, values: &[&str]| {
        layout.gateway(&[&["config", "set", key], values].concat());
    };
    set("gateway.addresses", &[GATEWAY, "KMS+keys@kms.example.org"]);
    set("milter.listen", &[&format!("inet:{}", layout.port(8899))]);
    set("milter.internal_daemon_name", &["inner"]);
    set("reply.smtp", &[&layout.port(18035).to_string()]);
    installer.run(&[]);
    let internal = layout.port(18026);
    let way = format!("kms-gateway:[{}]:{}", internal.ip(), internal.port());
    assert_eq!(
        layout.postfix_parameter("transport_maps"),
        format!(
            "inline:{{ {{{GATEWAY} = {way}}}, {{KMS+keys@kms.example.org = {way}}} }}, \
             regexp:/etc/postfix/transport, hash:/etc/other"
        )
    );
    let milters = layout.postfix_parameter("smtpd_milters");
    assert!(
        milters.starts_with(&format!("{{ inet:{},", layout.port(8899))),
        "{milters}"
    );
    assert_eq!(milters.matches("inet:").count(), 1, "{milters}");
    assert_eq!(
        installer.service(&format!("{}/inet", layout.port(18025))),
        ""
    );
    assert_ne!(
        installer.service(&format!("{}/inet", layout.port(18035))),
        ""
    );
    let inner = installer.service(&format!("{internal}/inet"));
    assert!(inner.contains("milter_macro_daemon_name=inner"), "{inner}");

    installer.uninstall(&[]);
    let after = installer.files();
    for name in ["main.cf", "master.cf"] {
        let file = layout.postfix_file(name);
        assert_eq!(after[&file], before[&file], "{name}");
    }

    set("gateway.addresses", &["odd=one@kms.example.org"]);
    let refusal = installer.refusal(&[]);
    assert!(refusal.contains("no inline: map takes"), "{refusal}");
}

#[test]
fn ports_in_use_are_refused() {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    for (port, words) in [
        (18025, "reply.smtp"),
        (18026, "internal"),
        (8890, "milter.listen"),
    ] {
        let taken = TcpListener::bind(layout.port(port)).expect("a free port");
        let refusal = installer.refusal(&[]);
        assert!(refusal.contains(words), "{refusal}");
        assert!(
            refusal.contains(&format!("pid={}", std::process::id())),
            "{refusal}"
        );
        drop(taken);
    }
    for name in ["18025", "0.0.0.0:18026"] {
        let service = format!("{name}/inet");
        layout.add_postfix_service(&format!("{service}={name} inet n - n - - smtpd"));
        let refusal = installer.refusal(&[]);
        assert!(
            refusal.contains(&format!("the service {name}")),
            "{refusal}"
        );
        let etc = layout.directory().join("etc");
        run(
            Command::new("postconf")
                .arg("-c")
                .arg(etc)
                .args(["-MX", &service]),
            b"",
        );
    }
    installer.run(&["--dry-run"]);
}

#[test]
fn what_cannot_work_is_refused_before_anything_changes() {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    let reply = format!("{}/inet", layout.port(18025));
    let foreign = format!(
        "{reply}={} inet n - n - - smtpd -o content_filter=",
        layout.port(18025)
    );
    layout.add_postfix_service(&foreign);
    let refusal = installer.refusal(&[]);
    assert!(refusal.contains("that is not ours"), "{refusal}");

    let old = shim(
        layout.directory(),
        "postconf",
        "[[ $* != '-dh mail_version' ]] || { echo 3.6.4; exit; }",
    );
    let Output { code, stderr, .. } = output(installer.command(&[]).env("PATH", &old), b"");
    assert!(
        code == Some(1) && stderr.contains("upgrade to 3.7 or later"),
        "{stderr}"
    );

    fs::set_permissions(layout.config(), Permissions::from_mode(0o644)).expect("its mode");
    let inner = installer.command(&[]);
    let mut nobody = Command::new("runuser");
    nobody
        .args(["-u", "nobody", "--"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let Output { code, stderr, .. } = output(&mut nobody, b"");
    assert!(code == Some(1) && stderr.contains("only root"), "{stderr}");

    let main = layout.postfix_file("main.cf");
    let elsewhere = layout.directory().join("main.cf");
    fs::rename(&main, &elsewhere).expect("main.cf");
    symlink(&elsewhere, &main).expect("a link");
    let refusal = installer.refusal(&[]);
    assert!(refusal.contains("is a symbolic link"), "{refusal}");
}

#[test]
fn what_the_admin_should_know_is_said() {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    layout.set_postfix(&format!(
        "virtual_alias_maps=inline:{{ {{{GATEWAY} = {BOB}}} }}"
    ));
    layout.set_postfix("virtual_mailbox_maps=inline:{ {alice@vendor.example = alice/} }");
    layout.set_postfix("mynetworks=127.0.0.0/8 192.0.2.0/24");
    layout.set_postfix("smtpd_milter_maps=inline:{ {127.0.0.9 = DISABLE} }");
    layout.add_postfix_service(
        "submission/inet=submission inet n - y - - smtpd -o smtpd_milters=inet:localhost:8891",
    );
    let shown = installer.run(&["--dry-run"]);
    for words in [
        "is an alias by virtual_alias_maps",
        "is no valid recipient by virtual_mailbox_maps",
        "192.0.2.0/24",
        "smtpd_milter_maps is set",
        "smtpd service submission has smtpd_milters of its own",
    ] {
        assert!(shown.contains(words), "{words:?}: {shown}");
    }
    let quiet = Installer::on_debian().run(&["--dry-run"]);
    assert!(!quiet.contains("warning"), "{quiet}");
}

/// Whatever an editor has left, and whatever else the site has: the bytes come back.
#[test]
fn odd_files_come_back_byte_for_byte() {
    for (name, main, master) in [
        (
            "no newline at the end",
            "mydomain = kms.example.org",
            "tomorrow unix - - n - - smtp",
        ),
        (
            "CRLF",
            "mydomain = kms.example.org\r\n",
            "tomorrow unix - - n - - smtp\r\n",
        ),
        (
            "filters",
            "content_filter = scan:[127.0.0.1]:10025\nsmtpd_proxy_filter =\n\t127.0.0.1:10026\n# the end\n",
            "scan unix - - n - - smtp\n  -o smtp_send_xforward_command=yes\n",
        ),
        (
            "several instances",
            "multi_instance_enable = yes\nmulti_instance_name = postfix-out\nmulti_instance_group = mta\n",
            "",
        ),
    ] {
        let installer = Installer::on_debian();
        installer.edit("main.cf", main);
        installer.edit("master.cf", master);
        comes_back(&installer, name, &[]);
    }
}

#[test]
fn every_way_of_wiring_comes_back_byte_for_byte() {
    let installer = Installer::on_debian();
    let socket = installer
        .layout
        .directory()
        .join("queue/kms-gateway/milter");
    let listen = format!("unix:{}", socket.display());
    let set = |key, value| installer.layout.gateway(&["config", "set", key, value]);
    set("milter.listen", &listen);
    comes_back(&installer, "a Unix socket in the chroot", &[]);
    assert!(!socket.parent().expect("its directory").exists());
    comes_back(&installer, "internal", &["--wiring", "internal"]);

    installer.layout.set_postfix("inet_protocols=all");
    let free = [(); 2].map(|()| TcpListener::bind("[::1]:0").expect("a free port"));
    let [reply, internal] = free.map(|port| port.local_addr().expect("an address").to_string());
    set("reply.smtp", &reply);
    comes_back(&installer, "IPv6", &["--internal", &internal]);
}

/// Installs, installs again, and takes out.
fn comes_back(installer: &Installer, name: &str, arguments: &[&str]) {
    let before = installer.files();
    installer.run(arguments);
    assert_ne!(installer.files(), before, "{name}");
    let shown = installer.run(arguments);
    assert!(shown.contains("Nothing to change"), "{name}: {shown}");
    let main = installer.layout.postfix_file("main.cf");
    let now = fs::read_to_string(main).expect("main.cf");
    let begins_line = |line: &str| line.starts_with("transport_maps = inline:");
    assert!(now.lines().any(begins_line), "{name}: {now}");
    installer.uninstall(&[]);
    installer.assert_files(&before);
    assert!(installer.is_gone(), "{name}");
}

/// By a link, as the Debian package has one.
#[test]
fn it_has_a_name_of_its_own() {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    let before = installer.files();
    let link = layout.directory().join("kms-gateway-postfix");
    symlink(env!("CARGO_BIN_EXE_kms-gateway"), &link).expect("a link");
    let alone = |arguments: &[&str]| {
        let mut command = Command::new(&link);
        command
            .arg("--config-directory")
            .arg(layout.directory().join("etc"))
            .arg("--config")
            .arg(layout.config())
            .args(arguments);
        run(&mut command, b"")
    };
    let internal = layout.port(18026).to_string();
    let shown = alone(&["--internal", &internal, "--dry-run"]);
    assert!(shown.contains("Nothing was changed"), "{shown}");
    alone(&["--internal", &internal]);
    let shown = installer.run(&[]);
    assert!(shown.contains("Nothing to change"), "{shown}");
    let shown = alone(&["--uninstall"]);
    assert!(shown.contains("byte for byte"), "{shown}");
    installer.assert_files(&before);
    let usage = run(Command::new(&link).arg("--help"), b"");
    assert!(usage.contains("--uninstall"), "{usage}");
}
