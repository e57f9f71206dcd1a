//! A bad configuration ends `serve` at start with one line that names the
//! file, the key and the remedy.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

use crate::harness::Layout;

/// Starts `serve`, which must refuse, and gives its one line.
fn refusal(layout: &Layout) -> String {
    let ended = layout.try_gateway(&["serve"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let [line] = lines[..] else {
        panic!("not one line: {ended:?}")
    };
    line.to_owned()
}

#[track_caller]
fn assert_names(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
}

fn config(layout: &Layout) -> String {
    layout
        .config()
        .to_str()
        .expect("a path in UTF-8")
        .to_owned()
}

#[test]
fn an_unknown_key() {
    let layout = Layout::without_keys();
    layout.set_gateway("milter", "keep_bbc", true);
    let line = refusal(&layout);
    assert_names(
        &line,
        &[&config(&layout), "keep_bbc", "keep_bcc", "correct its name"],
    );
}

#[test]
fn a_value_of_the_wrong_type() {
    let layout = Layout::without_keys();
    layout.set_gateway("milter", "keep_bcc", "yes");
    let line = refusal(&layout);
    assert_names(
        &line,
        &[
            &config(&layout),
            "milter.keep_bcc",
            "boolean",
            "correct the value",
        ],
    );
}

#[test]
fn a_missing_file() {
    let layout = Layout::without_keys();
    fs::remove_file(layout.config()).expect("it was there");
    let line = refusal(&layout);
    assert_names(&line, &[&config(&layout), "No such file", "--config FILE"]);
}

#[test]
fn a_master_secret_that_is_not_there() {
    let layout = Layout::without_keys();
    let line = refusal(&layout);
    assert_names(
        &line,
        &[
            "secrets.master_secret_file",
            "master.secret",
            "kms-gateway init",
        ],
    );
}

#[test]
fn a_master_secret_that_others_can_read() {
    let layout = Layout::new();
    let secret = layout.directory().join("gateway/master.secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("its mode");
    let line = refusal(&layout);
    assert_names(
        &line,
        &[
            "secrets.master_secret_file",
            "master.secret",
            "0644",
            "chmod",
        ],
    );
    let content = fs::read_to_string(&secret).expect("the secret");
    assert!(!line.contains(content.trim()), "the secret is in the error");
}

#[test]
fn another_master_secret() {
    let layout = Layout::new();
    let secret = layout.directory().join("gateway/master.secret");
    fs::write(&secret, format!("{}\n", "5".repeat(64))).expect("the secret");
    assert_names(&refusal(&layout), &["master secret"]);
}

#[test]
fn a_port_in_use() {
    let layout = Layout::new();
    let _holder = TcpListener::bind(layout.port(8890)).expect("the port");
    let line = refusal(&layout);
    assert_names(
        &line,
        &[
            &config(&layout),
            "milter.listen",
            "8890",
            "in use",
            "smtpd_milters",
        ],
    );
}

#[test]
fn a_good_configuration_is_checked_and_shown() {
    let layout = Layout::new();
    let ended = layout.try_gateway(&["check"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_names(&ended.stdout, &["[min_free_bytes = 67108864]"]);
    for rule in kms_gateway::policy::RULES {
        assert!(ended.stdout.contains(rule.name.as_str()), "{}", rule.name);
    }
    let json = layout.gateway(&["check", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(report["configuration"], config(&layout));
    let rules = report["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), kms_gateway::policy::RULES.len());
    assert_eq!(report["warnings"], serde_json::json!([]));
}
