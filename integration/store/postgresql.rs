//! The store in PostgreSQL.

use std::{
    fs::{self, File, Permissions},
    io::Write,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    time::Duration,
};

use crate::harness::{
    ALICE, Authority, DATABASE, Draft, House, Layout, Pgbouncer, Postgresql, until, words,
};

/// A loaded machine may need this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The harness's server, which other tests rely on.
#[test]
fn a_server_keeps_what_it_committed_whatever_end_it_has() {
    let mut server = Postgresql::start();
    server.sql(DATABASE, "CREATE TABLE kept (number INTEGER)");
    let ends: [fn(&mut Postgresql); 3] =
        [Postgresql::stop, Postgresql::stop_at_once, Postgresql::kill];
    for (number, end) in ends.into_iter().enumerate() {
        server.sql(DATABASE, &format!("INSERT INTO kept VALUES ({number})"));
        end(&mut server);
        server.launch();
    }
    let kept = server.sql(DATABASE, "SELECT number FROM kept ORDER BY number");
    assert_eq!(kept, "0\n1\n2\n");
    assert_eq!(server.sql(DATABASE, "SHOW fsync"), "on\n");
}

/// A site whose store is in this server, without keys.
fn layout(server: &Postgresql) -> Layout {
    let layout = Layout::without_keys();
    layout.set_gateway("store", "postgresql", server.settings());
    layout
}

#[test]
fn a_request_is_answered_from_postgresql() {
    let server = Postgresql::start();
    let layout = layout(&server);
    layout.make_keys("P-384");
    let site = layout.start();
    site.ask(&Draft::request("{KMS:Help}", "please\n"));
    site.ask(&Draft::request("{KMS:GetPublicKey}", "please\n"));
    let layout = &site.layout;
    assert_eq!(layout.gateway(&words("queue list --json")).trim(), "[]");
    let verified = layout.gateway(&words("audit verify"));
    assert!(verified.contains("head "), "{verified}");
    let shown = layout.gateway(&words("audit list --json"));
    assert!(shown.contains("\"completed\""), "{shown}");
    let file = layout.directory().join("gateway/gateway.sqlite3");
    assert!(!file.exists(), "a database beside the server's");
    let kept = server.sql(DATABASE, "SELECT count(*) FROM reply_targets");
    assert_eq!(kept, "1\n", "{ALICE}");
}

/// Two connections for the writer, the readers and the commands together.
#[test]
fn a_pooler_may_give_each_transaction_another_connection() {
    let server = Postgresql::start();
    let pooler = Pgbouncer::start(&server, 2);
    let layout = Layout::without_keys();
    layout.set_gateway("store", "postgresql", pooler.settings(&server));
    layout.make_keys("P-384");
    let mut site = layout.start();
    for number in 0..5 {
        site.ask(&Draft::request(
            &format!("{{KMS:Help}} {number}"),
            "please\n",
        ));
    }
    let clients = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kms-gateway'";
    let clients = server.sql(DATABASE, clients);
    assert!(["1", "2"].contains(&clients.trim()), "{clients}");
    let layout = &site.layout;
    layout.gateway(&words("audit verify"));
    let backup = layout.directory().join("gateway/backup");
    layout.gateway(&["backup", backup.to_str().expect("UTF-8")]);
    assert!(site.gateway.take().expect("it runs").stop().success());
    until("the keys are sealed anew", PATIENCE, || {
        let ended = site.layout.try_gateway(&words("secret rewrap --rekey"));
        ended.code.filter(|&code| code == 0)
    });
    site.layout.gateway(&words("audit verify"));
}

#[test]
fn init_makes_the_tables_once_and_nothing_else_does() {
    let server = Postgresql::start();
    let layout = layout(&server);
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    for command in ["queue list", "audit list", "backup new", "serve"] {
        let refused = layout.try_gateway(&words(command));
        assert_eq!(refused.code, Some(1), "{command}: {refused:?}");
        assert_eq!(refused.stderr.lines().count(), 1, "{command}: {refused:?}");
    }
    assert_eq!(server.sql(DATABASE, tables), "0\n");
    let refused = layout.try_gateway(&words("queue list")).stderr;
    assert!(
        refused.contains("has no tables of the gateway"),
        "{refused}"
    );

    let made = layout.gateway(&words("init --issuer Example"));
    let place = format!(
        "PostgreSQL database {DATABASE} at {}",
        server.socket().display()
    );
    assert!(
        made.contains(&format!("database:      {place}\n")),
        "{made}"
    );
    let again = layout.try_gateway(&words("init --issuer Example"));
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("exists already"), "{again:?}");

    let checked = layout.try_gateway(&["check"]).stdout;
    for fact in [
        format!("store: {place} ["),
        "database: PostgreSQL ".to_owned(),
        ", at a socket of this machine, schema version ".to_owned(),
        format!("key management system: embedded, in {place}\n"),
    ] {
        assert!(checked.contains(&fact), "{fact} in {checked}");
    }
}

#[test]
fn a_server_that_may_lose_what_it_committed_is_refused() {
    let mut server = Postgresql::start();
    let layout = layout(&server);
    layout.make_keys("P-384");
    for (setting, named) in [
        ("fsync = off", "fsync is off"),
        ("full_page_writes = off", "full_page_writes is off"),
        ("synchronous_commit = off", "synchronous_commit is off"),
    ] {
        server.stop();
        server.set(setting);
        server.launch();
        let checked = layout.try_gateway(&["check"]);
        assert_eq!(checked.code, Some(1), "{checked:?}");
        let problem = checked
            .stdout
            .lines()
            .find(|line| line.starts_with("problem: "));
        assert!(
            problem.is_some_and(|line| line.contains(named)),
            "{checked:?}"
        );
        let refused = layout.try_gateway(&["serve"]);
        assert!(refused.stderr.contains(named), "{refused:?}");
        server.set(&setting.replace("off", "on"));
    }
}

/// Has the server listen at the site's own address, with TLS for this name and with a
/// password. Gives the authority of its certificate.
fn listen(server: &mut Postgresql, layout: &Layout, name: &str, password: &str) -> Authority {
    let address = layout.port(5432);
    let directory = server.own().join(name.replace([':', '.'], "-"));
    fs::create_dir(&directory).expect("a directory");
    let authority = Authority::new(&directory);
    authority.certify(name);
    let key = directory.join("server.key");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("its mode");
    give(&key, &server.data());
    server.stop();
    server.set(&format!("listen_addresses = '{}'", address.ip()));
    server.set("ssl = on");
    server.set(&format!(
        "ssl_cert_file = '{}'",
        directory.join("server.pem").display()
    ));
    server.set(&format!("ssl_key_file = '{}'", key.display()));
    let hosts = File::options()
        .append(true)
        .open(server.data().join("pg_hba.conf"));
    writeln!(
        hosts.expect("it"),
        "hostssl all all 127.0.0.0/8 scram-sha-256"
    )
    .expect("a line");
    server.launch();
    server.sql(
        "postgres",
        &format!("ALTER ROLE \"{DATABASE}\" PASSWORD '{password}'"),
    );
    authority
}

/// Gives a file to the owner of another.
fn give(file: &Path, other: &Path) {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(other).expect("it");
    chown(file, Some(owner.uid()), Some(owner.gid())).expect("its owner");
}

#[test]
fn a_server_elsewhere_is_verified_and_asks_for_the_password() {
    let mut server = Postgresql::start();
    let layout = Layout::without_keys();
    let address = layout.port(5432);
    let authority = listen(
        &mut server,
        &layout,
        &format!("IP:{}", address.ip()),
        "open sesame",
    );
    let password = layout.directory().join("gateway/password");
    let write_password = |text: &str| {
        fs::write(&password, text).expect("the password");
        fs::set_permissions(&password, Permissions::from_mode(0o600)).expect("its mode");
    };
    write_password("open sesame\n");
    let at_socket = server.settings();
    let settings = |ca_file: &Path| {
        let mut settings = at_socket.clone();
        settings.insert("hosts".to_owned(), vec![address.ip().to_string()].into());
        settings.insert(
            "password_file".to_owned(),
            password.to_str().expect("UTF-8").into(),
        );
        settings.insert(
            "ca_file".to_owned(),
            ca_file.to_str().expect("UTF-8").into(),
        );
        settings
    };
    layout.set_gateway("store", "postgresql", settings(&authority.certificate()));
    layout.make_keys("P-384");
    let checked = layout.try_gateway(&["check"]).stdout;
    let fact = format!(", by TLS from {} port 5432, schema version ", address.ip());
    assert!(checked.contains(&fact), "{checked}");
    let house = House::of(layout);
    let layout = &house.layout;

    let refused = |why: &str| {
        let ended = layout.try_gateway(&words("queue list"));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains(why), "{why}: {ended:?}");
    };
    write_password("another");
    refused("password authentication failed");
    write_password("open sesame");
    fs::set_permissions(&password, Permissions::from_mode(0o640)).expect("its mode");
    refused("mode 0640 lets others in");
    write_password("open sesame");
    layout.gateway(&words("queue list"));

    let unknown = server.own().join("unknown");
    fs::create_dir(&unknown).expect("a directory");
    let unknown = Authority::new(&unknown).certificate();
    layout.set_gateway("store", "postgresql", settings(&unknown));
    refused("invalid peer certificate");
    layout.set_gateway("store", "postgresql", settings(Path::new("/etc/passwd")));
    refused("has no certificate");
    drop(house.gateway);
    let layout = house.layout;
    let other = listen(&mut server, &layout, "DNS:db1.example", "open sesame");
    layout.set_gateway("store", "postgresql", settings(&other.certificate()));
    let ended = layout.try_gateway(&words("queue list"));
    assert!(ended.stderr.contains("not valid for name"), "{ended:?}");
}
