//! The operator, who does all day long what can be done while the gateway runs:
//! changes settings, has it read them again, looks, and makes backups.

use std::{fs, path::Path, process::Command};

use rustix::process::Signal;

use super::{
    harness::{Pages, Site, run, until, words},
    progress::Progress,
    senders::PATIENCE,
};

/// Messages between two rounds.
const BETWEEN: usize = 100;

/// Settings that a reload changes back and forth, none of which changes what
/// comes of a message of the mix.
const SETTINGS: &[(&str, &str, [&str; 2])] = &[
    ("policy", "max_message_bytes", ["2097152", "3145728"]),
    ("reply", "max_targets", ["5", "3"]),
    ("throttle", "network_factor", ["20", "30"]),
    ("log", "level", ["\"info\"", "\"warn\""]),
    (
        "sender_authentication",
        "authserv_ids",
        ["[]", "[\"mx.kms.example.org\"]"],
    ),
    ("audit", "keep", ["\"400d\"", "\"500d\""]),
];

const COMMANDS: &[&str] = &[
    "queue list --json",
    "senders list --json",
    "audit list --since 1min --limit 200 --json",
    "kmc list",
    "module list",
    "vending-key list",
    "audit verify",
];

/// Counts of what the operator did.
#[derive(Default)]
pub struct Rounds {
    pub reloads: usize,
    pub commands: usize,
    pub backups: usize,
}

pub struct Operator<'a> {
    pub site: &'a Site,
    pub pages: Pages,
    pub progress: &'a Progress,
}

impl Operator<'_> {
    /// Works until it is over.
    pub fn run(&self) -> Rounds {
        let mut done = Rounds::default();
        while !self.progress.is_over() {
            let (table, key, values) = SETTINGS[done.reloads % SETTINGS.len()];
            let value = values[(done.reloads / SETTINGS.len() + 1) % values.len()];
            self.change(table, key, value);
            done.reloads += 1;
            self.reload(done.reloads);
            let command = COMMANDS[done.commands % COMMANDS.len()];
            self.site.layout.gateway(&words(command));
            done.commands += 1;
            if done.commands.is_multiple_of(COMMANDS.len()) {
                self.back_up();
                done.backups += 1;
            }
            let next = self.progress.sent() + BETWEEN;
            until("the next round", PATIENCE, || {
                let is_time = self.progress.sent() >= next || self.progress.is_over();
                is_time.then_some(())
            });
        }
        done
    }

    fn change(&self, table: &str, key: &str, value: &str) {
        let text: toml::Table = format!("value = {value}").parse().expect("TOML");
        let value = text["value"].clone();
        self.site.layout.set_gateway(table, key, value);
    }

    /// Has the gateway read its configuration for so many times.
    fn reload(&self, times: usize) {
        let gateway = self.site.gateway.as_ref().expect("it runs");
        gateway.signal(Signal::HUP);
        until("the end of the reload", PATIENCE, || {
            let reloads = self.pages.metrics().counted("kms_gateway_reloads_total");
            assert!(!reloads.contains_key("bad"), "{}", gateway.log());
            let good = reloads.get("good").copied().unwrap_or_default();
            (good as usize >= times).then_some(())
        });
    }

    fn back_up(&self) {
        let backup = self.site.layout.directory().join("gateway/backup.sqlite3");
        let path = backup.to_str().expect("a path in UTF-8");
        self.site.layout.gateway(&["backup", path]);
        assert_sound(&backup);
        fs::remove_file(backup).expect("a backup");
    }
}

/// SQLite finds no fault in this database.
pub fn assert_sound(database: &Path) {
    let mut sqlite = Command::new("sqlite3");
    sqlite
        .arg(database)
        .arg("PRAGMA integrity_check; PRAGMA foreign_key_check;");
    assert_eq!(run(&mut sqlite, b""), "ok\n");
}
