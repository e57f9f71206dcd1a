//! PgBouncer before a PostgreSQL server: each transaction gets any of a few connections.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    process::{Child, Stdio},
    time::Duration,
};

use super::{DATABASE, Postgresql, until};

const PATIENCE: Duration = Duration::from_secs(20);

const PORT: u16 = 6432;

/// A running PgBouncer. It ends when this value is dropped.
pub struct Pgbouncer(Child);

impl Pgbouncer {
    /// Listens at a socket beside the server's, to which it has so many connections.
    pub fn start(server: &Postgresql, connections: u32) -> Self {
        Self::start_with(server, connections, "")
    }

    /// The same with further settings.
    pub fn start_with(server: &Postgresql, connections: u32, further: &str) -> Self {
        let own = server.own();
        let (users, settings) = (own.join("users"), own.join("pgbouncer.ini"));
        fs::write(&users, format!("\"{DATABASE}\" \"\"\n")).expect("its users");
        let text = format!(
            "[databases]\n\
             * = host={server}\n\
             [pgbouncer]\n\
             unix_socket_dir = {own}\n\
             listen_port = {PORT}\n\
             auth_type = trust\n\
             auth_file = {users}\n\
             pool_mode = transaction\n\
             default_pool_size = {connections}\n\
             {further}\n",
            server = server.socket().display(),
            own = own.display(),
            users = users.display(),
        );
        fs::write(&settings, text).expect("its settings");
        let log = File::create(own.join("pgbouncer.log")).expect("a log file");
        let mut command = server.program("/usr/sbin/pgbouncer");
        command
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.stderr(log).spawn();
        let pooler = Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        until("PgBouncer listens", PATIENCE, || {
            UnixStream::connect(own.join(format!(".s.PGSQL.{PORT}"))).ok()
        });
        pooler
    }

    /// The gateway's `[store] postgresql` for its socket.
    pub fn settings(&self, server: &Postgresql) -> toml::Table {
        let mut settings = server.settings();
        let socket = format!("{}:{PORT}", server.socket().display());
        settings.insert("hosts".to_owned(), vec![socket].into());
        settings
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
