//! No setting of main.cf reaches the gateway's services. Each parameter that they
//! override is set to a hostile value, one at a time, while the admin's own services
//! keep theirs: requests come by each way, and other mail passes.

use std::{
    fs::{self, File},
    process::Command,
    sync::Mutex,
    thread,
    time::{Duration, Instant, SystemTime},
};

use kms_gateway::wiring::{
    parameters::{Parameter, Standing, find, parameters},
    services::{Filling, OF_TRANSPORT, SERVICES, TRANSPORT},
};

use crate::harness::{ALICE, BOB, Draft, GATEWAY, Gateway, Layout, Mail, Site, Smtp, run, until};

/// A submission service, as at port 587: mail for the gateway goes by the transport.
const SUBMISSION: u16 = 2587;

/// An alias of Alice's.
const DESK: &str = "desk@vendor.example";

/// A sender whose local part needs its quotes.
const QUOTED: &str = "\"Alice Vendor\"@vendor.example";

/// A program of the site's, in whose name no mail can be received.
const ROBOT: &str = "robot@kms.example.org";

/// The result of a request for help.
const SUCCESS: &str = "Success\tThe operation completed successfully";

/// A reply comes within a second.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn postfix_knows_no_parameter_that_the_table_lacks() {
    let layout = Layout::without_keys();
    let table = parameters().unwrap();
    let known = known_parameters(&layout);
    assert!(known.len() > 800, "{}", known.len());
    let missing: Vec<&String> = known
        .iter()
        .filter(|name| find(&table, name).is_none())
        .collect();
    assert!(
        missing.is_empty(),
        "say in src/wiring/parameters.tsv what these may do to the gateway's services: {missing:?}"
    );
}

#[test]
fn no_setting_of_main_cf_reaches_the_gateways_services() {
    let failures = try_each(Overrides::Kept);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A value that does no harm without the override tries nothing. Some do harm only
/// on a machine that is slow or has another address: those are printed.
#[test]
#[ignore = "a survey of the hostile values, to be read by whoever changes the table"]
fn each_value_does_harm_where_its_override_is_missing() {
    for failure in try_each(Overrides::Missing) {
        println!("{failure}");
    }
}

/// Whether the gateway's services have the override of the parameter that is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overrides {
    Kept,
    Missing,
}

/// One line of main.cf to try.
struct Trial {
    parameter: &'static str,
    hostile: &'static str,
    /// The parameter whose override keeps it away.
    by: &'static str,
}

/// Tries all of them, on two sites side by side, and gives what went wrong.
fn try_each(overrides: Overrides) -> Vec<String> {
    let left = Mutex::new(trials(&Layout::without_keys()));
    let failures = Mutex::new(Vec::new());
    let next = || left.lock().unwrap().pop();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut admin = None;
                while let Some(trial) = next() {
                    let own = admin.get_or_insert_with(|| Admin::new(overrides));
                    if let Err(failure) = own.tries(&trial) {
                        let line = format!("{} = {}: {failure}", trial.parameter, trial.hostile);
                        failures.lock().unwrap().push(line);
                        // Mail that is still on its way there belongs to no other trial.
                        admin = None;
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

/// The hostile values of the table, as far as this Postfix knows the parameter.
fn trials(layout: &Layout) -> Vec<Trial> {
    let known = known_parameters(layout);
    let trial = |row: Parameter| match row.standing {
        Standing::Overridden { hostile, .. } => Some((row.name, hostile, row.name)),
        Standing::Covered { hostile, by } => Some((row.name, hostile, by)),
        _ => None,
    };
    let rows = parameters().unwrap().into_iter().filter_map(trial);
    // One alone is tried by its name.
    let only = std::env::var("KMS_GATEWAY_PARAMETER").ok();
    rows.filter(|(name, ..)| known.iter().any(|known| known == name))
        .filter(|(name, ..)| only.as_deref().is_none_or(|only| only == *name))
        .map(|(parameter, hostile, by)| Trial {
            parameter,
            hostile,
            by,
        })
        .collect()
}

fn known_parameters(layout: &Layout) -> Vec<String> {
    let listed = run(postconf(layout).arg("-d"), b"");
    let name = |line: &str| line.split(" =").next().unwrap_or_default().to_owned();
    listed.lines().map(name).collect()
}

fn postconf(layout: &Layout) -> Command {
    let mut command = Command::new("postconf");
    command.arg("-c").arg(layout.directory().join("etc"));
    command
}

/// The admin of a site, who tries a setting and looks what becomes of mail.
struct Admin {
    site: Site,
    main: String,
    master: String,
    overrides: Overrides,
}

impl Admin {
    fn new(overrides: Overrides) -> Self {
        let layout = Layout::new();
        for (key, value) in [("at_once", 100_000), ("block_above", 200_000)] {
            layout.set_gateway("throttle", key, value);
        }
        // Delays that are for the transport shall not hold up the mailboxes.
        for it in OF_TRANSPORT {
            let of_mailboxes = it.parameter.replacen(TRANSPORT, "virtual", 1);
            layout.set_postfix(&format!("{of_mailboxes}={}", it.value));
        }
        layout.set_postfix(&format!(
            "virtual_alias_maps=inline:{{{{{DESK} = {ALICE}}}}}"
        ));
        let submission = layout.port(SUBMISSION);
        layout.add_postfix_service(&format!(
            "{submission}/inet={submission} inet n - n - - smtpd -o smtpd_milters="
        ));
        shield(&layout);
        let read = |name| fs::read_to_string(layout.postfix_file(name)).expect("a file");
        let (main, master) = (read("main.cf"), read("master.cf"));
        let mut site = layout.start();
        site.gateway_dies = true;
        // A signal to read main.cf again would end a master that has not begun.
        until("Postfix has started", PATIENCE, || {
            let log = site.postfix.log();
            log.contains(": daemon started").then_some(())
        });
        Self {
            site,
            main,
            master,
            overrides,
        }
    }

    /// One request by each way, and one message for somebody else.
    fn tries(&mut self, trial: &Trial) -> Result<(), String> {
        self.set(trial);
        let sent = requests(trial.parameter);
        let [by_smtpd, by_sendmail, by_submission, waiting] = &sent;
        let other = Draft::request(trial.parameter, "Hello Bob.\n").with("To", BOB);

        self.site.gateway.take().expect("it runs").stop();
        self.send(2525, ALICE, GATEWAY, waiting)?;
        self.wait("the request waits in the queue", |queue| {
            queue.iter().any(|queued| *queued == "deferred")
        })?;
        self.site.gateway = Some(self.site.layout.start_gateway());
        self.send(2525, ALICE, GATEWAY, by_smtpd)?;
        self.send(SUBMISSION, QUOTED, GATEWAY, by_submission)?;
        self.send(2525, ALICE, BOB, &other)?;
        self.sendmail(by_sendmail);
        self.site.postfix.flush();
        let delivered = self.delivered(sent.len());
        // Whatever comes of it, the next one finds nothing.
        let replies = self.site.mailbox(ALICE).take_all();
        let others = self.site.mailbox(BOB).take_all();
        delivered?;
        sent.iter()
            .try_for_each(|request| is_answered_once(request, &replies))?;
        let expected = String::from_utf8(other.to_bytes())
            .expect("ASCII")
            .replace("\r\n", "\n");
        match (&others[..], replies.len() == sent.len()) {
            ([mail], true) if mail.as_sent() == expected.as_bytes() => Ok(()),
            (_, false) => Err(format!("Alice has {} mails", replies.len())),
            _ => Err(format!("Bob has {others:?}")),
        }
    }

    /// Sets the parameter, and has Postfix read it.
    fn set(&self, trial: &Trial) {
        let layout = &self.site.layout;
        // The address of the site's own ports.
        let hostile = trial
            .hostile
            .replace("[127.0.0.1]", &format!("[{}]", layout.port(0).ip()));
        write_settled(layout, "main.cf", &self.main);
        // Not a second line: postlogd(8) would wait for itself to log a warning of it.
        layout.set_postfix(&format!("{}={hostile}", trial.parameter));
        settle(layout, "main.cf");
        if self.overrides == Overrides::Missing {
            write_settled(
                layout,
                "master.cf",
                &without(layout, &self.master, trial.by),
            );
        }
        let reloads = || {
            self.site
                .postfix
                .log()
                .matches(": reload -- version")
                .count()
        };
        let before = reloads();
        self.site.reload_postfix();
        until("Postfix reads its configuration", PATIENCE, || {
            (reloads() > before).then_some(())
        });
    }

    fn send(&self, port: u16, sender: &str, recipient: &str, draft: &Draft) -> Result<(), String> {
        let mut session = Smtp::connect(self.site.layout.port(port));
        let reply = session.send(sender, &[recipient], &draft.to_bytes());
        match reply.code {
            250 => Ok(()),
            _ => Err(format!("port {port}: {reply:?}")),
        }
    }

    fn sendmail(&self, draft: &Draft) {
        let mut sendmail = Command::new("sendmail");
        sendmail
            .arg("-C")
            .arg(self.site.layout.directory().join("etc"))
            .args(["-i", "-f", ROBOT, "--", GATEWAY]);
        let text = draft.to_bytes().into_iter().filter(|&byte| byte != b'\r');
        run(&mut sendmail, &text.collect::<Vec<_>>());
    }

    /// Waits until all replies and Bob's mail are there, and nothing is on its way.
    fn delivered(&self, replies: usize) -> Result<(), String> {
        let (alice, bob) = (self.site.mailbox(ALICE), self.site.mailbox(BOB));
        self.wait("all mail arrives", |queue| {
            queue.is_empty() && alice.mails().len() >= replies && !bob.mails().is_empty()
        })
    }

    /// The log lines of Postfix and the gateway during the trial.
    fn logged(&self) -> String {
        let log = self.site.postfix.log();
        let of_trial = log.rsplit(": reload -- version").next().unwrap_or_default();
        let of_gateway = self
            .site
            .gateway
            .as_ref()
            .map(Gateway::log)
            .unwrap_or_default();
        let started = of_gateway.rsplit(" started ").next().unwrap_or_default();
        format!("Postfix:{of_trial}\nthe gateway:{started}")
    }

    /// Waits for a state of Postfix's queue, or says what was there in its stead.
    fn wait(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Result<(), String> {
        let patience = match self.overrides {
            Overrides::Kept => PATIENCE,
            Overrides::Missing => PATIENCE / 4,
        };
        let deadline = Instant::now() + patience;
        loop {
            let items = self.site.postfix.queue();
            let names: Vec<String> = items
                .iter()
                .map(|item| item["queue_name"].as_str().unwrap_or_default().to_owned())
                .collect();
            if is_so(&names) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "not within {patience:?}: {what}; {}",
                    self.logged()
                ));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A way to the gateway.
#[derive(Clone, Copy, Debug)]
enum Way {
    Smtpd,
    Sendmail,
    Submission,
    Queue,
}

/// A request by each way, in the order of [`Way`], none of them of the simplest.
fn requests(parameter: &str) -> [Draft; 4] {
    [Way::Smtpd, Way::Sendmail, Way::Submission, Way::Queue].map(|way| {
        let draft = Draft::request(&format!("{{KMS:Help}} {parameter} {way:?}"), "Hello.\n");
        match way {
            // An alias of Alice's.
            Way::Smtpd => draft.with("Reply-To", DESK),
            // sendmail(1) asks for SMTPUTF8 then.
            Way::Sendmail => draft.with("From", &format!("\u{c4}lice <{ALICE}>")),
            Way::Submission => draft
                .with("MIME-Version", "1.0")
                .with("Content-Type", "multipart/mixed; boundary=\"=_a\"")
                .with_body(NESTED),
            Way::Queue => draft
                .with("MIME-Version", "1.0")
                .with("Content-Type", "text/plain; charset=utf-8")
                .with("Content-Transfer-Encoding", "8bit")
                .with_body(format!(
                    "Gr\u{fc}\u{df}e{}\r\n",
                    " und Gr\u{fc}\u{df}e".repeat(100)
                )),
        }
    })
}

/// Two levels of parts.
const NESTED: &str = "--=_a\r\nContent-Type: multipart/alternative; boundary=\"=_b\"\r\n\r\n\
                      --=_b\r\nContent-Type: text/plain\r\n\r\nHello.\r\n--=_b--\r\n--=_a--\r\n";

/// Exactly one reply, from the gateway, whose result and Subject nobody touched.
fn is_answered_once(request: &Draft, replies: &[Mail]) -> Result<(), String> {
    let subject = format!("Auto: {}", request.header("Subject"));
    let of_request = |mail: &&Mail| mail.header("Subject").as_deref() == Some(&subject);
    let found: Vec<&Mail> = replies.iter().filter(of_request).collect();
    let [reply] = found[..] else {
        return Err(format!("{} replies to {subject}", found.len()));
    };
    let (from, result) = (reply.header("From"), reply.header("X-Gateway-Result"));
    match from == Some(format!("<{GATEWAY}>")) && result.as_deref() == Some(SUCCESS) {
        true => Ok(()),
        false => Err(format!("{subject}: from {from:?}, {result:?}")),
    }
}

/// Gives the admin's own services the values that they have now, whatever main.cf
/// is made to say: it is the gateway's services that shall meet it.
fn shield(layout: &Layout) {
    let ours = gateways_services(layout);
    let kept: Vec<(&str, String)> = trials(layout)
        .iter()
        .map(|trial| trial.parameter)
        .filter(|name| OF_TRANSPORT.iter().all(|it| it.instead_of != *name))
        .map(|name| (name, layout.postfix_parameter(name)))
        .collect();
    let listed = run(postconf(layout).arg("-M"), b"");
    for line in listed.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let key = format!("{}/{}", columns[0], columns[1]);
        if ours.contains(&key) {
            continue;
        }
        let mut entry = columns.join(" ");
        for (name, value) in &kept {
            if !entry.contains(&format!("-o {name}=")) {
                entry.push_str(&format!(" -o {{ {name} = {value} }}"));
            }
        }
        layout.add_postfix_service(&format!("{key}={entry}"));
    }
}

/// How postconf(1) names the gateway's services.
fn gateways_services(layout: &Layout) -> [String; 4] {
    let filling = Filling {
        replies: layout.port(18025).to_string(),
        internal: layout.port(18026).to_string(),
        ..Filling::default()
    };
    SERVICES.map(|service| service.key(&filling))
}

/// master.cf whose services of the gateway do not override the parameter.
fn without(layout: &Layout, master: &str, parameter: &str) -> String {
    let ours = gateways_services(layout);
    let argument = format!("-o {parameter}=");
    let mut is_ours = false;
    let mut kept = String::new();
    for line in master.lines() {
        if let [name, kind, ..] = line.split_whitespace().collect::<Vec<_>>()[..]
            && !line.starts_with(' ')
        {
            is_ours = ours.contains(&format!("{name}/{kind}"));
        }
        if !(is_ours && line.trim_start().starts_with(&argument)) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Replaces a file of Postfix's in one step. A daemon that starts meanwhile must not
/// read half of main.cf: it would use the compiled-in queue directory, and never answer
/// at the socket of its service.
fn write_settled(layout: &Layout, name: &str, text: &str) {
    let (path, written) = (layout.postfix_file(name), format!("{name}.written"));
    fs::write(layout.postfix_file(&written), text).expect("the file");
    settle(layout, &written);
    fs::rename(layout.postfix_file(&written), path).expect("the file");
}

/// Sets the time of a file's last change back. Postfix reads a file that changed a
/// moment ago again and again, until it has settled.
fn settle(layout: &Layout, name: &str) {
    let before = SystemTime::now() - Duration::from_secs(60);
    let file = File::options().write(true).open(layout.postfix_file(name));
    file.and_then(|file| file.set_modified(before))
        .expect("the file");
}
