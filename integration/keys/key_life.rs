//! The life of the KMC's own keys and of vending keys, through a real Postfix
//! and by an operator's commands while the gateway works.

use std::{thread, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::harness::{
    ALICE, Draft, GATEWAY, IndependentModule, Layout, Mail, Module, OpenedKey, Pages, Site,
    SoftwareModule, labelled_key, until, words,
};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// As records have it.
fn time(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn public_key(layout: &Layout) -> String {
    layout.gateway(&["kmc", "public-key"])
}

fn rotate(layout: &Layout, arguments: &str) {
    layout.gateway(&words(&format!("kmc rotate {arguments}")));
}

/// The state and the KMCID of each KMC key, by its name.
fn kmc_key(layout: &Layout, name: &str) -> (String, String) {
    let list = layout.gateway(&["kmc", "list"]);
    let line = list
        .lines()
        .find(|line| line.contains(&format!(":{name}:")))
        .unwrap_or_else(|| panic!("no {name} in {list}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    (words[1].to_owned(), words[0].to_owned())
}

fn key_load_request(number: u32, record: &str) -> Draft {
    Draft::request(&format!("{{KMS:GetKlfStsEd2}} {number}"), record)
}

fn send(site: &Site, draft: &Draft) {
    let taken = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
}

fn kcvs(keys: &[OpenedKey]) -> Vec<&str> {
    keys.iter().map(|key| key.kcv.as_str()).collect()
}

#[test]
fn a_second_first_key_is_refused_and_kmc_rotate_named() {
    let layout = Layout::new();
    let before = public_key(&layout);
    let passphrase = layout.directory().join("passphrase");
    std::fs::write(&passphrase, "a long passphrase\n").expect("a file");
    let pem = layout.directory().join("kmc.pem");
    let (passphrase, pem) = (passphrase.display(), pem.display());
    layout.gateway(&words(&format!(
        "kmc export --passphrase-file {passphrase} --out {pem}"
    )));
    let import = format!("--import {pem} --passphrase-file {passphrase}");
    for more in ["", "--create-master-secret", import.as_str()] {
        let again = layout.try_gateway(&words(&format!(
            "kmc init --issuer Example --name K0009 --expires 20980101T000000Z {more}"
        )));
        assert_eq!(again.code, Some(1), "{again:?}");
        assert!(
            again.stderr.contains("serves already") && again.stderr.contains("kmc rotate"),
            "{again:?}"
        );
    }
    assert_eq!(public_key(&layout), before);
    assert_eq!(layout.gateway(&["kmc", "list"]).lines().count(), 1);
}

#[test]
fn a_restored_module_asks_again_and_nothing_is_answered_twice() {
    let layout = Layout::new();
    let module = SoftwareModule::new(&layout, "M1");
    let public_key = public_key(&layout);
    let smid = layout.gateway(&["module", "list"]);
    let smid = smid.split_whitespace().next().expect("a module").to_owned();
    let answered = module.request(&public_key);
    let site = layout.start();
    let result = |number, record: &str| site.ask(&key_load_request(number, record)).result();
    assert_eq!(result(1, &answered)[0], "Success");

    site.layout.gateway(&["module", "revoke", &smid]);
    let refused = result(2, &module.request(&public_key));
    assert_eq!(refused[1], "EVkloadAuthentication");
    let registration = module.registration();
    let add = ["module", "add", "--registration", &registration];
    let again = site.layout.try_gateway(&add);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("module restore"), "{again:?}");

    let restored = site.layout.gateway(&["module", "restore", &smid]);
    assert!(
        restored.contains("  active  SOFT-1  000439"),
        "{restored:?}"
    );
    assert_eq!(result(3, &answered)[1], "EVkloadReplayed");
    assert_eq!(result(4, &module.request(&public_key))[0], "Success");
    let history = site.layout.gateway(&["module", "history", &smid]);
    assert_eq!(history.lines().count(), 2, "{history}");
    let audited = site.layout.gateway(&["audit", "list", "--json"]);
    assert!(
        audited.contains(&format!("module {smid} changed: revoked -> active")),
        "{audited}"
    );
}

#[test]
fn supply_groups_are_added_and_removed_and_shown_before_and_after() {
    let layout = Layout::new();
    let _module = SoftwareModule::new(&layout, "M1");
    let smid = layout.gateway(&["module", "list"]);
    let smid = smid.split_whitespace().next().expect("a module").to_owned();
    let authorise = |arguments: &str| {
        let arguments = [&["module", "authorise", &smid], &words(arguments)[..]].concat();
        layout.try_gateway(&arguments)
    };
    for (arguments, before, after) in [
        ("--add 123456,123457", "000439", "000439,123456,123457"),
        (
            "--add 200000 --remove 000439,123457",
            "000439,123456,123457",
            "123456,200000",
        ),
        ("--sgc 000439", "123456,200000", "000439"),
        ("--remove 000439", "000439", "none"),
        ("--add 000439", "none", "000439"),
    ] {
        let ended = authorise(arguments);
        let shown = format!("\nbefore: {before}\nafter:  {after}\n");
        assert!(ended.stdout.ends_with(&shown), "{arguments}: {ended:?}");
    }
    for (arguments, code, said) in [
        ("--remove 999999", 1, "does not have supply group 999999"),
        ("--add 123456 --remove 123456", 2, "name it once"),
        ("--sgc 123456 --add 123457", 2, "cannot be used with"),
    ] {
        let ended = authorise(arguments);
        assert_eq!(ended.code, Some(code), "{arguments}: {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments}: {ended:?}");
    }
    let kept = layout.gateway(&["module", "list"]);
    assert!(kept.ends_with("  000439\n"), "{kept}");
}

#[test]
fn a_rotation_during_a_run_leaves_every_request_to_the_key_it_was_made_for() {
    const MODULES: u32 = 4;
    const REQUESTS: u32 = 40;
    let layout = Layout::new();
    let modules: Vec<IndependentModule> = (0..MODULES)
        .map(|number| IndependentModule::new(&layout, &format!("SM{number}")))
        .collect();
    let vending_keys = layout.gateway(&["vending-key", "list"]);
    let vending_keys: Vec<OpenedKey> = vending_keys.lines().map(labelled_key).collect();
    let begun = Timestamp::now();
    // A module distinguishes its requests by their times.
    let ask = |layout: &Layout, numbers: std::ops::Range<u32>| -> Vec<(u32, Draft)> {
        let public_key = public_key(layout);
        let record = |number: u32| {
            let module = &modules[(number % MODULES) as usize];
            let made = begun - SECOND * i32::try_from(number).expect("few");
            module.request_at(&public_key, &time(made))
        };
        numbers
            .map(|number| (number, key_load_request(number, &record(number))))
            .collect()
    };
    let early = ask(&layout, 0..REQUESTS / 2);
    let site = layout.start();
    let (before, between) = early.split_at(early.len() / 2);
    thread::scope(|scope| {
        let sent = scope.spawn(|| before.iter().for_each(|(_, draft)| send(&site, draft)));
        // While those are on their way.
        rotate(
            &site.layout,
            "--name K0002 --expires 20980101T000000Z --curve P-256",
        );
        sent.join().expect("sent");
    });
    assert_eq!(kmc_key(&site.layout, "K0001").0, "retiring");
    let (state, second) = kmc_key(&site.layout, "K0002");
    assert_eq!(state, "active");
    let late = ask(&site.layout, REQUESTS / 2..REQUESTS);
    for ((_, old), (_, new)) in between.iter().zip(&late) {
        send(&site, old);
        send(&site, new);
    }
    late.iter()
        .skip(between.len())
        .for_each(|(_, draft)| send(&site, draft));

    for (number, draft) in early.iter().chain(&late) {
        let reply = site.mailbox(ALICE).wait_for_reply(draft.header("Subject"));
        assert_eq!(reply.result()[0], "Success", "{number}: {}", reply.text());
        let module = &modules[(number % MODULES) as usize];
        let opened = module.open(&reply.attachment().2);
        assert_eq!(kcvs(&opened), kcvs(&vending_keys), "{number}");
    }
    let shown = site.ask(&Draft::request("{KMS:GetPublicKey}", ""));
    let text = shown.text().replace(['\r', '\n'], "");
    assert!(text.contains(&second), "{text}");
}

#[test]
fn a_request_for_an_expired_or_unknown_key_is_told_the_current_one() {
    let layout = Layout::new();
    let module = IndependentModule::new(&layout, "SM1");
    let elsewhere = public_key(&Layout::new());
    let end = Timestamp::now() + SECOND * 6;
    rotate(&layout, &format!("--name K0002 --expires {}", time(end)));
    let expiring = module.request_at(&public_key(&layout), &time(end - SECOND * 8));
    let unknown = module.request_at(&elsewhere, &time(end - SECOND * 9));
    let site = layout.start();
    let error = |draft: &Draft| -> Vec<String> { site.ask(draft).result()[1..].to_vec() };
    let current = || {
        let (_, kmcid) = kmc_key(&site.layout, "K0001");
        kmcid
    };
    let answer = error(&key_load_request(1, &unknown));
    assert_eq!(answer[0], "EVkloadKmc");
    until("K0002 is expired", Duration::from_secs(30), || {
        (kmc_key(&site.layout, "K0002").0 == "expired").then_some(())
    });
    let answer = error(&key_load_request(2, &expiring));
    assert_eq!((&answer[0][..], &answer[2]), ("EVkloadKmc", &current()));
}

/// The metric as Prometheus gets it.
fn keys_end(pages: Pages) -> Option<f64> {
    let metrics = pages.metrics();
    metrics.value("kms_gateway_kmc_keys_end_timestamp_seconds")
}

#[test]
fn check_the_log_and_metrics_warn_before_the_last_key_expires() {
    let layout = Layout::new();
    let check = || layout.try_gateway(&["check"]);
    assert_eq!(check().code, Some(0), "{:?}", check());
    layout.set_gateway("kmc", "warn_before_expiry", "40000d");
    let warned = check();
    assert_eq!(warned.code, Some(1));
    let expected = "warning: no KMC key serves from 20990101T000000Z on";
    assert!(warned.stdout.contains(expected), "{warned:?}");
    let pages = Pages::configure(&layout);
    let gateway = layout.start_gateway();
    until("the log warns", Duration::from_secs(30), || {
        gateway
            .log()
            .contains("no KMC key serves from 20990101T000000Z on")
            .then_some(())
    });
    until("the metric shows it", Duration::from_secs(60), || {
        (keys_end(pages) == Some(4_070_908_800.0)).then_some(())
    });
    rotate(&layout, "--name K0002 --expires 21990101T000000Z");
    until("the metric shows the next", Duration::from_secs(60), || {
        (keys_end(pages) == Some(7_226_582_400.0)).then_some(())
    });
    assert!(gateway.stop().success());
    assert_eq!(check().code, Some(0), "{:?}", check());
}

/// The keys in the file that the module now gets, SGC/KRN.
fn issued(site: &Site, module: &SoftwareModule, number: u32) -> Vec<String> {
    let reply = request(site, module, number);
    let opened = module.open(&reply.attachment().2);
    opened
        .iter()
        .map(|key| format!("{}/{}", key.sgc, key.krn))
        .collect()
}

fn request(site: &Site, module: &SoftwareModule, number: u32) -> Mail {
    let record = module.request(&public_key(&site.layout));
    site.ask(&key_load_request(number, &record))
}

#[test]
fn vending_keys_come_go_and_roll_over() {
    let layout = Layout::new();
    let module = SoftwareModule::new(&layout, "SM1");
    let site = layout.start();
    let command = |line: &str| site.layout.gateway(&words(line));
    assert_eq!(issued(&site, &module, 1), ["000439/1", "000439/2"]);

    // Every base date, and a revision that is active later.
    for (krn, bdt, more) in [
        (3, "1993", ""),
        (8, "2035", "--act 20900101T000000Z"),
        (9, "2014", "--exp 20900101T000000Z"),
    ] {
        command(&format!(
            "vending-key generate --sgc 000439 --krn {krn} --kt 2 --dkga 04 --bdt {bdt} {more}"
        ));
    }
    // Past its IUT, past its EXP, and of somebody else's supply group.
    for (sgc, krn, more) in [
        ("000439", 4, "--iut 20260101T000000Z"),
        ("000439", 5, "--exp 20260101T000000Z"),
        ("123456", 1, ""),
    ] {
        command(&format!(
            "vending-key generate --sgc {sgc} --krn {krn} --kt 2 --dkga 04 --bdt 2014 \
             --act 20250101T000000Z {more}"
        ));
    }
    let all = ["1", "2", "3", "8", "9"].map(|krn| format!("000439/{krn}"));
    assert_eq!(issued(&site, &module, 2), all);

    // After 9 comes 1 again, when 1 is issued no more.
    let successor = "vending-key generate --sgc 000439 --krn 1 --kt 2 --dkga 04 --bdt 2035";
    let again = site
        .layout
        .try_gateway(&words(&format!("{successor} --replace")));
    assert!(again.stderr.contains("still issued"), "{again:?}");
    command("vending-key retire --sgc 000439 --krn 1");
    assert_eq!(issued(&site, &module, 3), all[1..]);
    let exists = site.layout.try_gateway(&words(successor));
    assert!(exists.stderr.contains("exists already"), "{exists:?}");
    let added = labelled_key(&command(&format!("{successor} --replace")));
    let reply = request(&site, &module, 4);
    let opened = module.open(&reply.attachment().2);
    assert_eq!(opened.len(), all.len());
    assert_eq!(opened[0], added);
}

#[test]
fn a_module_s_history_and_its_limit() {
    let layout = Layout::new();
    layout.set_gateway("key_load_file", "max_issues", 2);
    let module = SoftwareModule::new(&layout, "SM1");
    let other = SoftwareModule::new(&layout, "SM2");
    let site = layout.start();
    let begun = Timestamp::now();
    for number in [1, 2] {
        assert_eq!(issued(&site, &module, number).len(), 2);
    }
    let refused = request(&site, &module, 3).result();
    assert_eq!(refused[..2], ["Error", "ENoVendingKeys"]);
    // In a day, but for the second or two that this took.
    let day = SignedDuration::from_hours(24);
    let (earliest, latest) = (begun + day, Timestamp::now() + day + SECOND);
    assert!(
        (time(earliest)..=time(latest)).contains(&refused[3]),
        "{refused:?}"
    );
    assert_eq!(issued(&site, &other, 4).len(), 2, "a limit for each");

    let modules = site.layout.gateway(&["module", "list"]);
    let smid = modules
        .lines()
        .find(|line| line.contains(":SM1:"))
        .and_then(|line| line.split_whitespace().next())
        .expect("SM1");
    let history = site.layout.gateway(&["module", "history", smid, "--json"]);
    let history: Vec<Value> = serde_json::from_str(&history).expect("an array");
    assert_eq!(history.len(), 2);
    assert_eq!(history[0]["keys"][1], "000439/2");
    let lines = site.layout.gateway(&["module", "history", smid]);
    let id = history[1]["request_id"].as_str().expect("an id");
    assert!(
        lines.lines().nth(1).expect("a line").contains(id),
        "{lines}"
    );
}
