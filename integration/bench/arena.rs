//! The Postfix that everything is measured on: one instance with a listener for
//! each milter, and one that has never heard of the gateway.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    harness::{
        DkimKey, Gateway, Layout, OpenDkim, Postfix, Postgresql, Site, kms_gateway, run, until,
        words,
    },
    peers::{Peer, RESPONDER},
    plan::Plan,
};

/// For what was accepted to be delivered, and its replies.
const PATIENCE: Duration = Duration::from_secs(300);

/// The recipient of mail that is thrown away once it is delivered.
pub const SINK: &str = "somebody@sink.example";
pub const PIPE: &str = "pipe@kms.example.org";

/// smtpd's ports; of the site's own, 2525 asks the gateway and 2526 no milter.
pub mod port {
    pub const GATEWAY: u16 = 2525;
    pub const NO_MILTER: u16 = 2526;
    pub const NO_MILTER_AGAIN: u16 = 2527;
    pub const NOTHING: u16 = 2530;
    pub const FLOOR: u16 = 2531;
    pub const OPENDKIM: u16 = 2532;
    pub const PYMILTER: u16 = 2533;
    pub const CEILING: u16 = 2534;
    pub const ON_POSTGRESQL: u16 = 2535;
    /// The ports of the milters follow.
    pub const GATEWAY_MILTER: u16 = 8890;
    pub const NOTHING_MILTER: u16 = 8891;
    pub const FLOOR_MILTER: u16 = 8892;
    pub const FLOOR_MILTER_AGAIN: u16 = 8893;
    pub const OPENDKIM_MILTER: u16 = 8894;
    pub const PYMILTER_MILTER: u16 = 8895;
    pub const CEILING_MILTER: u16 = 8896;
    pub const ON_POSTGRESQL_MILTER: u16 = 8897;
    /// Takes replies.
    pub const REPLIES: u16 = 18025;
}

/// Peers that run all the time; idle, they cost nothing.
pub struct Peers {
    pub floor: Peer,
    pub floor_again: Peer,
    _nothing: Peer,
    _opendkim: OpenDkim,
    pub pymilter: Peer,
    pub ceiling: Peer,
}

pub struct Arena {
    pub peers: Peers,
    /// The gateway a second time, whose store is in the database.
    pub on_postgresql: Gateway,
    pub postgresql: Postgresql,
    pub site: Site,
    /// Without us.
    pub stranger: Stranger,
}

/// A Postfix in whose configuration the gateway does not occur.
pub struct Stranger {
    _postfix: Postfix,
    pub layout: Layout,
}

impl Arena {
    pub fn start(plan: &Plan) -> Self {
        let layout = Layout::new();
        open_wide(&layout, plan);
        let directory = layout.directory().to_owned();
        copy_of("pipe_responder.py", &directory);
        add_listeners(&layout);
        add_responders(&layout);
        let key = DkimKey::generate(&directory, "vendor.example");
        let peers = Peers {
            floor: Peer::indymilter("floor", layout.port(port::FLOOR_MILTER)),
            floor_again: Peer::indymilter("floor", layout.port(port::FLOOR_MILTER_AGAIN)),
            _nothing: Peer::indymilter("nothing", layout.port(port::NOTHING_MILTER)),
            _opendkim: key.verify_at(layout.port(port::OPENDKIM_MILTER), "mail.example"),
            pymilter: Peer::pymilter(
                layout.port(port::PYMILTER_MILTER),
                layout.port(port::REPLIES),
            ),
            ceiling: Peer::ceiling(
                layout.port(port::CEILING_MILTER),
                layout.port(port::REPLIES),
            ),
        };
        let postgresql = Postgresql::start();
        Self {
            peers,
            on_postgresql: start_on(&postgresql, &layout),
            postgresql,
            site: layout.start(),
            stranger: Stranger::start(),
        }
    }

    /// Waits until nothing is on its way any more.
    pub fn settle(&self) {
        for layout in [&self.site.layout, &self.stranger.layout] {
            let queue = layout.directory().join("queue");
            until("the queue is empty", PATIENCE, || {
                let is_empty = |name| is_empty(&queue.join(name));
                ["maildrop", "incoming", "active"]
                    .iter()
                    .all(is_empty)
                    .then_some(())
            });
        }
    }

    /// How many mails a second smtp-source gets rid of, each in a session of its
    /// own, twenty at a time.
    pub fn rate_of(&self, loads: &[Load<'_>]) -> f64 {
        let started = Instant::now();
        let mut sources: Vec<_> = loads
            .iter()
            .map(|load| load.command().spawn().expect("smtp-source"))
            .collect();
        for source in &mut sources {
            let ended = source.wait().expect("its end");
            assert!(ended.success(), "smtp-source: {ended}");
        }
        let taken = started.elapsed();
        let messages: usize = loads.iter().map(|load| load.messages).sum();
        self.settle();
        per_second(messages, taken)
    }
}

/// Mail of one kind by smtp-source.
pub struct Load<'a> {
    pub to: SocketAddr,
    pub recipient: &'a str,
    pub subject: &'a str,
    pub messages: usize,
    pub sessions: usize,
}

impl<'a> Load<'a> {
    /// Somebody else's mail.
    pub fn for_others(to: SocketAddr, messages: usize) -> Self {
        Self {
            to,
            recipient: SINK,
            subject: "lunch",
            messages,
            sessions: 20,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("smtp-source");
        command
            .args(["-4", "-l", "4096", "-M", "client.vendor.example"])
            .args(["-f", "somebody-else@sink.example", "-t", self.recipient])
            .args(["-S", self.subject])
            .args(["-s", &self.sessions.to_string()])
            .args(["-m", &self.messages.to_string()])
            .arg(format!("{}:{}", self.to.ip(), self.to.port()));
        command
    }
}

impl Stranger {
    fn start() -> Self {
        let layout = Layout::without_keys();
        layout.set_postfix("smtpd_milters=");
        layout.set_postfix("transport_maps=");
        for service in ["18025/inet", "18026/inet"] {
            let (port, kind) = service.split_once('/').expect("two");
            let address = layout.port(port.parse().expect("a port"));
            remove_service(&layout, &format!("{address}/{kind}"));
        }
        remove_service(&layout, "kms-gateway/unix");
        throw_away(&layout);
        listen(&layout, port::NO_MILTER_AGAIN, None);
        Self {
            _postfix: Postfix::start(layout.directory()),
            layout,
        }
    }
}

pub fn per_second(count: usize, taken: Duration) -> f64 {
    f64::from(u32::try_from(count).expect("a count")) / taken.as_secs_f64()
}

/// Nobody is over an allowance here, and there is room for all connections.
fn open_wide(layout: &Layout, plan: &Plan) {
    for (key, value) in [("every", "1s"), ("newcomers_every", "1s")] {
        layout.set_gateway("throttle", key, value);
    }
    for key in ["at_once", "block_above", "newcomers_at_once"] {
        layout.set_gateway("throttle", key, 1_000_000);
    }
    layout.set_gateway("key_load_file", "max_issues", 1_000_000);
    let connections = i64::try_from(plan.connections).expect("a count") + 200;
    layout.set_gateway("milter", "max_connections", connections);
}

fn add_listeners(layout: &Layout) {
    throw_away(layout);
    listen(layout, port::NO_MILTER_AGAIN, None);
    for (smtp, milter) in [
        (port::NOTHING, port::NOTHING_MILTER),
        (port::FLOOR, port::FLOOR_MILTER),
        (port::OPENDKIM, port::OPENDKIM_MILTER),
        (port::PYMILTER, port::PYMILTER_MILTER),
        (port::CEILING, port::CEILING_MILTER),
        (port::ON_POSTGRESQL, port::ON_POSTGRESQL_MILTER),
    ] {
        listen(layout, smtp, Some(layout.port(milter)));
    }
}

/// Starts a gateway with the settings and the master secret of the site's own. Its store is in
/// this database.
fn start_on(server: &Postgresql, layout: &Layout) -> Gateway {
    let milter = layout.port(port::ON_POSTGRESQL_MILTER);
    let text = fs::read_to_string(layout.config()).expect("the configuration");
    let mut config: toml::Table = text.parse().expect("TOML");
    let mut set = |table: &str, key: &str, value: toml::Value| {
        let table = config
            .entry(table)
            .or_insert_with(|| toml::Table::new().into());
        let table = table.as_table_mut().expect("a table");
        table.insert(key.to_owned(), value);
    };
    set("milter", "listen", format!("inet:{milter}").into());
    set("store", "postgresql", server.settings().into());
    let file = layout.config().with_file_name("on-postgresql.toml");
    fs::write(&file, config.to_string()).expect("the configuration");
    let keys = "kmc init --issuer Example --name K0002 --expires 20990101T000000Z";
    run(&mut kms_gateway(&file, &words(keys)), b"");
    let log = file.with_extension("log");
    Gateway::start(kms_gateway(&file, &["serve"]), &log, milter)
}

/// Mail for elsewhere is delivered to nowhere, and none is held back because
/// more comes in than goes out.
fn throw_away(layout: &Layout) {
    layout.add_postfix_service("discard/unix=discard unix - - n - - discard");
    layout.set_postfix("default_transport=discard:");
    layout.set_postfix("in_flow_delay=0");
}

fn listen(layout: &Layout, port: u16, milter: Option<SocketAddr>) {
    let address = layout.port(port);
    layout.add_postfix_service(&format!("{address}/inet={address} inet n - n - - smtpd"));
    let milter = milter.map_or_else(String::new, |address| format!("inet:{address}"));
    layout.set_postfix_service(port, &format!("smtpd_milters={milter}"));
}

fn remove_service(layout: &Layout, service: &str) {
    run(
        Command::new("postconf")
            .arg("-c")
            .arg(layout.directory().join("etc"))
            .args(["-MX", service]),
        b"",
    );
}

/// The addresses of the peers that answer requests.
fn add_responders(layout: &Layout) {
    let mailboxes = layout.postfix_file("mailboxes");
    let mut text = fs::read_to_string(&mailboxes).expect("the mailboxes");
    for address in [RESPONDER, PIPE] {
        text += &format!("{address} nobody/\n");
    }
    fs::write(mailboxes, text).expect("the mailboxes");
    let transports = layout.postfix_parameter("transport_maps");
    layout.set_postfix(&format!(
        "transport_maps={transports}, inline:{{ {{{PIPE} = pipe-responder:}} }}"
    ));
    let program = layout.directory().join("pipe_responder.py");
    layout.add_postfix_service(&format!(
        "pipe-responder/unix=pipe-responder unix - n n - - pipe user=nobody argv=/usr/bin/python3 {} {} ${{sender}}",
        program.display(),
        layout.port(port::REPLIES)
    ));
}

/// pipe(8)'s user can't read what lies below a home directory.
fn copy_of(program: &str, directory: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/bench");
    fs::copy(source.join(program), directory.join(program)).expect("a copy");
}

fn is_empty(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else {
        return true;
    };
    entries.flatten().all(|entry| {
        let path = entry.path();
        path.is_dir() && is_empty(&path)
    })
}
