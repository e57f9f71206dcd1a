//! A gateway alone, without a Postfix: milter sessions with it, what it decided,
//! and what it uses of the machine.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::{EndAnswer, GATEWAY, Gateway, Layout, Milter, Usage, words};

/// A gateway without a Postfix.
pub struct House {
    pub gateway: Gateway,
    // Last: its directory goes when nothing runs in it any more.
    pub layout: Layout,
}

impl House {
    pub fn new() -> Self {
        Self::of(Self::layout())
    }

    /// A site whose gateway can be started: the service needs a key, and keys at
    /// rest a master secret.
    pub fn layout() -> Layout {
        let layout = Layout::without_keys();
        layout.gateway(&words(
            "kmc init --create-master-secret --issuer Example --name K0001 --expires 20990101T000000Z",
        ));
        layout
    }

    pub fn of(layout: Layout) -> Self {
        let gateway = layout.start_gateway();
        Self::with(layout, gateway)
    }

    /// With a gateway that runs already.
    pub fn with(layout: Layout, gateway: Gateway) -> Self {
        let house = Self { gateway, layout };
        house.serves();
        house
    }

    pub fn connect(&self) -> Milter {
        Milter::connect(self.layout.port(8890))
    }

    pub fn negotiated(&self) -> Milter {
        Milter::negotiated(self.layout.port(8890))
    }

    pub fn session(&self) -> Milter {
        Milter::session(self.layout.port(8890))
    }

    /// A session up to an answer to DATA that asks for the content.
    pub fn session_at_content(&self) -> Milter {
        let mut session = self.session();
        begin(&mut session);
        session
    }

    pub fn usage(&self) -> Usage {
        Usage(self.gateway.id())
    }

    /// An honest session beside whatever goes on is served as ever.
    #[track_caller]
    pub fn serves(&self) {
        assert_eq!(ask(&mut self.session()), taken());
        assert!(!self.gateway.log().contains("panicked"), "a panic");
    }

    /// Verdict and rule of the newest message.
    pub fn newest(&self) -> (String, String) {
        let entry = self.newest_entry();
        let text = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
        (text("verdict"), text("rule"))
    }

    /// The audit log's entry of the newest message.
    pub fn newest_entry(&self) -> Value {
        let json = self.layout.gateway(&["audit", "list", "--json"]);
        let entries: Vec<Value> = serde_json::from_str(&json).expect("an array");
        let of_message = |entry: &&Value| entry["verdict"].is_string();
        entries.iter().rfind(of_message).expect("an entry").clone()
    }

    /// Runs `act` and returns the most memory, in KiB, that the gateway held
    /// meanwhile beyond what it held before.
    pub fn memory_for(&self, act: impl FnOnce()) -> u64 {
        self.usage().forget_peak();
        let before = self.usage().memory();
        act();
        self.usage().peak().saturating_sub(before)
    }

    /// Time on a CPU that `act` took of the gateway, in ticks.
    pub fn cpu_for(&self, act: impl FnOnce()) -> u64 {
        let before = self.usage().cpu();
        act();
        self.usage().cpu() - before
    }

    /// Four times as much may take four times as long and a bit, not sixteen
    /// times.
    #[track_caller]
    pub fn assert_not_quadratic(&self, what: &str, count: usize, act: impl Fn(usize)) {
        let cpu = |count, rounds| self.cpu_for(|| (0..rounds).for_each(|_| act(count)));
        // Long enough to be measured, on a fast machine too.
        let mut rounds = 1;
        let once = loop {
            match cpu(count, rounds) {
                ticks @ 10.. => break ticks,
                _ => rounds *= 2,
            }
        };
        let four_times = cpu(4 * count, rounds);
        println!(
            "{rounds} x {count} {what}: {once} ticks; {rounds} x {}: {four_times}",
            4 * count
        );
        assert!(
            four_times < 12 * once,
            "{what}: {four_times} against {once}"
        );
    }
}

/// A request is taken, and gone for every recipient.
pub fn taken() -> EndAnswer {
    EndAnswer {
        deleted: Vec::new(),
        verdict: 'd',
    }
}

/// An address that never asked before, so that no allowance ends a test.
pub fn newcomer() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!(
        "vendor{}@vendor.example",
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The header of a request by a newcomer.
pub fn request_fields() -> Vec<(String, String)> {
    let sender = newcomer();
    [
        ("From", sender.clone()),
        ("To", GATEWAY.to_owned()),
        ("Subject", "{KMS:Help}".to_owned()),
        ("Date", "Mon, 29 Jun 2020 03:26:45 +0200".to_owned()),
        ("Message-ID", format!("<1.{sender}>")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// The same with this field instead of the one of its name.
pub fn request_with(name: &str, value: &str) -> Vec<(String, String)> {
    let mut fields = request_fields();
    fields.retain(|(found, _)| found != name);
    fields.push((name.to_owned(), value.to_owned()));
    fields
}

pub fn pairs(fields: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
}

/// MAIL, RCPT of the gateway, DATA.
pub fn begin(session: &mut Milter) {
    session.mail("vendor@vendor.example");
    assert_eq!(session.recipient(GATEWAY), 'c');
    assert_eq!(session.data(), 'c');
}

/// A whole message to the gateway.
pub fn send(session: &mut Milter, fields: &[(String, String)], body: &[u8]) -> EndAnswer {
    begin(session);
    session.content(pairs(fields), body);
    session.end()
}

/// A whole honest request.
pub fn ask(session: &mut Milter) -> EndAnswer {
    send(session, &request_fields(), b"please\r\n")
}
