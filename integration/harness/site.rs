//! A private mail site: Postfix and the gateway, and who has mail there.

use std::{
    fs,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    ALICE, Draft, GATEWAY, Gateway, Mail, Mailbox, Output, Postfix, Smtp, address::SiteAddress,
    command, gateway::kms_gateway, postfix::private_site, run, words,
};

/// A port for replies, closed until [`Site::open_reply_port`].
const CLOSED: u16 = 18035;

/// A site that is laid out and not yet started: time to change its settings.
pub struct Layout {
    directory: TempDir,
    address: SiteAddress,
}

impl Layout {
    /// Postfix as `postfix/` describes it, and a gateway with a KMC key and two
    /// vending keys of the supply group 000439.
    pub fn new() -> Self {
        Self::with_curve("P-384")
    }

    /// The same with the KMC key on another curve.
    pub fn with_curve(curve: &str) -> Self {
        let layout = Self::without_keys();
        layout.make_keys(curve);
        layout
    }

    /// The same with a gateway that has neither keys nor a master secret.
    pub fn without_keys() -> Self {
        let directory = TempDir::with_prefix("kms-gateway-").expect("a temporary directory");
        // Postfix's processes are other users.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let address = SiteAddress::claim();
        let path = directory.path().to_str().expect("a path in UTF-8");
        run(
            &mut private_site(&["create", path, &address.address.to_string()]),
            b"",
        );
        Self { directory, address }
    }

    /// Makes the master secret, a KMC key and the two vending keys.
    pub fn make_keys(&self, curve: &str) {
        self.gateway(&words(&format!(
            "kmc init --create-master-secret --issuer Example --name K0001 \
             --expires 20990101T000000Z --curve {curve}"
        )));
        for (krn, dkga) in [("1", "02"), ("2", "04")] {
            self.gateway(&words(&format!(
                "vending-key generate --sgc 000439 --krn {krn} --kt 2 --dkga {dkga} --bdt 2014"
            )));
        }
    }

    /// Another Postfix in its place, without the gateway: these files as they
    /// are, but for what it takes to run it as this site.
    pub fn replace_postfix(&self, main: &str, master: &str) {
        let directory = self.directory().join("etc");
        fs::write(directory.join("main.cf"), main).expect("main.cf");
        let address = self.address.address;
        let at_own_address = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [name, "inet", ..] if !name.starts_with('#') => format!("{address}:{line}\n"),
            _ => format!("{line}\n"),
        };
        let master: String = master.lines().map(at_own_address).collect();
        fs::write(directory.join("master.cf"), master).expect("master.cf");
        let site = self.directory().display();
        for parameter in [
            format!("queue_directory = {site}/queue"),
            format!("data_directory = {site}/data"),
            format!("maillog_file = {site}/log/mail.log"),
            format!("maillog_file_prefixes = {site}/log"),
            "inet_interfaces = loopback-only".to_owned(),
            "inet_protocols = ipv4".to_owned(),
            "mynetworks = 127.0.0.0/8".to_owned(),
            "myhostname = mail.kms.example.org".to_owned(),
            "mydestination =".to_owned(),
            "alias_maps =".to_owned(),
            "smtpd_peername_lookup = no".to_owned(),
            "default_transport = error:5.1.2 nothing leaves this machine".to_owned(),
            "virtual_mailbox_domains = kms.example.org, vendor.example".to_owned(),
            format!("virtual_mailbox_maps = texthash:{site}/etc/mailboxes"),
            format!("virtual_mailbox_base = {site}/mail"),
            "virtual_uid_maps = static:65534".to_owned(),
            "virtual_gid_maps = static:65534".to_owned(),
        ] {
            run(self.postconf().arg("-e").arg(parameter), b"");
        }
    }

    /// A file of Postfix's configuration.
    pub fn postfix_file(&self, name: &str) -> PathBuf {
        self.directory().join("etc").join(name)
    }

    /// The value of a parameter of main.cf, as it is written there.
    pub fn postfix_parameter(&self, name: &str) -> String {
        run(self.postconf().arg("-h").arg(name), b"")
            .trim_end()
            .to_owned()
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The address with one of the ports that `postfix/` names.
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address.address, port))
    }

    /// The gateway's configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory().join("gateway/gateway.toml")
    }

    /// Sets a parameter of main.cf: `name=value`.
    pub fn set_postfix(&self, parameter: &str) {
        run(self.postconf().arg(parameter), b"");
    }

    /// Lets an SMTP client say whose connection it speaks for.
    pub fn allow_xclient(&self) {
        self.set_postfix("inet_protocols=all");
        self.set_postfix("smtpd_authorized_xclient_hosts=127.0.0.0/8");
    }

    /// Sets a parameter of the service at one of the ports: `name=value`.
    pub fn set_postfix_service(&self, port: u16, parameter: &str) {
        run(
            self.postconf()
                .arg("-P")
                .arg(format!("{}/inet/{parameter}", self.port(port))),
            b"",
        );
    }

    /// Adds a service to master.cf: `name/type=entry`.
    pub fn add_postfix_service(&self, service: &str) {
        run(self.postconf().arg("-M").arg(service), b"");
    }

    fn postconf(&self) -> Command {
        let mut command = Command::new("postconf");
        command.arg("-c").arg(self.directory().join("etc"));
        command
    }

    /// Has the gateway hand replies to a port that is closed as yet, and gives it.
    pub fn close_reply_port(&self) -> SocketAddr {
        let port = self.port(CLOSED);
        self.set_gateway("reply", "smtp", port.to_string());
        port
    }

    /// Sets a key of the gateway's configuration.
    pub fn set_gateway(&self, table: &str, key: &str, value: impl Into<toml::Value>) {
        self.edit_gateway(table, |table| table.insert(key.to_owned(), value.into()));
    }

    /// Takes a key out of the gateway's configuration.
    pub fn unset_gateway(&self, table: &str, key: &str) {
        self.edit_gateway(table, |table| table.remove(key));
    }

    fn edit_gateway<T>(&self, table: &str, edit: impl FnOnce(&mut toml::Table) -> T) {
        let text = fs::read_to_string(self.config()).expect("the configuration");
        let mut config: toml::Table = text.parse().expect("TOML");
        let table = config
            .entry(table)
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
            .expect("a table");
        edit(table);
        fs::write(self.config(), config.to_string()).expect("the configuration");
    }

    /// Runs a command of the gateway, which must succeed.
    pub fn gateway(&self, arguments: &[&str]) -> String {
        run(&mut kms_gateway(&self.config(), arguments), b"")
    }

    /// Runs a command of the gateway to whatever end.
    pub fn try_gateway(&self, arguments: &[&str]) -> Output {
        command::output(&mut kms_gateway(&self.config(), arguments), b"")
    }

    /// How many messages the audit log has of this rule or event: those that an
    /// entry counts, and those that are counted and not yet in an entry.
    pub fn audited(&self, what: &str) -> u64 {
        let json = self.gateway(&["audit", "list", "--json"]);
        let entries: Vec<Value> = serde_json::from_str(&json).expect("an array");
        let of = |entry: &&Value| entry["rule"] == what || entry["event"] == what;
        let in_entries = entries.iter().filter(of);
        let in_entries = in_entries.map(|entry| entry["count"].as_u64().unwrap_or(1));
        let not_in_entries = format!(
            "SELECT coalesce(sum(counted), 0) FROM audit_counts
             WHERE kind = '{what}' OR kind LIKE '{what} %'"
        );
        let not_in_entries = self.sqlite(&not_in_entries);
        in_entries.sum::<u64>() + not_in_entries.trim().parse::<u64>().expect("a number")
    }

    /// Runs statements on the gateway's database, as an administrator's tool may,
    /// and gives what they print.
    pub fn sqlite(&self, statements: &str) -> String {
        let database = self.directory().join("gateway/gateway.sqlite3");
        let timeout = ".timeout 10000";
        let mut sqlite = Command::new("sqlite3");
        run(
            sqlite.args(["-cmd", timeout]).arg(database).arg(statements),
            b"",
        )
    }

    /// Starts the gateway.
    pub fn start_gateway(&self) -> Gateway {
        Gateway::start(self.serve(), &self.gateway_log(), self.port(8890))
    }

    /// Starts the gateway, which listens at a Unix socket.
    pub fn start_gateway_at(&self, socket: &Path) -> Gateway {
        Gateway::start_until(self.serve(), &self.gateway_log(), || {
            UnixStream::connect(socket).is_ok()
        })
    }

    /// Starts the gateway with strace looking on, by these options.
    pub fn start_traced_gateway(&self, options: &[&str]) -> Gateway {
        // -D: strace is the grandchild and the gateway our own child, which we can
        // signal. The gateway would outlive a strace in between.
        self.start_gateway_by(&[&["strace", "-D", "-f"], options].concat())
    }

    /// Starts the gateway by a program that becomes it, with its arguments.
    pub fn start_gateway_by(&self, launcher: &[&str]) -> Gateway {
        Gateway::start(
            self.serve_by(launcher),
            &self.gateway_log(),
            self.port(8890),
        )
    }

    /// The same without waiting until it listens. It may end before.
    pub fn spawn_gateway_by(&self, launcher: &[&str]) -> Gateway {
        Gateway::spawn(self.serve_by(launcher), &self.gateway_log())
    }

    fn serve_by(&self, launcher: &[&str]) -> Command {
        let serve = self.serve();
        let mut command = Command::new(launcher[0]);
        command.args(&launcher[1..]);
        command.arg(serve.get_program()).args(serve.get_args());
        command
    }

    fn gateway_log(&self) -> PathBuf {
        self.directory().join("gateway/serve.log")
    }

    fn serve(&self) -> Command {
        kms_gateway(&self.config(), &["serve"])
    }

    /// Starts Postfix and the gateway.
    pub fn start(self) -> Site {
        let gateway = self.start_gateway();
        self.start_with(Some(gateway))
    }

    /// Starts Postfix with this gateway, or alone.
    pub fn start_with(self, gateway: Option<Gateway>) -> Site {
        Site {
            postfix: Postfix::start(self.directory()),
            gateway,
            gateway_dies: false,
            layout: self,
        }
    }
}

/// A running site.
pub struct Site {
    pub gateway: Option<Gateway>,
    /// Whether the test ends it while Postfix talks to it, so that Postfix has
    /// a reason to complain.
    pub gateway_dies: bool,
    pub postfix: Postfix,
    // Last: its directory goes when nothing runs in it any more.
    pub layout: Layout,
}

impl Site {
    /// A session with the public listener.
    pub fn smtp(&self) -> Smtp {
        Smtp::connect(self.layout.port(2525))
    }

    /// A session with the same listener without milters.
    pub fn smtp_without_milters(&self) -> Smtp {
        Smtp::connect(self.layout.port(2526))
    }

    /// The mailbox of `person`, by the local part.
    pub fn mailbox(&self, person: &str) -> Mailbox {
        let (local, _) = person.split_once('@').unwrap_or((person, ""));
        Mailbox::new(self.layout.directory().join("mail").join(local))
    }

    /// Has Postfix listen at the port that [`Layout::close_reply_port`] named, as
    /// it does for replies by `postfix/`.
    pub fn open_reply_port(&self) {
        self.open_reply_port_with("smtpd_milters=");
    }

    /// The same with this parameter instead of no milters.
    pub fn open_reply_port_with(&self, parameter: &str) {
        let port = self.layout.port(CLOSED);
        self.layout
            .add_postfix_service(&format!("{port}/inet={port} inet n - n - - smtpd"));
        self.layout.set_postfix_service(CLOSED, parameter);
        self.reload_postfix();
    }

    /// Has Postfix read its configuration again.
    pub fn reload_postfix(&self) {
        run(self.postfix.tool("postfix").arg("reload"), b"");
    }

    /// Sends Alice's request to the gateway, which must be accepted, and waits
    /// for the reply.
    pub fn ask(&self, draft: &Draft) -> Mail {
        let accepted = self.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
        assert_eq!(accepted.code, 250, "{accepted:?}");
        self.mailbox(ALICE).wait_for_reply(draft.header("Subject"))
    }

    /// Sends numbered requests from Alice. Each has four reply targets at `domain`, which
    /// Postfix refuses, before Alice's own.
    pub fn send_with_refused_targets(&self, domain: &str, count: usize) {
        let robots = (1..5).map(|number| format!("robot{number}@{domain}"));
        let reply_to: Vec<String> = robots.chain([ALICE.to_owned()]).collect();
        for number in 0..count {
            let draft = Draft::request(&format!("{{KMS:Help}} {number}"), "")
                .with("From", ALICE)
                .with("Reply-To", &reply_to.join(", "));
            let taken = self.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
            assert_eq!(taken.code, 250, "{taken:?}");
        }
    }
}

/// A failed test shows the logs. One that did not fail may yet have had trouble
/// that Postfix got over, such as a milter that did not answer in time.
impl Drop for Site {
    fn drop(&mut self) {
        let log = self.postfix.log();
        if thread::panicking() {
            eprintln!("--- Postfix's log\n{log}");
            if let Some(gateway) = &self.gateway {
                eprintln!("--- the gateway's log\n{}", gateway.log());
            }
        } else if !self.gateway_dies
            && let Some(warning) = log.lines().find(|line| line.contains("warning: milter "))
        {
            panic!("Postfix had trouble with the gateway: {warning}");
        }
    }
}
