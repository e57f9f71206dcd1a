//! Those whom no stranger may delay: a module, a login and a vendor whose mail
//! is authenticated.

use std::{
    cell::RefCell,
    fmt::{self, Display, Formatter},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use kms_gateway::{
    security_module::SecurityModule,
    sts::{PkEcdh, StsTime, TypedRecord, single_in_mail, write_in_mail},
};

use super::strangers::{Flood, Flooded};
use crate::harness::{
    ALICE, BOB, CAROL, Draft, GATEWAY, Layout, Reply, Site, Smtp, SoftwareModule, until,
};

/// A whole flood on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// The name under which the site's own verifier writes.
const AUTHSERV_ID: &str = "mx.kms.example.org";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A module whose MAC is right, by a stranger's server.
    Module,
    /// A login, by a stranger's client.
    Login,
    /// A vendor whose domain authenticated the mail.
    Authenticated,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Module, Kind::Login, Kind::Authenticated];

    fn person(self) -> &'static str {
        match self {
            Kind::Module => ALICE,
            Kind::Login => CAROL,
            Kind::Authenticated => BOB,
        }
    }

    fn service(self) -> &'static str {
        match self {
            Kind::Module => "GetKlfStsEd2",
            Kind::Login => "Help",
            Kind::Authenticated => "GetPublicKey",
        }
    }

    fn subject(self, number: usize) -> String {
        format!("{{KMS:{}}} honest {number}", self.service())
    }
}

/// All of them.
pub struct Honest {
    module: RefCell<SecurityModule>,
    kmc_key: PkEcdh,
}

impl Honest {
    /// Known to a site that is not started yet.
    pub fn new(layout: &Layout) -> Self {
        let ids = vec![toml::Value::from(AUTHSERV_ID)];
        layout.set_gateway("sender_authentication", "authserv_ids", ids);
        let registered = SoftwareModule::new(layout, "SM1");
        let kmc_key = layout.gateway(&["kmc", "public-key"]);
        Self {
            module: RefCell::new(SecurityModule::load(registered.state()).expect("a module")),
            kmc_key: single_in_mail(&kmc_key).expect("a public key"),
        }
    }

    fn draft(&self, kind: Kind, number: usize) -> Draft {
        let body = match kind {
            Kind::Module => {
                let now = StsTime::from_timestamp(jiff::Timestamp::now()).expect("a time");
                let mut module = self.module.borrow_mut();
                let request = module
                    .request(self.kmc_key.clone(), now)
                    .expect("a request");
                write_in_mail(&request.to_record()).replace("\r\n", "\n")
            }
            Kind::Login | Kind::Authenticated => String::new(),
        };
        let draft = Draft::request(&kind.subject(number), &body).with("From", kind.person());
        match kind {
            Kind::Authenticated => draft.with(
                "Authentication-Results",
                &format!("{AUTHSERV_ID}; dkim=pass header.d=vendor.example"),
            ),
            Kind::Module | Kind::Login => draft,
        }
    }

    /// Sends one request by this session, and gives the answer to it.
    pub fn send(&self, kind: Kind, number: usize, smtp: &mut Smtp) -> Reply {
        smtp.speak_for(match kind {
            Kind::Login => "ADDR=192.0.2.50 LOGIN=carol",
            Kind::Module | Kind::Authenticated => "ADDR=192.0.2.50 LOGIN=[UNAVAILABLE]",
        });
        let message = self.draft(kind, number).to_bytes();
        smtp.send(kind.person(), &[GATEWAY], &message)
    }

    /// Waits for the answer.
    pub fn is_answered(&self, kind: Kind, number: usize, site: &Site) {
        let mailbox = site.mailbox(kind.person());
        let answer = mailbox.wait_for_reply(&kind.subject(number));
        assert_eq!(answer.result()[0], "Success", "{kind:?}");
    }

    /// Asks again and again while a flood goes on, at equal distances, and less
    /// often than any sender's own allowance has.
    pub fn during(&self, site: &Site, flood: &Flood) -> Tally {
        const ROUNDS: usize = 9;
        static NEXT: AtomicUsize = AtomicUsize::new(1000);
        let flooded = Flooded::default();
        let mut delays = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| flood.run_into(site, &flooded));
            for round in 0..ROUNDS {
                let share = flood.messages() * round / ROUNDS;
                until("the flood's next part", PATIENCE, || {
                    (flooded.count() >= share).then_some(())
                });
                for kind in Kind::ALL {
                    let number = NEXT.fetch_add(1, Ordering::Relaxed);
                    let begun = Instant::now();
                    let reply = self.send(kind, number, &mut site.smtp());
                    assert_eq!(reply.code, 250, "{kind:?}: {reply:?}");
                    self.is_answered(kind, number, site);
                    delays.push((kind, begun.elapsed()));
                    site.mailbox(kind.person()).take_all();
                }
            }
            assert!(
                flooded.count() < flood.messages(),
                "the flood was over before the last honest answer"
            );
        });
        Tally { delays, flooded }
    }
}

/// How long honest requests took, and what became of the flood meanwhile.
pub struct Tally {
    delays: Vec<(Kind, Duration)>,
    pub flooded: Flooded,
}

impl Tally {
    pub fn delays(&self, kind: Kind) -> Delays {
        let own = self.delays.iter().filter(|(own, _)| *own == kind);
        let mut sorted: Vec<Duration> = own.map(|(_, delay)| *delay).collect();
        sorted.sort();
        Delays(sorted)
    }
}

/// Sorted times from a request's connection to its reply in the mailbox.
pub struct Delays(Vec<Duration>);

impl Display for Delays {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let at = |part: usize| self.0[(self.0.len() - 1) * part / 100].as_millis();
        write!(
            f,
            "{} ms ({}–{} ms, {} requests)",
            at(50),
            at(5),
            at(95),
            self.0.len()
        )
    }
}
