//! A backup made under load, and its restore as docs/mail-admin.md says it: what is
//! answered, what comes twice, and that the audit log shows the roll-back.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use crate::harness::{ALICE, Draft, GATEWAY, House, Layout, Site, run, until, words};

/// A loaded machine may need this long.
const PATIENCE: Duration = Duration::from_secs(60);

const SESSIONS: usize = 4;
const REQUESTS_EACH: usize = 25;

/// A backup takes a second; this many take a session far longer.
const MOST_REQUESTS_EACH: usize = 2000;

fn database(layout: &Layout) -> PathBuf {
    layout.directory().join("gateway/gateway.sqlite3")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The head that a command prints.
fn head(printed: &str) -> String {
    let found = printed.lines().find_map(|line| line.split_once("head "));
    let (_, head) = found.unwrap_or_else(|| panic!("no head in {printed}"));
    head.to_owned()
}

fn ask(site: &Site, subject: &str) {
    let draft = Draft::request(subject, "");
    let answer = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(answer.code, 250, "{answer:?}");
}

/// Asks by several sessions at once, until a backup is made in their midst.
/// Gives what the command printed, and how many requests were accepted.
fn backup_under_load(site: &Site, to: &Path) -> (String, usize) {
    let accepted = AtomicUsize::new(0);
    let is_made = AtomicBool::new(false);
    let printed = thread::scope(|scope| {
        for session in 0..SESSIONS {
            let (accepted, is_made) = (&accepted, &is_made);
            scope.spawn(move || {
                for number in 0..MOST_REQUESTS_EACH {
                    if number >= REQUESTS_EACH && is_made.load(Ordering::Relaxed) {
                        return;
                    }
                    ask(site, &format!("{{KMS:Help}} {session}/{number}"));
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
                panic!("the load was over before the backup was made");
            });
        }
        until("half of it is accepted", PATIENCE, || {
            (accepted.load(Ordering::Relaxed) >= SESSIONS * REQUESTS_EACH / 2).then_some(())
        });
        let printed = site.layout.gateway(&["backup", text(to)]);
        is_made.store(true, Ordering::Relaxed);
        let then = accepted.load(Ordering::Relaxed);
        println!("a backup by the time of {then} requests");
        printed
    });
    (printed, accepted.into_inner())
}

/// How many replies came to each Subject.
fn replies(site: &Site) -> BTreeMap<String, usize> {
    let mut replies = BTreeMap::new();
    for mail in site.mailbox(ALICE).mails() {
        let subject = mail.header("Subject").expect("a Subject");
        *replies.entry(subject).or_default() += 1;
    }
    replies
}

fn count(database: &Path, table: &str) -> usize {
    let query = format!("SELECT count(*) FROM {table}");
    let counted = run(
        Command::new("sqlite3")
            .arg("-readonly")
            .arg(database)
            .arg(query),
        b"",
    );
    counted.trim().parse().expect("a number")
}

/// As docs/mail-admin.md says it, but for the user.
fn restore(layout: &Layout, backup: &Path) {
    let database = database(layout);
    let aside = layout.directory().join("damaged");
    fs::create_dir(&aside).expect("a directory");
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", database.display());
        if Path::new(&file).exists() {
            run(Command::new("mv").arg(&file).arg(&aside), b"");
        }
    }
    let mut install = Command::new("install");
    run(install.args(["-m", "600"]).arg(backup).arg(&database), b"");
}

#[test]
fn a_backup_made_under_load_is_restored_as_the_readme_says() {
    let layout = Layout::new();
    layout.set_gateway("throttle", "at_once", 10_000);
    layout.set_gateway("throttle", "block_above", 20_000);
    // A request that was in work at the moment of the backup is taken up after this.
    layout.set_gateway("worker", "lease", "2s");
    let mut site = layout.start();
    let backup = site.layout.directory().join("backup.sqlite3");
    let (printed, asked) = backup_under_load(&site, &backup);
    assert!(printed.contains("checked and on the disk"), "{printed}");
    until("all is answered", PATIENCE, || {
        (replies(&site).len() == asked).then_some(())
    });
    assert!(replies(&site).values().all(|&count| count == 1));
    let mode = fs::metadata(&backup).expect("it").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let (requests, deliveries) = (count(&backup, "requests"), count(&backup, "deliveries"));

    assert!(site.gateway.take().expect("it runs").stop().success());
    let later = head(&site.layout.gateway(&words("audit verify")));
    ask(&site, "{KMS:Help} while it is down");
    restore(&site.layout, &backup);

    let verify = |arguments: &[&str]| {
        let ended = site
            .layout
            .try_gateway(&[&["audit", "verify"], arguments].concat());
        (ended.code, ended.stdout)
    };
    assert_eq!(verify(&[]).0, Some(0));
    assert_eq!(verify(&["--head", &head(&printed)]).0, Some(0));
    let (code, shown) = verify(&["--head", &later]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("cut or replaced"), "{shown}");

    site.gateway = Some(site.layout.start_gateway());
    site.postfix.deliver_all();
    ask(&site, "{KMS:Help} after the restore");
    for subject in [
        "{KMS:Help} while it is down",
        "{KMS:Help} after the restore",
    ] {
        site.mailbox(ALICE).wait_for_reply(subject);
    }
    until("the work of the backup is done again", PATIENCE, || {
        let left = count(&database(&site.layout), "requests");
        (left + count(&database(&site.layout), "deliveries") == 0).then_some(())
    });
    let twice = replies(&site).values().filter(|&&count| count > 1).count();
    assert_eq!(
        twice,
        requests + deliveries,
        "what was on its way comes twice"
    );
    site.layout.gateway(&words("audit verify"));
    println!(
        "restored: 2 requests answered after it, {twice} replies came twice: {requests} were \
         unanswered in the backup, {deliveries} undelivered; the later head shows the roll-back"
    );
}

#[test]
fn a_backup_holds_no_master_secret_and_no_key_in_clear() {
    let layout = Layout::new();
    let to = layout.directory().join("backup.sqlite3");
    let printed = layout.gateway(&["backup", text(&to)]);
    let secret = fs::read_to_string(layout.directory().join("gateway/master.secret"));
    let secret = secret.expect("the secret").trim().to_owned();
    let bytes = hex::decode(&secret).expect("hexadecimal");
    let content = fs::read(&to).expect("the backup");
    for needle in [secret.as_bytes(), &bytes] {
        let found = content.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "the master secret");
    }
    let size = format!("{} bytes", content.len());
    assert!(printed.contains(&size), "{printed}");
}

#[test]
fn a_wrong_path_is_an_error_of_one_line_and_nothing_is_made() {
    let layout = House::layout();
    let directory = layout.directory().join("backups");
    fs::create_dir(&directory).expect("a directory");
    let taken = directory.join("taken");
    fs::write(&taken, "mine").expect("a file");
    let database = database(&layout);
    let mut refused = 0;
    for (path, why) in [
        (taken.as_path(), "is there already"),
        (&database, "is there already"),
        (&directory, "not the name of a file"),
        (&directory.join("none/new"), "No such file"),
        (&taken.join("new"), "Not a directory"),
        (Path::new("/proc/new"), "cannot be made"),
    ] {
        let ended = layout.try_gateway(&["backup", text(path)]);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{ended:?}"
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
        assert!(ended.stderr.contains(text(path)), "{}", ended.stderr);
        refused += 1;
    }
    assert_eq!(fs::read(&taken).expect("it"), b"mine");
    assert_eq!(fs::read_dir(&directory).expect("it").count(), 1);
    assert_eq!(layout.try_gateway(&["backup"]).code, Some(2));
    println!("{refused} wrong paths refused");
}
