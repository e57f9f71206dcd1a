//! The senders: vendors with honest requests, robots, lists, other people, and a
//! forger. Each counts the results that its mail must have.

use std::time::Duration;

use fastrand::Rng;
use kms_gateway::{
    security_module::SecurityModule,
    sts::{PkEcdh, StsTime, TypedRecord, write_in_mail},
};

use super::{
    arrivals::Arrivals,
    harness::{ALICE, BOB, Draft, GATEWAY, Mail, Site, Smtp, SoftwareModule, until},
    progress::Progress,
};

/// A loaded machine may need this long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Each sender writes in the name of so many, that none is over its allowance.
const ADDRESSES: usize = 100;
const MODULES: usize = 8;

/// Answers that a sender waits for at once.
const UNANSWERED: usize = 8;

/// A new session each time after so many messages.
const SESSION_LENGTH: usize = 25;

/// The messages of a flood, and those of others between two of them.
const FLOOD: usize = 60;
const BETWEEN_FLOODS: usize = 300;

/// Everything that the senders share.
pub struct World<'a> {
    pub site: &'a Site,
    pub progress: &'a Progress,
    pub arrivals: &'a Arrivals,
    pub kmc_key: &'a PkEcdh,
    /// An update file of the STSA's.
    pub update: &'a [u8],
    /// Mail that no robot, list or mail system shall be answered for, with its
    /// reverse path.
    pub automatic: &'a [(String, Vec<u8>)],
    pub mix: &'a [Kind],
}

/// A kind of message.
pub struct Kind {
    /// How often, beside the others.
    pub weight: usize,
    pub name: &'static str,
    pub send: fn(&mut Sender<'_>),
}

/// The expected results of all that was sent.
#[derive(Default)]
pub struct Tally {
    /// Requests that get one final reply each, by their Message-IDs.
    pub asked: Vec<String>,
    /// Requests whose replies nobody takes.
    pub unanswerable: usize,
    /// Requests that were accepted before.
    pub repeated: usize,
    /// Messages to the gateway that no answer comes to.
    pub ignored: usize,
    /// Messages that the gateway has no part in.
    pub passed: usize,
    /// Mail for others, by its Message-IDs.
    pub others: Vec<String>,
    /// Forged requests: at most one reply each.
    pub forged: Vec<String>,
    /// How many messages of each row of the mix.
    pub mixed: Vec<usize>,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.asked.extend(other.asked);
        self.unanswerable += other.unanswerable;
        self.repeated += other.repeated;
        self.ignored += other.ignored;
        self.passed += other.passed;
        self.others.extend(other.others);
        self.forged.extend(other.forged);
        let rows = self.mixed.len().max(other.mixed.len());
        self.mixed.resize(rows, 0);
        for (sum, mixed) in self.mixed.iter_mut().zip(other.mixed) {
            *sum += mixed;
        }
    }
}

/// The expected answer.
#[derive(Clone, Copy)]
pub enum Answer {
    Success,
    /// Keys for this module of the sender's.
    Keys(usize),
    Error(&'static str),
    Any,
}

/// Somebody who sends a bit of everything.
pub struct Sender<'a> {
    pub world: &'a World<'a>,
    pub random: Rng,
    pub tally: Tally,
    name: String,
    smtp: Smtp,
    sent: usize,
    modules: Vec<SecurityModule>,
    waiting: Vec<(String, Answer)>,
}

impl<'a> Sender<'a> {
    /// With modules of its own, and the same choices each time.
    pub fn new(world: &'a World<'a>, number: u64) -> Self {
        let modules = (0..MODULES).map(|module| {
            let name = format!("9{number}{module:06}");
            let registered = SoftwareModule::new(&world.site.layout, &name);
            SecurityModule::load(registered.state()).expect("its module")
        });
        Self {
            random: Rng::with_seed(number),
            tally: Tally {
                mixed: vec![0; world.mix.len()],
                ..Tally::default()
            },
            name: format!("s{number}"),
            smtp: world.site.smtp(),
            sent: 0,
            modules: modules.collect(),
            waiting: Vec::new(),
            world,
        }
    }

    /// Sends until it is over and every answer is there.
    pub fn run(mut self) -> Tally {
        // First of each kind: what memory that needs at once, if all senders do it
        // together, the gateway then has.
        let rows = 0..self.world.mix.len();
        for kind in rows.clone().chain(rows) {
            self.send_one(kind);
        }
        while !self.world.progress.is_over() {
            let kind = self.choose();
            self.send_one(kind);
        }
        self.wait(0);
        self.tally
    }

    fn send_one(&mut self, kind: usize) {
        self.tally.mixed[kind] += 1;
        (self.world.mix[kind].send)(self);
        self.wait(UNANSWERED);
    }

    /// A row of the mix, by the weights.
    fn choose(&mut self) -> usize {
        let mix = self.world.mix;
        let weights: usize = mix.iter().map(|kind| kind.weight).sum();
        let mut place = self.random.usize(..weights);
        let chosen = mix.iter().position(|kind| {
            let found = place < kind.weight;
            place = place.saturating_sub(kind.weight);
            found
        });
        chosen.expect("less than all weights")
    }

    /// One of the addresses that it writes from, all with mail in Alice's mailbox.
    pub fn address(&mut self) -> String {
        let number = self.random.usize(..ADDRESSES);
        ALICE.replace('@', &format!("+{}.{number}@", self.name))
    }

    /// Words for a Subject, after its code.
    pub fn words(&mut self) -> String {
        format!("{} {:08x}", self.name, self.random.u32(..))
    }

    /// Sends a request that must be answered so.
    pub fn ask(&mut self, draft: &Draft, answer: Answer) {
        let from = self.address();
        let draft = draft.clone().with("From", &from);
        self.send(&from, &[GATEWAY], &draft.to_bytes());
        self.expect(&draft, answer);
    }

    /// Waits for that answer to it from now on.
    pub fn expect(&mut self, draft: &Draft, answer: Answer) {
        let id = draft.header("Message-ID").to_owned();
        self.tally.asked.push(id.clone());
        self.waiting.push((id, answer));
    }

    pub fn send(&mut self, from: &str, to: &[&str], message: &[u8]) {
        if self.sent.is_multiple_of(SESSION_LENGTH) {
            self.smtp = self.world.site.smtp();
        }
        self.sent += 1;
        let taken = self.smtp.send(from, to, message);
        assert_eq!(taken.code, 250, "{taken:?}");
        self.world.progress.count();
    }

    /// Sends other people's mail, which arrives once.
    pub fn send_others(&mut self, to: &[&str], draft: &Draft) {
        self.tally
            .others
            .push(draft.header("Message-ID").to_owned());
        self.send(ALICE, to, &draft.to_bytes());
    }

    /// A fresh VKLOAD.REQ.1 of one of its modules, which it names.
    pub fn module_request(&mut self) -> (usize, String) {
        let module = self.random.usize(..MODULES);
        let now = StsTime::from_timestamp(jiff::Timestamp::now()).expect("a time");
        let request = self.modules[module].request(self.world.kmc_key.clone(), now);
        let record = request.expect("a request").to_record();
        (module, write_in_mail(&record).replace("\r\n", "\n"))
    }

    /// Waits until no more answers than this are still to come.
    pub fn wait(&mut self, unanswered: usize) {
        until("answers", PATIENCE, || {
            for (id, answer) in std::mem::take(&mut self.waiting) {
                match self.world.arrivals.reply_to(&id) {
                    Some(reply) => self.check(&reply, answer),
                    None => self.waiting.push((id, answer)),
                }
            }
            (self.waiting.len() <= unanswered).then_some(())
        });
    }

    fn check(&mut self, reply: &Mail, answer: Answer) {
        let result = reply.result();
        match answer {
            Answer::Success => assert_eq!(result[0], "Success", "{result:?}"),
            Answer::Keys(module) => {
                assert_eq!(result[0], "Success", "{result:?}");
                let opened = self.modules[module].open(&reply.attachment().2);
                assert_eq!(opened.expect("its own file").len(), 2);
            }
            Answer::Error(code) => assert_eq!(result[..2], ["Error", code]),
            Answer::Any => {}
        }
    }
}

/// Asks in Bob's name from afar, far more than anybody may, again and again.
pub fn forge(world: &World<'_>) -> Tally {
    let mut tally = Tally::default();
    while !world.progress.is_over() {
        let mut smtp = world.site.smtp();
        smtp.speak_for("ADDR=192.0.2.9");
        for _ in 0..FLOOD {
            let forged = Draft::request("{KMS:Help} forged", "").with("From", BOB);
            let taken = smtp.send("mallory@attacker.example", &[GATEWAY], &forged.to_bytes());
            // Mail beyond the allowance of one address waits at the sender's server.
            assert!(matches!(taken.code, 250 | 450), "{taken:?}");
            if taken.code == 250 {
                tally.forged.push(forged.header("Message-ID").to_owned());
            }
            world.progress.count();
        }
        let next = world.progress.sent() + BETWEEN_FLOODS;
        until("the next flood", PATIENCE, || {
            let is_time = world.progress.sent() >= next || world.progress.is_over();
            is_time.then_some(())
        });
    }
    tally
}
