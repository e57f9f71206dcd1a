//! A soak: everything at once through a real Postfix for minutes (or for as long
//! as `scripts/soak` says), while an operator works. The gateway grows in
//! nothing, answers each request once, and delivers all other mail.

#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod arrivals;
mod counts;
mod growth;
#[path = "../harness/mod.rs"]
mod harness;
mod mix;
mod operator;
mod progress;
mod senders;

use std::{fs, path::Path, thread};

use arrivals::Arrivals;
use counts::{Counts, check_counts, check_mail};
use growth::Compared;
use harness::{GATEWAY, Layout, Pages, Site, SoftwareModule, Stsa, until, words};
use kms_gateway::sts::{PkEcdh, single_in_mail};
use mix::MIX;
use operator::{Operator, Rounds, assert_sound};
use progress::Progress;
use senders::{PATIENCE, Sender, Tally, World, forge};
use serde_json::Value;

const SENDERS: u64 = 3;

/// One heap, with large pieces outside of it: memory that is freed goes back to the
/// system, and none of it lies ready to hide a leak.
const EXACT_MEMORY: &[&str] = &[
    "env",
    "MALLOC_ARENA_MAX=1",
    "MALLOC_MMAP_THRESHOLD_=32768",
    "MALLOC_TRIM_THRESHOLD_=65536",
];

#[test]
fn everything_at_once_for_minutes_leaves_nothing_behind() {
    let layout = generous();
    let pages = Pages::configure(&layout);
    let stsa = Stsa::new(&layout);
    stsa.be_trusted(&layout);
    let update = update_file(&layout, &stsa);
    let gateway = layout.start_gateway_by(EXACT_MEMORY);
    let mut site = layout.start_with(Some(gateway));
    let (tally, rounds, arrivals, compared) = soak(&site, pages, &update);
    report(&tally, &rounds);
    println!("memory: {compared}");

    finish(&site);
    let found = arrivals.collected();
    check_mail(&tally, &found);
    check_counts(&tally, &found, &Counts(pages.metrics()));
    compared.assert_no_growth();

    let gateway = site.gateway.take().expect("it runs");
    let log = gateway.log();
    assert!(gateway.stop().success());
    assert!(!log.contains("panicked"), "a panic");
    assert_eq!(log.lines().find(|line| line.contains(" ERROR ")), None);
    site.layout.gateway(&["audit", "verify"]);
    assert_sound(&site.layout.directory().join("gateway/gateway.sqlite3"));
}

/// A site whose honest senders are never over their allowance. A block is over
/// after seconds, and an operator ends the last one.
fn generous() -> Layout {
    let layout = Layout::new();
    layout.allow_xclient();
    // As the corpus has it.
    let addresses = [GATEWAY, "kmc@keys.example.org"].map(toml::Value::from);
    layout.set_gateway("gateway", "addresses", addresses.to_vec());
    for (key, value) in [
        ("every", "1s"),
        ("newcomers_every", "1s"),
        ("block_for", "20s"),
    ] {
        layout.set_gateway("throttle", key, value);
    }
    layout.set_gateway("throttle", "block_above", 40);
    layout.set_gateway("throttle", "newcomers_at_once", 100_000);
    layout.set_gateway("key_load_file", "max_issues", 1_000_000);
    layout
}

/// Adds a module that asks for nothing.
fn update_file(layout: &Layout, stsa: &Stsa) -> Vec<u8> {
    let module = SoftwareModule::unregistered(layout, "SM1");
    fs::copy(module.registration(), stsa.path("SM1.json")).expect("a copy");
    stsa.file(layout, &["--serial", "1", "--add", "SM1.json=000439"])
}

/// All at once, until it is over.
fn soak(site: &Site, pages: Pages, update: &[u8]) -> (Tally, Rounds, Arrivals, Compared) {
    let kmc_key: PkEcdh =
        single_in_mail(&site.layout.gateway(&["kmc", "public-key"])).expect("a key");
    let arrivals = Arrivals::at(site);
    let progress = Progress::begin(site.gateway.as_ref().expect("it runs").id());
    let world = World {
        site,
        progress: &progress,
        arrivals: &arrivals,
        kmc_key: &kmc_key,
        update,
        automatic: &automatic_mail(),
        mix: MIX,
    };
    let operator = Operator {
        site,
        pages,
        progress: &progress,
    };
    let (tally, rounds) = thread::scope(|scope| {
        let rounds = scope.spawn(|| operator.run());
        let forger = scope.spawn(|| forge(&world));
        let senders: Vec<_> = (1..=SENDERS)
            .map(|number| {
                let world = &world;
                scope.spawn(move || Sender::new(world, number).run())
            })
            .collect();
        let mut tally = forger.join().expect("the forger");
        for sender in senders {
            tally.add(sender.join().expect("a sender"));
        }
        (tally, rounds.join().expect("the operator"))
    });
    let compared = progress.growth();
    (tally, rounds, arrivals, compared)
}

/// The messages of the corpus that are never answered, with their reverse paths.
fn automatic_mail() -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/corpus");
    let manifest = fs::read_to_string(corpus.join("manifest.tsv")).expect("the manifest");
    let files = manifest.lines().filter_map(|row| {
        let cells: Vec<&str> = row.split('\t').collect();
        // Not what another site's verifiers say, and what Postfix itself refuses.
        let is_meant = cells[1] == "ignore"
            && cells[2] != "sender-authentication"
            && !cells[0].starts_with("path-")
            && cells[0] != "bounce-qmail-double.eml";
        is_meant.then_some(cells[0])
    });
    files
        .map(|file| {
            let text = fs::read_to_string(corpus.join(file)).expect("a message");
            let path = text
                .lines()
                .find_map(|line| line.strip_prefix("Return-Path: <"));
            let path = path.expect("a reverse path").trim_end_matches('>');
            (path.to_owned(), text.replace('\n', "\r\n").into_bytes())
        })
        .collect()
}

fn report(tally: &Tally, rounds: &Rounds) {
    for (kind, count) in MIX.iter().zip(&tally.mixed) {
        println!("{count:7} {}", kind.name);
    }
    println!("{:7} in floods", tally.forged.len());
    println!(
        "beside them {} reloads, {} commands, {} backups",
        rounds.reloads, rounds.commands, rounds.backups
    );
}

/// Ends the forger's block and all waits for an allowance, and waits until nothing
/// is on its way any more.
fn finish(site: &Site) {
    let shown = site.layout.gateway(&["senders", "list", "--json"]);
    let senders: Vec<Value> = serde_json::from_str(&shown).expect("an array");
    for sender in senders.iter().filter(|sender| sender["stage"] != "open") {
        let key = sender["sender"].as_str().expect("a text");
        let unblocked = site.layout.try_gateway(&["senders", "unblock", key]);
        // Its backlog may have been worked off since the list was read.
        assert!(
            unblocked.code == Some(0) || unblocked.stderr.contains("no sender is named"),
            "{unblocked:?}"
        );
    }
    // A sender that is open again may have requests that wait for their target's allowance.
    site.layout
        .gateway(&words("queue retry --all --throttled --yes"));
    until("all is answered", PATIENCE, || {
        let waiting = site.layout.gateway(&words("queue list --json"));
        (waiting.trim() == "[]").then_some(())
    });
    site.postfix.deliver_all();
}
