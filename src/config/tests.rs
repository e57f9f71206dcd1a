//! Every way to get the configuration wrong ends in one line that names the
//! file, the key and the remedy.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;

use super::*;

const MINIMAL: &str = "[gateway]\naddresses = [\"gateway@kms.example.org\"]\n";

/// The generator of P-384, which anybody can write.
const STSA_KEY: &str = concat!(
    "04AA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A38",
    "5502F25DBF55296C3A545E3872760AB73617DE4A96262C6F5D9E98BF9292DC29F8",
    "F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F"
);

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/gateway.toml"), text)
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn one_address_is_enough() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.milter.listen.to_string(), "inet:127.0.0.1:8890");
    assert_eq!(config.key_load_file.max_age, Period::from_secs(86_400));
    assert_eq!(config.reply.smtp.to_string(), "127.0.0.1:18025");
}

#[test]
fn the_example_is_valid_and_shows_the_defaults() {
    let example = parse(include_str!("../../postfix/gateway.toml")).unwrap();
    let minimal = parse(MINIMAL).unwrap();
    assert_eq!(
        format!("{:?}", example.milter),
        format!("{:?}", minimal.milter)
    );
    assert_eq!(example.store, minimal.store);
    assert_eq!(example.kms, minimal.kms);
    assert_eq!(
        format!("{:?}", example.policy),
        format!("{:?}", minimal.policy)
    );
    assert_eq!(
        format!("{:?}", example.dnsbl),
        format!("{:?}", minimal.dnsbl)
    );
    assert_eq!(example.sender_authentication, minimal.sender_authentication);
    assert_eq!(
        format!("{:?}", example.throttle),
        format!("{:?}", minimal.throttle)
    );
    assert_eq!(example.key_load_file, minimal.key_load_file);
    assert_eq!(example.kmc, minimal.kmc);
    assert_eq!(example.module_update, minimal.module_update);
    assert_eq!(example.worker, minimal.worker);
    assert_eq!(
        format!("{:?}", example.reply),
        format!("{:?}", minimal.reply)
    );
    assert_eq!(example.audit, minimal.audit);
    assert_eq!(example.log, minimal.log);
    assert_eq!(example.metrics, minimal.metrics);
}

#[test]
fn errors_name_file_line_key_and_remedy_on_one_line() {
    let cases = [
        (
            format!("{MINIMAL}\n[milter]\nkeep_bbc = true\n"),
            vec![
                "/etc/gateway.toml:5",
                "keep_bbc",
                "unknown field",
                "remove it or correct its name",
            ],
        ),
        (
            format!("{MINIMAL}[milter]\nkeep_bcc = \"yes\"\n"),
            vec![
                "/etc/gateway.toml:4: milter.keep_bcc",
                "expected a boolean",
                "correct the value",
            ],
        ),
        (
            format!("{MINIMAL}[milter]\nlisten = \"127.0.0.1:8890\"\n"),
            vec!["milter.listen", "neither inet:HOST:PORT nor unix:PATH"],
        ),
        (
            format!("{MINIMAL}[key_load_file]\nmax_age = \"a day\"\n"),
            vec!["key_load_file.max_age", "\"24h\""],
        ),
        (
            "[gateway]\n".to_owned(),
            vec!["gateway", "missing field `addresses`", "add it"],
        ),
        (
            "[gateway]\naddresses = [\"no address\"]\n".to_owned(),
            vec!["gateway.addresses[0]", "\"no address\" is no mail address"],
        ),
        (
            "[gateway]\naddresses = []\n".to_owned(),
            vec!["gateway.addresses", "empty", "gateway@kms.example.org"],
        ),
        (
            format!(
                "{MINIMAL}[secrets]\nmaster_secret_file = \"/a\"\nmaster_secret_credential = \"b\"\n"
            ),
            vec!["secrets", "more than one place", "keep one"],
        ),
        (
            format!("{MINIMAL}[worker]\nlease = \"0s\"\n"),
            vec!["worker.lease", "\"30s\""],
        ),
        (
            format!("{MINIMAL}[worker]\nfirst_retry = \"1h\"\n"),
            vec!["worker.longest_retry", "first_retry", "longer time"],
        ),
        (
            format!("{MINIMAL}[key_load_file]\nmax_age = \"0s\"\n"),
            vec!["key_load_file.max_age", "\"24h\""],
        ),
        (
            format!("{MINIMAL}[policy]\nmax_received = 0\n"),
            vec!["policy.max_received", "it is 0", "from 1"],
        ),
        (
            format!("{MINIMAL}[store]\nmax_requests = 0\n"),
            vec!["store.max_requests", "it is 0", "from 1"],
        ),
        (
            format!("{MINIMAL}[store]\npostgresql = {{ hosts = [] }}\n"),
            vec!["store.postgresql.hosts", "empty", "/run/postgresql"],
        ),
        (
            format!("{MINIMAL}[store]\npostgresql = {{ hosts = [\"db1:0\"] }}\n"),
            vec!["store.postgresql.hosts[0]", "db1.example:5433"],
        ),
        (
            format!("{MINIMAL}[store]\npostgresql = {{ hosts = [\"/run\", \"db1\"] }}\n"),
            vec!["store.postgresql.hosts", "servers and directories"],
        ),
        (
            format!("{MINIMAL}[store]\npostgresql = {{ database = \"\" }}\n"),
            vec!["store.postgresql.database", "can't be a name"],
        ),
        (
            format!("{MINIMAL}[store]\npostgresql = {{ user = \"\" }}\n"),
            vec!["store.postgresql.user", "can't be a name"],
        ),
        (
            format!("{MINIMAL}[audit]\nkeep = \"400s\"\n"),
            vec!["audit.keep", "30 days", "keep_less_than_30_days = true"],
        ),
        (
            format!("{MINIMAL}[log]\nlevel = \"warning\"\n"),
            vec![
                "log.level",
                "\"warning\"",
                "error, warn, info, debug, trace",
            ],
        ),
        (
            format!("{MINIMAL}[reply]\nsmtp = \"127.0.0.1:8890\"\n"),
            vec!["reply.smtp", "milter.listen", "127.0.0.1:18025"],
        ),
        (
            format!("{MINIMAL}[reply]\nreverse_path = \"<>\"\n"),
            vec!["reply.reverse_path", "null reverse path"],
        ),
        (
            format!("{MINIMAL}[metrics]\nlisten = \"127.0.0.1:8890\"\n"),
            vec!["metrics.listen", "milter.listen", "another port"],
        ),
        (
            format!("{MINIMAL}[metrics]\nlisten = \"127.0.0.1:18025\"\n"),
            vec!["metrics.listen", "reply.smtp", "another port"],
        ),
        (
            format!("{MINIMAL}[dnsbl]\nresolver = \"127.0.0.1:0\"\n"),
            vec!["dnsbl.resolver", "port is 0"],
        ),
        (
            format!("{MINIMAL}[milter]\nlisten = \"unix:/run/k\"\n[kms]\nsocket = \"/run/k\"\n"),
            vec!["kms.socket", "milter.listen"],
        ),
        (
            format!("{MINIMAL}recipient_delimiter = \"k\"\n"),
            vec!["gateway.recipient_delimiter", "'k'", "postconf"],
        ),
        (
            format!("{MINIMAL}[module_update]\nstsa_addresses = [\"gateway@kms.example.org\"]\n"),
            vec!["module_update.stsa_addresses", "own address"],
        ),
        (
            format!("{MINIMAL}[sender_authentication]\nauthserv_ids = [\"\"]\n"),
            vec!["sender_authentication.authserv_ids", "empty"],
        ),
        (
            format!("{MINIMAL}[throttle]\nat_once = 200\n"),
            vec!["throttle.block_above", "less than", "larger number"],
        ),
        (
            format!("{MINIMAL}[policy]\ntrusted_networks = [\"10.1.2.3/8\"]\n"),
            vec!["policy.trusted_networks[0]", "10.0.0.0/8"],
        ),
        (
            format!("{MINIMAL}[policy]\ntrusted_networks = [\"home\"]\n"),
            vec!["policy.trusted_networks[0]", "\"192.0.2.0/24\""],
        ),
        (
            format!("{MINIMAL}[dnsbl]\nzones = [\"bl.example=127.0.0\"]\n"),
            vec!["dnsbl.zones[0]", "127.0.0.[2..11]"],
        ),
        (
            format!("{MINIMAL}[dnsbl]\nzones = [{{ site = \"bl.example*x\" }}]\n"),
            vec!["dnsbl.zones[0]", "no weight"],
        ),
        (
            format!("{MINIMAL}[dnsbl]\nzones = [{{ zone = \"bl.example\" }}]\n"),
            vec!["dnsbl.zones[0]", "zone", "unknown field"],
        ),
        (
            format!("{MINIMAL}[dnsbl]\nzones = [3]\n"),
            vec!["dnsbl.zones[0]", "zone=filter*weight"],
        ),
        (
            format!(
                "{MINIMAL}[dnsbl]\nzones = [{{ site = \"bl.example\", ipv4 = false, ipv6 = false }}]\n"
            ),
            vec!["dnsbl.zones[0]", "neither ipv4 nor ipv6"],
        ),
        (
            format!(
                "{MINIMAL}[dnsbl]\nzones = [\"bl.example=127.0.0.2\", {{ site = \"bl.example\", health = false }}]\n"
            ),
            vec!["dnsbl.zones", "bl.example", "named twice"],
        ),
        (
            format!("{MINIMAL}[dnsbl]\nthreshold = 0\n"),
            vec!["dnsbl.threshold", "write a number from 1"],
        ),
        (
            format!("{MINIMAL}[dnsbl]\ntime_limit = \"20s\"\n"),
            vec!["dnsbl.time_limit", "\"8s\""],
        ),
        (
            format!("{MINIMAL}[dnsbl]\nresolver = \"localhost\"\n"),
            vec!["dnsbl.resolver", "correct the value"],
        ),
        (
            format!(
                "{MINIMAL}[[module_update.stsa_keys]]\npublic_key = \"04AB\"\n\
                 valid_from = \"20260101T000000Z\"\nvalid_until = \"20270101T000000Z\"\n"
            ),
            vec!["module_update.stsa_keys[0].public_key", "194 hexadecimal"],
        ),
        (
            format!("{MINIMAL}[metrics]\nlisten = \"0.0.0.0:9890\"\n"),
            vec!["metrics.listen", "not on loopback", "127.0.0.1:9890"],
        ),
        (
            format!("{MINIMAL}[kms]\nsocket = \"kms.sock\"\n"),
            vec!["kms.socket", "no absolute path", "/run/kms/kms.sock"],
        ),
        (
            format!("{MINIMAL}[kms]\nsocket = \"/k\"\nanswer_timeout = \"0s\"\n"),
            vec!["kms.answer_timeout", "shorter than 10 ms"],
        ),
        (
            format!("{MINIMAL}[kms]\nsocket = \"/k\"\nacceptance_timeout = \"3s\"\n"),
            vec!["kms.acceptance_timeout", "longer than 2 s", "\"1s\""],
        ),
        (
            format!(
                "{MINIMAL}[kms]\nsocket = \"/k\"\n[[module_update.stsa_keys]]\n\
                 public_key = \"{STSA_KEY}\"\n\
                 valid_from = \"20260101T000000Z\"\nvalid_until = \"20270101T000000Z\"\n"
            ),
            vec!["module_update.stsa_keys", "kms.socket", "remove them here"],
        ),
        (
            format!("{MINIMAL}[kms]\nsockt = \"/k\"\n"),
            vec!["sockt", "unknown field", "correct its name"],
        ),
        (
            format!("{MINIMAL}[sender_authentication]\nrequire = true\n"),
            vec!["sender_authentication.require", "authserv_ids"],
        ),
        ("[gateway\n".to_owned(), vec!["/etc/gateway.toml:1", "TOML"]),
    ];
    for (text, expected) in cases {
        let error = error(&text);
        assert!(!error.contains('\n'), "{error:?}");
        for part in expected {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
}

#[test]
fn a_short_audit_log_must_be_meant() {
    let keep = |text: &str| parse(&format!("{MINIMAL}[audit]\n{text}\n"));
    assert!(keep("keep = \"30d\"").is_ok());
    assert!(keep("keep = \"29d\"").is_err());
    assert!(keep("keep = \"29d\"\nkeep_less_than_30_days = true").is_ok());
}

#[test]
fn an_external_kms_is_named_by_its_socket() {
    assert_eq!(parse(MINIMAL).unwrap().kms.socket, None);
    let config = parse(&format!("{MINIMAL}[kms]\nsocket = \"/run/kms/kms.sock\"\n")).unwrap();
    assert_eq!(config.kms.socket, Some("/run/kms/kms.sock".into()));
    assert_eq!(config.kms.acceptance_timeout, Period::from_secs(1));
}

#[test]
fn blocklists_are_texts_or_tables() {
    let config = parse(&format!(
        "{MINIMAL}[dnsbl]\nresolver = \"[::1]:5353\"\nzones = [\n\
         \"Zen.example=127.0.0.[2..11]*3\",\n\
         {{ site = \"six.example*-2\", ipv4 = false, health = false }},\n]\n"
    ))
    .unwrap();
    let shown: Vec<_> = config
        .dnsbl
        .zones
        .iter()
        .map(|zone| (zone.site.to_string(), zone.ipv4, zone.ipv6, zone.health))
        .collect();
    assert_eq!(
        shown,
        [
            ("zen.example=127.0.0.[2..11]*3".to_owned(), true, true, true),
            ("six.example*-2".to_owned(), false, true, false),
        ]
    );
    assert_eq!(config.dnsbl.resolver, "[::1]:5353".parse().ok());
}

#[test]
fn a_block_lists_key_is_in_no_text_that_is_shown() {
    const KEY: &str = "aaaabbbbccccddddeeee";
    let zones = |zones: &str| parse(&format!("{MINIMAL}[dnsbl]\nzones = {zones}\n"));
    for text in [
        format!("[\"{KEY}.zen.dq.spamhaus.net*3\"]"),
        format!("[{{ site = \"{KEY}.bl.example\", public_name = \"bl.example\" }}]"),
    ] {
        let config = zones(&text).unwrap();
        assert!(config.dnsbl.zones[0].site.zone.asked().contains(KEY));
        let shown = config.value_of("dnsbl.zones").unwrap().to_string();
        assert!(
            shown.contains("<key>") && shown.contains("public_name"),
            "{shown}"
        );
        for shown in [shown, format!("{config:?}")] {
            assert!(!shown.contains(KEY), "{shown}");
        }
    }
    for wrong in [
        format!("\"{KEY}.zen.dq.spamhaus.net\""),
        format!("[\"{KEY}..net\"]"),
        format!("[\"{KEY}.bl.example=127\"]"),
        format!("[{{ site = \"{KEY}.bl.example\", public_name = \"{KEY}.\\n\" }}]"),
        format!("[{{ site = \"{KEY}.bl.example\", ipv4 = \"{KEY}\" }}]"),
        format!("[\"{KEY}.bl.example\", {{ site = \"{KEY}.bl.example\", ipv6 = false }}]"),
    ] {
        let error = zones(&wrong).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains(KEY), "{shown}");
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nonexistent/gateway.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("/nonexistent/gateway.toml"), "{error}");
    assert!(error.contains("--config FILE"), "{error}");
}

#[test]
fn periods_are_read_as_people_write_them() {
    for (text, seconds) in [
        ("90s", 90),
        ("5min", 300),
        ("24h", 86_400),
        ("5d", 432_000),
        ("1h 30m", 5400),
    ] {
        assert_eq!(text.parse(), Ok(Period::from_secs(seconds)), "{text}");
    }
    for text in ["", "d", "-5s", "5", "99999999999999999999d", "5 fortnights"] {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
}

#[test]
fn listen_addresses_are_those_of_postfix() {
    for text in [
        "inet:127.0.0.1:8890",
        "inet:[::1]:8890",
        "unix:/run/kms-gateway/milter",
    ] {
        assert_eq!(
            text.parse::<ListenAddress>()
                .map(|address| address.to_string()),
            Ok(text.to_owned())
        );
    }
    for text in [
        "",
        "inet:",
        "inet:8890",
        "inet:host:port",
        "unix:relative",
        "tcp:1.2.3.4:5",
    ] {
        assert!(text.parse::<ListenAddress>().is_err(), "{text}");
    }
}

#[test]
fn every_setting_of_a_rule_is_a_key() {
    let config = parse(MINIMAL).unwrap();
    for rule in crate::policy::RULES {
        for key in rule.settings.iter().chain(&rule.switch) {
            assert!(config.value_of(key).is_some(), "{}: {key}", rule.name);
            assert!(!config.text_of(key).is_empty(), "{}: {key}", rule.name);
        }
    }
}

#[test]
fn values_are_shown_as_they_are_written() {
    let config = parse(&format!(
        "{MINIMAL}[dnsbl]\nzones = [\"bl.example\", \"well.example*7\"]\n\
         [policy]\ntrusted_networks = [\"192.0.2.0/24\", \"::1\"]\n"
    ))
    .unwrap();
    for (key, text) in [
        ("dnsbl.zones", "bl.example well.example*7"),
        ("policy.trusted_networks", "192.0.2.0/24 ::1/128"),
        ("throttle.block_for", "1h"),
        ("sender_authentication.authserv_ids", "none"),
        ("policy.max_received", "30"),
        ("policy.nothing", ""),
    ] {
        assert_eq!(config.text_of(key), text, "{key}");
    }
}

#[test]
fn a_key_is_set_once_it_has_a_value() {
    let config = parse(&format!("{MINIMAL}[dnsbl]\nzones = [\"bl.example\"]\n")).unwrap();
    assert!(config.is_set("dnsbl.zones") && config.is_set("dnsbl.threshold"));
    assert!(!config.is_set("dnsbl.resolver") && !config.is_set("dnsbl.nothing"));
    assert!(!config.is_set("sender_authentication.authserv_ids"));
}
