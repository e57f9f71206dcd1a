//! Everything moved from SQLite to PostgreSQL and back, with what waits, and a backup of
//! PostgreSQL.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use serde_json::Value;

use crate::harness::{
    ALICE, BOB, DATABASE, Draft, GATEWAY, Layout, Module, Postgresql, Site, SoftwareModule, run,
    until, words,
};

/// A loaded machine may need this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that a site's commands show of its store.
fn shown(layout: &Layout) -> Vec<(&'static str, String)> {
    let commands = [
        "queue list --json",
        "senders list --json",
        "audit list --json",
        "audit verify",
        "kmc list --json",
        "module list --json",
        "vending-key list --json",
    ];
    let show = |command| (command, layout.gateway(&words(command)));
    commands.map(show).to_vec()
}

fn list(layout: &Layout, command: &str) -> Vec<Value> {
    serde_json::from_str(&layout.gateway(&words(command))).expect("an array")
}

fn waiting(layout: &Layout, what: &str) -> usize {
    let queue = list(layout, "queue list --json");
    queue.iter().filter(|item| item["what"] == what).count()
}

fn path(layout: &Layout, name: &str) -> String {
    let path: PathBuf = layout.directory().join("gateway").join(name);
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Keys, a module, an audit log that was cut and passed to another master secret.
fn layout() -> (Layout, SoftwareModule) {
    let layout = Layout::new();
    let module = SoftwareModule::new(&layout, "SM1");
    layout.set_gateway("audit", "keep", "0s");
    layout.set_gateway("audit", "keep_less_than_30_days", true);
    let gateway = layout.start_gateway();
    until("the log is cut", PATIENCE, || {
        let log = list(&layout, "audit list --json");
        log.iter()
            .all(|entry| entry["event"] == "pruned")
            .then_some(())
    });
    assert!(gateway.stop().success());
    layout.set_gateway("audit", "keep", "400d");
    let new = path(&layout, "new.secret");
    layout.gateway(&["secret", "rewrap", "--create", "--new-file", &new]);
    fs::rename(new, path(&layout, "master.secret")).expect("the secret's place");
    (layout, module)
}

/// The site with three replies and a notice that wait for the port, and with a request that waits
/// for its turn. Its gateway is stopped.
fn site(layout: Layout, module: &SoftwareModule) -> Site {
    layout.close_reply_port();
    layout.set_gateway("throttle", "at_once", 2);
    layout.set_gateway("throttle", "every", "20min");
    let mut site = layout.start();
    let public_key = site.layout.gateway(&words("kmc public-key"));
    let klf = Draft::request("{KMS:GetKlfStsEd2} 1", &module.request(&public_key));
    let help = (2..=4).map(|number| Draft::request(&format!("{{KMS:Help}} {number}"), "please\n"));
    for draft in [klf].into_iter().chain(help) {
        let taken = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    }
    until("all is in its place", PATIENCE, || {
        let waiting = ["request", "reply", "notice"].map(|what| waiting(&site.layout, what));
        (waiting == [1, 3, 1]).then_some(())
    });
    assert!(site.gateway.take().expect("it runs").stop().success());
    site
}

fn copy(layout: &Layout, to: &str) -> Value {
    let printed = layout.gateway(&["store", "copy", "--json", "--to", to]);
    serde_json::from_str(&printed).expect("an object")
}

fn refused(layout: &Layout, to: &str, why: &str) {
    let ended = layout.try_gateway(&["store", "copy", "--to", to]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(1), ""),
        "{ended:?}"
    );
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains(why), "{why}: {ended:?}");
}

/// Has a gateway of this name say that it uses the database.
fn seen(server: &Postgresql, name: &str) {
    let now = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)";
    let row = format!(
        "INSERT INTO nodes (name, version, policy, ahead, process, pid, machine, seen_at)
         VALUES ('{name}', '', '', 0, decode(repeat('00', 16), 'hex'), 1, '', {now})"
    );
    server.sql(DATABASE, &row);
}

/// Moves the SQLite database away.
fn move_away(layout: &Layout) {
    let aside = layout.directory().join("aside");
    fs::create_dir(&aside).expect("a directory");
    for name in [
        "gateway.sqlite3",
        "gateway.sqlite3-wal",
        "gateway.sqlite3-shm",
    ] {
        let _ = fs::rename(path(layout, name), aside.join(name));
    }
}

#[test]
fn a_site_moves_to_postgresql_and_back_and_goes_on_with_what_waits() {
    let server = Postgresql::start();
    let (layout, module) = layout();
    refused(&layout, "postgresql", "store.postgresql: it is not set");
    let mut site = site(layout, &module);
    let layout = &site.layout;
    let before = shown(layout);

    layout.set_gateway("store", "postgresql", server.settings());
    let gateway = layout.try_gateway(&["serve"]);
    assert!(
        gateway.stderr.contains("no database is there"),
        "{gateway:?}"
    );
    let of_last = "WHERE sequence = (SELECT max(sequence) FROM audit)";
    layout.sqlite(&format!("UPDATE audit SET entry = entry || ' ' {of_last}"));
    refused(layout, "postgresql", "nothing was copied; see audit verify");
    layout.sqlite(&format!("UPDATE audit SET entry = rtrim(entry) {of_last}"));
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(server.sql(DATABASE, tables), "0\n");
    let there = copy(layout, "postgresql");
    assert_eq!(shown(layout), before);
    let rows = |copied: &Value, table: &str| {
        let tables = copied["tables"].as_array().expect("an array").iter();
        let mut rows = tables.filter(|row| row["table"] == table);
        rows.next().expect("it")["rows"].as_u64()
    };
    assert_eq!(rows(&there, "modules"), Some(1));
    assert_eq!(rows(&there, "audit_anchor"), Some(1));
    assert_eq!(rows(&there, "audit_hand_overs"), Some(1));
    refused(layout, "postgresql", "requests (");
    refused(layout, "sqlite", "gateway.sqlite3: is there already");

    site.gateway = Some(site.layout.start_gateway());
    let layout = &site.layout;
    seen(&server, "another");
    refused(layout, "sqlite", "another process uses the database");
    let asked = Draft::request("{KMS:Help}", "please\n").with("From", BOB);
    site.smtp().send(BOB, &[GATEWAY], &asked.to_bytes());
    until("another reply waits for the port", PATIENCE, || {
        let queue = list(layout, "queue list --json");
        queue.iter().any(|item| item["target"] == BOB).then_some(())
    });
    backup_is_restored_as_sqlite(layout);
    assert!(site.gateway.take().expect("it runs").stop().success());

    server.sql(DATABASE, "DELETE FROM nodes WHERE name = 'another'");
    move_away(&site.layout);
    let before = shown(&site.layout);
    until("the gateway counts as gone", PATIENCE, || {
        let ended = site.layout.try_gateway(&words("store copy --to sqlite"));
        ended.code.filter(|&code| code == 0)
    });
    site.layout.unset_gateway("store", "postgresql");
    assert_eq!(shown(&site.layout), before);

    site.gateway = Some(site.layout.start_gateway());
    site.open_reply_port();
    let reply = site.mailbox(ALICE).wait_for_reply("{KMS:GetKlfStsEd2} 1");
    assert_eq!(module.open(&reply.attachment().2).len(), 2);
    site.mailbox(ALICE).wait_for_reply("{KMS:Help} 2");
    site.mailbox(BOB).wait_for_reply("{KMS:Help}");
    site.layout.gateway(&words("audit verify"));
}

/// A backup made from PostgreSQL while the gateway runs is an SQLite database that shows the same.
fn backup_is_restored_as_sqlite(layout: &Layout) {
    let backup = path(layout, "backup");
    let printed = layout.gateway(&["backup", &backup]);
    assert!(printed.contains("checked and on the disk"), "{printed}");
    let (_, head) = printed.split_once("audit head ").expect("a head");
    let at_path = |command: &str| {
        let config = fs::read_to_string(layout.config()).expect("the configuration");
        let mut config: toml::Table = config.parse().expect("TOML");
        let store = config.get_mut("store").and_then(toml::Value::as_table_mut);
        let store = store.expect("a table");
        store.remove("postgresql");
        store.insert("path".to_owned(), backup.clone().into());
        let file = path(layout, "of-backup.toml");
        fs::write(&file, config.to_string()).expect("a configuration");
        let mut gateway = Command::new(env!("CARGO_BIN_EXE_kms-gateway"));
        run(gateway.args(["--config", &file]).args(words(command)), b"")
    };
    let verified = at_path(&format!("audit verify --head {}", head.trim()));
    assert!(verified.contains(head.trim()), "{verified}");
    for command in ["kmc list --json", "module list --json"] {
        assert_eq!(at_path(command), layout.gateway(&words(command)));
    }
}
