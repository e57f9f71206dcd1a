//! `config`: what the file says and what it doesn't, and one key changed with
//! the rest of the file as its author wrote it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
};

use crate::harness::{Layout, Output};

fn refusal(layout: &Layout, arguments: &[&str]) -> String {
    let before = fs::read(layout.config()).expect("the file");
    let Output { code, stderr, .. } = layout.try_gateway(&[&["config"], arguments].concat());
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(fs::read(layout.config()).expect("the file"), before);
    stderr
}

#[test]
fn a_value_in_force_is_printed_whether_the_file_has_it_or_not() {
    let layout = Layout::without_keys();
    let text = "[gateway]\naddresses = [\"gateway@kms.example.org\", \"kms@example.org\"]\n\
                [dnsbl]\nzones = [{ site = \"bl.example\", ipv6 = false }]\n";
    fs::write(layout.config(), text).expect("the file");
    let get = |key| layout.gateway(&["config", "get", key]);
    assert_eq!(
        get("gateway.addresses"),
        "gateway@kms.example.org\nkms@example.org\n"
    );
    assert_eq!(get("milter.listen"), "inet:127.0.0.1:8890\n");
    assert_eq!(get("milter.keep_bcc"), "false\n");
    assert_eq!(get("worker.parallel_requests"), "6\n");
    assert_eq!(get("gateway.recipient_delimiter"), "\n");
    assert_eq!(get("module_update.stsa_keys"), "");
    assert_eq!(get("kms.socket"), "");
    assert_eq!(
        get("dnsbl.zones"),
        "{ health = true, ipv4 = true, ipv6 = false, site = \"bl.example\" }\n"
    );
    assert_eq!(
        get("secrets.master_secret_file"),
        "/etc/kms-gateway/master.secret\n"
    );
    for unknown in ["milter.keep_bbc", "miller", "milter.listen.port", ""] {
        let line = refusal(&layout, &["get", unknown]);
        assert!(line.contains("there is no such key"), "{line}");
    }
}

#[test]
fn all_of_it_is_a_configuration_that_says_the_same() {
    let layout = Layout::without_keys();
    let all = layout.gateway(&["config", "get"]);
    fs::write(layout.config(), &all).expect("the file");
    assert_eq!(layout.gateway(&["config", "get"]), all);
}

#[test]
fn a_key_is_set_and_the_rest_of_the_file_stays() {
    let layout = Layout::without_keys();
    let before = fs::read_to_string(layout.config()).expect("the file");
    layout.gateway(&["config", "set", "milter.keep_bcc", "true"]);
    let after = fs::read_to_string(layout.config()).expect("the file");
    assert_eq!(
        after,
        before.replace("keep_bcc = false", "keep_bcc = true"),
        "more than the key was changed"
    );
    layout.gateway(&[
        "config",
        "set",
        "gateway.addresses",
        "a@b.example",
        "c@d.example",
    ]);
    assert_eq!(
        layout.gateway(&["config", "get", "gateway.addresses"]),
        "a@b.example\nc@d.example\n"
    );
    layout.gateway(&["config", "set", "gateway.recipient_delimiter", "-"]);
    assert_eq!(
        layout.gateway(&["config", "get", "gateway.recipient_delimiter"]),
        "-\n"
    );
    let inode = || fs::metadata(layout.config()).expect("the file").ino();
    let present = inode();
    layout.gateway(&["config", "set", "gateway.recipient_delimiter", "-"]);
    assert_eq!(inode(), present, "the same value was written again");
}

#[test]
fn what_would_not_load_is_not_written() {
    let layout = Layout::without_keys();
    let cases = [
        (
            &["set", "milter.keep_bbc", "true"][..],
            "there is no such key",
        ),
        (&["set", "milter", "true"], "there is no such key"),
        (&["set", "milter.keep_bcc", "yes"], "write true or false"),
        (
            &["set", "milter.max_connections", "0"],
            "write a number from 1",
        ),
        (&["set", "milter.listen", "8890"], "inet:HOST:PORT"),
        (&["set", "gateway.addresses"], "the list is empty"),
        (&["set", "milter.keep_bcc"], "give one value"),
    ];
    for (arguments, words) in cases {
        let line = refusal(&layout, arguments);
        assert!(line.contains(words), "{line}");
    }
    fs::write(layout.config(), "[gateway]\naddresses = []\n").expect("the file");
    let line = refusal(&layout, &["set", "milter.keep_bcc", "true"]);
    assert!(line.contains("the list is empty"), "{line}");
}

#[test]
fn owner_mode_and_a_link_stay() {
    let layout = Layout::without_keys();
    let file = layout.directory().join("elsewhere.toml");
    fs::rename(layout.config(), &file).expect("the file");
    symlink(&file, layout.config()).expect("a link");
    chown(&file, Some(65534), Some(65533)).expect("its owner");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("its mode");
    layout.gateway(&["config", "set", "milter.keep_bcc", "true"]);
    let link = fs::symlink_metadata(layout.config()).expect("the link");
    assert!(link.is_symlink());
    let written = fs::metadata(&file).expect("the file");
    assert_eq!(
        (written.uid(), written.gid(), written.mode() & 0o7777),
        (65534, 65533, 0o640)
    );
    assert!(
        fs::read_to_string(&file)
            .expect("the file")
            .contains("keep_bcc = true")
    );
    let beside = fs::read_dir(layout.directory())
        .expect("its directory")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("elsewhere"));
    assert_eq!(beside.collect::<Vec<_>>(), ["elsewhere.toml"]);
}
