//! Requests to replies, end to end, beside the ways a mail admin would build
//! that without us.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use kms_gateway::{
    security_module::SecurityModule,
    sts::{PkEcdh, StsTime, TypedRecord, single_in_mail, write_in_mail},
};

use super::{
    arena::{Arena, PIPE, per_second, port},
    figures::{Case, Limit, Table},
    harness::{ALICE, Draft, GATEWAY, Layout, Smtp, SoftwareModule, Usage, until},
    peers::RESPONDER,
    plan::Plan,
    report::{Bound, Section},
};

const RATE: &str = "replies/s";
const HALF: &str = "p50, ms";
const MOST: &str = "p99, ms";
const CPU: &str = "its CPU, ms each";
const PLAIN: &str = "plain mail, delivered";
const HELP: &str = "gateway, Help";
const ON_POSTGRESQL: &str = "gateway on PostgreSQL, Help";
const KEYS: &str = "gateway, GetKlfStsEd2";
const PYMILTER: &str = "pymilter, Help";
const CEILING: &str = "bare milter, keeps nothing";
const PIPES: &str = "pipe(8), Help";

/// Vendors that send at the same time, each with an address of its own.
const SENDERS: usize = 20;

/// Milliseconds in one tick of proc(5).
pub const TICK: f64 = 10.0;

/// For the next mail to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn measure(arena: &mut Arena, plan: &Plan) -> Section {
    let arena = &*arena;
    let gateway = arena.site.gateway.as_ref().expect("it runs").id();
    let [arrivals, help] = ["mail/alice/new", "{KMS:Help}"];
    let way = |name, port, recipient, subject, process: Option<u32>| Way {
        name,
        arena,
        port,
        recipient,
        subject,
        arrivals: arena.site.layout.directory().join(arrivals),
        process: process.map(Usage),
    };
    let (pymilter, ceiling) = (arena.peers.pymilter.id(), arena.peers.ceiling.id());
    let on_postgresql = arena.on_postgresql.id();
    let for_help = [
        way(PLAIN, port::NO_MILTER, ALICE, "", None),
        way(HELP, port::GATEWAY, GATEWAY, help, Some(gateway)),
        way(PYMILTER, port::PYMILTER, RESPONDER, help, Some(pymilter)),
        way(CEILING, port::CEILING, RESPONDER, help, Some(ceiling)),
        way(
            ON_POSTGRESQL,
            port::ON_POSTGRESQL,
            GATEWAY,
            help,
            Some(on_postgresql),
        ),
    ];
    let keys = way(
        KEYS,
        port::GATEWAY,
        GATEWAY,
        "{KMS:GetKlfStsEd2}",
        Some(gateway),
    );
    let pipe = way(PIPES, port::NO_MILTER, PIPE, help, None);
    let modules = Mutex::new(Modules::new(arena));
    let in_a_row = plan.requests_in_a_row;
    let mut cases: Vec<Case<'_>> = for_help
        .iter()
        .map(|way| Case::new(way.name, || way.round(plan.requests, in_a_row, &mut text)))
        .collect();
    cases.push(Case::new(KEYS, || {
        let mut modules = modules.lock().expect("modules");
        keys.round(plan.requests, in_a_row, &mut || modules.record())
    }));
    cases.push(Case::new(PIPES, || {
        pipe.round(plan.requests_by_processes, in_a_row / 3 + 1, &mut text)
    }));
    let table = Table::interleaved(&[RATE, HALF, MOST, CPU], plan.rounds, cases);
    let bound = |case: &str, other: &str, figure: &str, limit| Bound {
        what: format!("{case} / {other}: {figure}"),
        limit,
        found: table.ratio(case, other, figure),
        itself: None,
    };
    let bounds = vec![
        bound(HELP, PIPES, RATE, Limit::AtLeast(10.0)),
        bound(HELP, PYMILTER, RATE, Limit::AtLeast(1.0)),
        bound(HELP, PLAIN, RATE, Limit::AtLeast(0.4)),
        bound(HELP, CEILING, RATE, Limit::AtLeast(0.85)),
        bound(HELP, CEILING, CPU, Limit::AtMost(2.2)),
        bound(ON_POSTGRESQL, HELP, RATE, Limit::AtLeast(0.4)),
        bound(CEILING, PIPES, RATE, Limit::ForComparison),
    ];
    Section {
        title: "Requests answered",
        method: format!(
            "{} messages a round ({} for pipe(8)) from {SENDERS} senders at once, each in a session of its own, until \
             the last reply lies in a mailbox; then {in_a_row} one after the other ({} for pipe(8)), for the time from \
             the connection to the reply in the mailbox. Plain mail is what this Postfix takes and delivers without \
             any milter. The bare milter is what Postfix and this machine would allow to a gateway that costs nothing: \
             it keeps nothing and always has a session open. The gateway's requests are on disk before they are accepted; pymilter's are nowhere.",
            plan.requests,
            plan.requests_by_processes,
            in_a_row / 3 + 1
        ),
        table,
        bounds,
    }
}

fn text() -> String {
    "please\n".repeat(20)
}

/// A way from a request to its reply, which arrives in Alice's mailbox.
struct Way<'a> {
    name: &'static str,
    arena: &'a Arena,
    port: u16,
    recipient: &'static str,
    subject: &'static str,
    arrivals: PathBuf,
    /// The process that answers, where it is one.
    process: Option<Usage>,
}

impl Way<'_> {
    /// Rate, the latency's p50 and p99, and the CPU that each took.
    fn round(
        &self,
        messages: usize,
        in_a_row: usize,
        body: &mut dyn FnMut() -> String,
    ) -> Vec<f64> {
        let drafts = self.drafts(messages, body);
        let cpu = || {
            self.process
                .map_or(f64::NAN, |process| process.cpu() as f64)
        };
        let before = cpu();
        let rate = self.rate(&drafts);
        let each = (cpu() - before) * TICK / messages as f64;
        let latencies = self.latencies(&self.drafts(in_a_row, body));
        self.arena.settle();
        vec![
            rate,
            quantile(&latencies, 0.5),
            quantile(&latencies, 0.99),
            each,
        ]
    }

    fn drafts(&self, count: usize, body: &mut dyn FnMut() -> String) -> Vec<(String, Vec<u8>)> {
        (0..count)
            .map(|number| {
                let sender = ALICE.replace('@', &format!("+{}@", number % SENDERS));
                let draft = Draft::request(&format!("{} {number}", self.subject), &body())
                    .with("From", &sender)
                    .with("To", self.recipient);
                (sender, draft.to_bytes())
            })
            .collect()
    }

    fn rate(&self, drafts: &[(String, Vec<u8>)]) -> f64 {
        clear(&self.arrivals);
        let started = Instant::now();
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                scope.spawn(move || {
                    for draft in drafts.iter().skip(sender).step_by(SENDERS) {
                        self.send(draft);
                    }
                });
            }
        });
        let mut arrived = 0;
        while arrived < drafts.len() {
            arrived = until("the next reply", PATIENCE, || {
                Some(count(&self.arrivals)).filter(|found| *found > arrived)
            });
        }
        per_second(drafts.len(), started.elapsed())
    }

    fn latencies(&self, drafts: &[(String, Vec<u8>)]) -> Vec<f64> {
        let latency = |draft| {
            clear(&self.arrivals);
            let started = Instant::now();
            self.send(draft);
            while count(&self.arrivals) == 0 {
                assert!(started.elapsed() < PATIENCE, "no reply: {}", self.name);
                thread::sleep(Duration::from_micros(200));
            }
            started.elapsed().as_secs_f64() * 1e3
        };
        drafts.iter().map(latency).collect()
    }

    fn send(&self, (sender, message): &(String, Vec<u8>)) {
        let mut session = Smtp::connect(self.arena.site.layout.port(self.port));
        let accepted = session.send(sender, &[self.recipient], message);
        assert_eq!(accepted.code, 250, "{}: {accepted:?}", self.name);
        session.command("QUIT");
    }
}

/// The value that so many of them do not exceed.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = f64::from(u32::try_from(sorted.len() - 1).expect("a count"));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = (last * share).ceil() as usize;
    sorted[index]
}

fn count(maildir: &Path) -> usize {
    fs::read_dir(maildir).map_or(0, Iterator::count)
}

fn clear(maildir: &Path) {
    let Ok(entries) = fs::read_dir(maildir) else {
        return;
    };
    for entry in entries.flatten() {
        fs::remove_file(entry.path()).expect("a mail");
    }
}

/// Security modules by turns, each with what it has not yet been answered.
struct Modules {
    kmc_key: PkEcdh,
    modules: Vec<SecurityModule>,
    next: usize,
}

impl Modules {
    fn new(arena: &Arena) -> Self {
        let layout = &arena.site.layout;
        let kmc_key =
            single_in_mail(&layout.gateway(&["kmc", "public-key"])).expect("the KMC's key");
        Self {
            kmc_key,
            modules: (0..SENDERS).map(|number| module(layout, number)).collect(),
            next: 0,
        }
    }

    /// A fresh VKLOAD.REQ.1 for an e-mail.
    fn record(&mut self) -> String {
        let now = StsTime::from_timestamp(jiff::Timestamp::now()).expect("a time");
        let turn = self.next % self.modules.len();
        self.next += 1;
        let request = self.modules[turn].request(self.kmc_key.clone(), now);
        write_in_mail(&request.expect("a request").to_record()).replace("\r\n", "\n")
    }
}

fn module(layout: &Layout, number: usize) -> SecurityModule {
    let registered = SoftwareModule::new(layout, &format!("9{number:07}"));
    SecurityModule::load(registered.state()).expect("its state")
}
