//! The configuration of DNS blocklists: name servers of resolv.conf, zones of one
//! family and private zones, and zones that are reloaded and explained.

use std::{fs, path::Path, process::Command};

use rustix::process::Signal;
use serde_json::Value;
use toml::Value as Toml;

use crate::{
    dnsbl::{
        LISTED, PATIENCE, ask_zones, help, is_answered, is_refused, layout, logged, recipient,
        serve,
    },
    harness::{Layout, Rbldnsd, WELL, WELL_V6, kms_gateway, output, run, until},
};

/// A program that becomes another, to whose eyes this file is /etc/resolv.conf.
fn with_resolv_conf(file: &Path) -> Vec<String> {
    let mount = format!(
        "mount --bind {} /etc/resolv.conf && exec \"$@\"",
        file.display()
    );
    ["unshare", "--mount", "sh", "-c", &mount, "sh"]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn of_resolv_conf_only_the_name_servers_matter() {
    let layout = Layout::new();
    ask_zones(&layout, &["bl.example"]);
    layout.set_gateway("dnsbl", "recheck", "1s");
    layout.allow_xclient();
    let name_server = layout.port(53);
    let zones = [("bl.example", "ip4trie", LISTED)];
    let _server = Rbldnsd::start(layout.directory(), name_server, 1, &zones);
    let resolv_conf = layout.directory().join("resolv.conf");
    let text = format!(
        "; made by hand\nsearch my..bad space\\032space.com\ndomain -.example..\n\
         options ndots:many rotate no-such-option\nsortlist nonsense\n\
         nameserver fe80::1%eth0\nnameserver {} # ours\n",
        name_server.ip()
    );
    fs::write(&resolv_conf, text).expect("a file");
    let launcher = with_resolv_conf(&resolv_conf);
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();

    let mut check = Command::new(launcher[0]);
    let kms_gateway = kms_gateway(&layout.config(), &["check"]);
    check.args(&launcher[1..]);
    check
        .arg(kms_gateway.get_program())
        .args(kms_gateway.get_args());
    let checked = output(&mut check, b"");
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let warnings: Vec<&str> = checked
        .stdout
        .lines()
        .filter(|line| line.starts_with("warning: "))
        .collect();
    assert!(
        matches!(warnings[..], [warning] if warning.contains("/etc/resolv.conf:6: the name server \"fe80::1%eth0\" is not asked")),
        "{checked:?}"
    );

    let gateway = layout.start_gateway_by(&launcher);
    let site = layout.start_with(Some(gateway));
    logged(&site, "/etc/resolv.conf:6");
    is_refused(&site, "ADDR=192.0.2.9");
    is_answered(&site, "ADDR=198.51.100.1", 1);
}

#[test]
fn zones_of_one_family_and_private_zones_are_asked_as_they_are() {
    let layout = layout(&[]);
    let table = |text: &str| -> Toml {
        let table: toml::Table = text.parse().expect("TOML");
        Toml::Table(table)
    };
    layout.set_gateway(
        "dnsbl",
        "zones",
        vec![
            table("site = 'four.example'\nipv6 = false"),
            table("site = 'six.example'\nipv4 = false"),
            table("site = 'private.example'\nhealth = false"),
        ],
    );
    let server = serve(
        &layout,
        1,
        &[
            ("four.example", "ip4trie", "127.0.0.2\n192.0.2.4\n"),
            (
                "six.example",
                "ip6trie",
                &format!("{WELL_V6}2001:db8::6/128\n"),
            ),
            ("private.example", "ip4trie", "192.0.2.5\n"),
        ],
    );
    let site = layout.start();
    for listed in ["192.0.2.4", "192.0.2.5", "IPV6:2001:db8::6"] {
        is_refused(&site, &format!("ADDR={listed}"));
    }
    is_answered(&site, "ADDR=192.0.2.6", 1);
    is_answered(&site, "ADDR=IPV6:2001:db8::7", 2);
    let asked = server.queries();
    let is_of = |zone: &str, end: &str| {
        let name = format!("{end}.{zone} A");
        asked.iter().any(|own| own.ends_with(&name))
    };
    assert!(
        is_of("four.example", "192") && !is_of("four.example", "1.0.0.2"),
        "{asked:?}"
    );
    assert!(
        is_of("six.example", "1.0.0.2") && !is_of("six.example", "192"),
        "{asked:?}"
    );
    assert!(!is_of("private.example", "0.0.127"), "{asked:?}");
}

#[test]
fn zones_are_reloaded_and_explained() {
    let layout = layout(&[]);
    let server = serve(
        &layout,
        1,
        &[
            ("bl.example", "ip4trie", LISTED),
            ("well.example", "ip4trie", WELL),
        ],
    );
    let site = layout.start();
    is_answered(&site, "ADDR=192.0.2.9", 1);
    assert_eq!(server.queries(), Vec::<String>::new());

    ask_zones(&site.layout, &["bl.example", "well.example*7"]);
    site.gateway.as_ref().expect("it runs").signal(Signal::HUP);
    until("the zones are asked", PATIENCE, || {
        (recipient(&site, "ADDR=192.0.2.9") == 554).then_some(())
    });

    let explain = |arguments: &[&str]| {
        let arguments = [&["explain", "-"], arguments].concat();
        let mut command = kms_gateway(&site.layout.config(), &arguments);
        run(&mut command, &help(3).to_bytes())
    };
    let listed = ["--client-ip", "192.0.2.9"];
    let judged = |arguments: &[&str]| -> Value {
        let json = explain(&[arguments, &["--json"]].concat());
        serde_json::from_str(&json).expect("an object")
    };
    let refused = judged(&[&listed[..], &["--dns"]].concat());
    assert_eq!(refused["verdict"], "reject", "{refused}");
    assert_eq!(refused["rule"], "dnsbl", "{refused}");
    assert_eq!(
        judged(&listed)["verdict"],
        "request",
        "nobody is asked without --dns"
    );
    let table = explain(&[&listed[..], &["--dns"]].concat());
    let row = table
        .lines()
        .find(|line| line.starts_with("> "))
        .expect("a row");
    assert!(
        row.contains("dnsbl") && row.contains("score 1 of 1"),
        "{table}"
    );
    let unlisted = explain(&["--client-ip", "198.51.100.1", "--dns"]);
    assert!(unlisted.contains("score 0 of 1"), "{unlisted}");

    let shown = site.layout.gateway(&["check"]);
    assert!(
        shown.contains("[zones = bl.example well.example*7]"),
        "{shown}"
    );
}
