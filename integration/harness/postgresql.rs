//! A PostgreSQL server of a test's own, in a temporary directory and at a socket there. It syncs
//! what it commits, as a real one does.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{command, run, until};

/// A loaded machine may need this long to start it, or to recover after a crash.
const PATIENCE: Duration = Duration::from_secs(60);

/// Name of the gateway's database and of its role.
pub const DATABASE: &str = "kms-gateway";

/// PostgreSQL does not run as root. Debian's package has this user.
const OWNER: &str = "postgres";

/// A server. It ends when this value is dropped.
pub struct Postgresql {
    child: Option<Child>,
    // Last: it goes when nothing runs in it any more.
    directory: TempDir,
}

impl Postgresql {
    /// A running server with the gateway's role and database.
    pub fn start() -> Self {
        let mut server = Self::stopped();
        server.launch();
        server.sql(
            "postgres",
            &format!(
                "CREATE ROLE \"{DATABASE}\" LOGIN; CREATE DATABASE \"{DATABASE}\" OWNER \"{DATABASE}\""
            ),
        );
        server
    }

    /// A server that was never started: time to change its settings.
    pub fn stopped() -> Self {
        let server = Self::without_data();
        let mut initdb = server.program("initdb");
        initdb
            .args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "-D"])
            .arg(server.data())
            // Whoever reaches the socket may be anyone.
            .args([
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                "--username",
            ])
            .arg(OWNER);
        run(&mut initdb, b"");
        server.set("listen_addresses = ''");
        server.set(&format!(
            "unix_socket_directories = '{}'",
            server.socket().display()
        ));
        server
    }

    /// A directory for a server whose data another program makes.
    pub fn without_data() -> Self {
        let directory = TempDir::with_prefix("postgresql-").expect("a temporary directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let server = Self {
            child: None,
            directory,
        };
        let mut install = Command::new("install");
        install.args(["--directory", "--owner", OWNER, "--group", OWNER]);
        run(install.arg(server.own()), b"");
        server
    }

    /// Adds a line to its settings, which counts from the next start or reload.
    pub fn set(&self, line: &str) {
        let file = self.data().join("postgresql.conf");
        let mut file = File::options().append(true).open(file).expect("settings");
        writeln!(file, "{line}").expect("a line");
    }

    /// Starts it, and waits until it answers.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.expect("a log file");
        let mut postgres = self.program("postgres");
        postgres
            .arg("-D")
            .arg(self.data())
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("the log file"))
            .stdout(log);
        let child = postgres.spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{postgres:?}: {error}")));
        until("PostgreSQL answers", PATIENCE, || {
            let ended = self.child.as_mut().expect("it").try_wait();
            let ended = ended.expect("its state");
            assert!(ended.is_none(), "it ended:\n{}", self.said());
            let asked =
                command::output(self.program("pg_isready").arg("-h").arg(self.socket()), b"");
            (asked.code == Some(0)).then_some(())
        });
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        let ended = self.end(Signal::INT);
        assert_eq!(ended.code(), Some(0), "{}", self.said());
    }

    /// Ends it at once, as `pg_ctl stop -m immediate` does. The next start recovers.
    pub fn stop_at_once(&mut self) {
        self.end(Signal::QUIT);
    }

    /// Kills its first process. The others end when they notice.
    pub fn kill(&mut self) {
        let ended = self.end(Signal::KILL);
        assert_eq!(ended.signal(), Some(Signal::KILL.as_raw()));
    }

    fn end(&mut self, signal: Signal) -> std::process::ExitStatus {
        self.signal(signal);
        let mut child = self.child.take().expect("it runs");
        let ended = until("PostgreSQL ends", PATIENCE, || {
            child.try_wait().expect("its state")
        });
        // A process that is left keeps the memory, without which none starts.
        until("the end of its other processes", PATIENCE, || {
            self.processes_left().is_empty().then_some(())
        });
        ended
    }

    /// Has it read its settings again.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends a signal to its first process.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process id"), signal).expect("it runs");
    }

    /// Runs statements in a database as its administrator, and gives the rows that they print.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut psql = self.program("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set=ON_ERROR_STOP=1", "--file=-", "-U", OWNER, "-h"])
            .arg(self.socket())
            .arg(database);
        run(&mut psql, statements.as_bytes())
    }

    /// The gateway's `[store] postgresql` for the socket.
    pub fn settings(&self) -> toml::Table {
        let mut settings = toml::Table::new();
        let socket = self.socket().to_str().expect("a path in UTF-8").to_owned();
        settings.insert("hosts".to_owned(), vec![socket].into());
        settings
    }

    /// A program of PostgreSQL's, not as root.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={OWNER}"))
            .arg(format!("--regid={OWNER}"))
            .arg("--clear-groups")
            .arg(programs().join(name))
            .current_dir(self.directory.path());
        command
    }

    /// The directory of its data.
    pub fn data(&self) -> PathBuf {
        self.own().join("data")
    }

    /// The directory of its socket.
    pub fn socket(&self) -> PathBuf {
        self.own()
    }

    /// A directory that belongs to the server's user.
    pub fn own(&self) -> PathBuf {
        self.directory.path().join("own")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// All that it logged.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Each of its processes works in the directory of its data.
    fn processes_left(&self) -> Vec<PathBuf> {
        let data = self.data();
        let works_there = |process: &PathBuf| {
            fs::read_link(process.join("cwd")).is_ok_and(|directory| directory == data)
        };
        let processes = fs::read_dir("/proc").expect("the processes");
        processes
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(works_there)
            .collect()
    }
}

impl Drop for Postgresql {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- PostgreSQL's log\n{}", self.said());
        }
        let Some(mut child) = self.child.take() else {
            return;
        };
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, Signal::QUIT);
        }
        let _ = child.wait();
    }
}

/// The newest version that Debian has installed.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("the package postgresql");
    let version = |path: &PathBuf| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    let versions = versions.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = versions.max_by_key(version).expect("a version");
    Path::new(&newest).join("bin")
}
