//! The external key management system of the tests, and what may be in its
//! place.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Layout, OpenedKey, SoftwareModule, python, run, until, words};

const PATIENCE: Duration = Duration::from_secs(20);

/// `reference_kms.py` with a KMC key and two vending keys of the
/// supply group 000439, as the embedded one of [`Layout::new`] has them.
pub struct ReferenceKms {
    directory: PathBuf,
    serving: Option<Child>,
}

impl ReferenceKms {
    /// A site whose gateway asks one, which does not run yet.
    pub fn laid_out(curve: &str) -> (Layout, Self) {
        let layout = Layout::without_keys();
        let kms = Self::new(&layout, "kms", curve);
        kms.be_asked(&layout);
        (layout, kms)
    }

    /// The same with short waits.
    pub fn impatient(notice_after: &str, give_up: &str) -> (Layout, Self) {
        let (layout, kms) = Self::laid_out("P-384");
        for (table, key, time) in [
            ("kms", "connect_timeout", "1s"),
            ("kms", "request_timeout", "1s"),
            ("kms", "answer_timeout", "1s"),
            ("kms", "acceptance_timeout", "500ms"),
            ("worker", "lease", "4s"),
            ("worker", "first_retry", "1s"),
            ("worker", "longest_retry", "2s"),
            ("worker", "notice_after", notice_after),
            ("worker", "give_up", give_up),
        ] {
            layout.set_gateway(table, key, time);
        }
        (layout, kms)
    }

    /// One that is laid out and does not serve yet.
    pub fn new(layout: &Layout, name: &str, curve: &str) -> Self {
        let directory = layout.directory().join(name);
        fs::create_dir(&directory).expect("a directory");
        let kms = Self {
            directory,
            serving: None,
        };
        kms.command(&words(&format!("init --curve {curve}")));
        for key in ["--krn 1 --dkga 02", "--krn 2 --dkga 04"] {
            kms.command(&words(&format!("add-vending-key --sgc 000439 {key}")));
        }
        kms
    }

    /// Has the gateway ask it, and gives the gateway what it needs even so.
    pub fn be_asked(&self, layout: &Layout) {
        let socket = self.socket();
        layout.set_gateway("kms", "socket", socket.to_str().expect("a path in UTF-8"));
        layout.gateway(&words("init"));
    }

    /// Runs a command on its state.
    pub fn command(&self, arguments: &[&str]) -> String {
        let mut command = python("harness/reference_kms.py");
        command.arg(arguments[0]).arg(self.state());
        run(command.args(&arguments[1..]), b"")
    }

    /// A module that it knows.
    pub fn module(&self, layout: &Layout, name: &str) -> SoftwareModule {
        let module = SoftwareModule::unregistered(layout, name);
        self.register(&module.registration());
        module
    }

    /// Registers a module for the vending keys' supply group.
    pub fn register(&self, registration: &str) {
        self.command(&["add-module", registration, "--sgc", "000439"]);
    }

    pub fn public_key(&self) -> String {
        self.command(&["show", "public-key"])
    }

    /// Its vending keys by their check values.
    pub fn vending_keys(&self) -> Vec<OpenedKey> {
        let shown = self.command(&["show", "vending-keys"]);
        shown.lines().map(OpenedKey::in_words).collect()
    }

    /// The key load files that it has issued, a line each.
    pub fn history(&self) -> Vec<String> {
        let shown = self.command(&["show", "history"]);
        shown.lines().map(str::to_owned).collect()
    }

    /// How often it was asked what.
    pub fn asked(&self, question: &str) -> usize {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        log.lines()
            .filter(|line| line.starts_with(question))
            .count()
    }

    pub fn state(&self) -> PathBuf {
        self.directory.join("kms.json")
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("kms.sock")
    }

    pub fn start(&mut self) {
        // Whoever listened there.
        let _ = fs::remove_file(self.socket());
        let log = || {
            let file = File::options()
                .create(true)
                .append(true)
                .open(self.directory.join("log"));
            file.expect("a log file")
        };
        let mut command = python("harness/reference_kms.py");
        command.arg("serve").arg(self.state()).arg(self.socket());
        let child = command
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.serving = Some(child);
        until("the KMS serves", PATIENCE, || {
            UnixStream::connect(self.socket()).ok()
        });
    }

    /// Ends it as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.serving.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for ReferenceKms {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whoever takes questions at a socket and says the same to each.
pub struct Impostor;

impl Impostor {
    /// Listens until the test's process ends, or another takes the socket. Gives
    /// the number of connections so far.
    pub fn at(socket: &Path, says: &'static [u8], after: Duration) -> Arc<AtomicUsize> {
        let _ = fs::remove_file(socket);
        let listener = UnixListener::bind(socket).expect("the socket");
        let connections = Arc::<AtomicUsize>::default();
        let counted = connections.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    let mut question = String::new();
                    let _ = BufReader::new(&stream).read_line(&mut question);
                    thread::sleep(after);
                    let _ = (&stream).write_all(says);
                });
            }
        });
        connections
    }
}
