//! A real DNSBL server, and a way to it that loses or delays what it carries.

use std::{
    fs::{self, File},
    net::{SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::until;

const PATIENCE: Duration = Duration::from_secs(20);

/// The test entries of RFC 5782, in a zone of IPv4 and in one of IPv6 addresses.
pub const WELL: &str = "127.0.0.2\n";
pub const WELL_V6: &str = "::ffff:7f00:2/128\n";

/// rbldnsd with some zones. It ends when this value is dropped.
pub struct Rbldnsd {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Rbldnsd {
    /// Serves zones, each of a dataset type and with the entries in its file,
    /// with replies that may be kept for `ttl` seconds.
    pub fn start(site: &Path, address: SocketAddr, ttl: u32, zones: &[(&str, &str, &str)]) -> Self {
        let directory = site.join("rbldnsd");
        fs::create_dir(&directory).expect("a directory");
        // It never serves as root.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("its mode");
        for (zone, dataset, entries) in zones {
            write_zone(&directory.join(file_name(zone, dataset)), zone, entries);
        }
        let log = File::create(directory.join("log")).expect("a log file");
        let mut command = Command::new("/usr/sbin/rbldnsd");
        command
            .args(["-n", "-c", "0", "-l", "+-", "-t", &ttl.to_string(), "-b"])
            .arg(format!("{}/{}", address.ip(), address.port()))
            .arg("-w")
            .arg(&directory);
        for (zone, dataset, _) in zones {
            command.arg(format!("{zone}:{dataset}:{}", file_name(zone, dataset)));
        }
        let child = command
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("the log file"))
            .stdout(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let server = Self {
            child,
            directory,
            address,
        };
        until("rbldnsd serves", PATIENCE, || {
            server.log().contains(" started (").then_some(())
        });
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts other entries into a zone of IPv4 addresses, and waits until they
    /// are served.
    pub fn set(&self, zone: &str, entries: &str) {
        let reloads = || self.log().matches("zones reloaded").count();
        let before = reloads();
        let file = self.directory.join(file_name(zone, "ip4trie"));
        let changed = fs::metadata(&file).and_then(|old| old.modified());
        write_zone(&file, zone, entries);
        // rbldnsd takes a file for unchanged unless it is a second younger.
        File::options()
            .append(true)
            .open(&file)
            .and_then(|file| file.set_modified(changed? + Duration::from_secs(2)))
            .expect("the time of its change");
        self.signal(Signal::HUP);
        until("rbldnsd serves other entries", PATIENCE, || {
            (reloads() > before).then_some(())
        });
    }

    /// The names that were asked for, with their types, in order.
    pub fn queries(&self) -> Vec<String> {
        let log = self.log();
        let asked = log.lines().filter_map(|line| {
            let (query, _) = line.split_once(" IN: ")?;
            Some(query.splitn(3, ' ').nth(2)?.to_owned())
        });
        asked.collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(id, signal).expect("rbldnsd runs");
    }
}

fn file_name(zone: &str, dataset: &str) -> String {
    format!("{zone}.{dataset}")
}

/// A zone file that says how long "no" may be kept: as long as "yes".
fn write_zone(file: &Path, zone: &str, entries: &str) {
    let text = format!("$SOA 0 ns.{zone}. hostmaster.{zone}. 1 1h 1h 1h 0\n{entries}");
    fs::write(file, text).expect("a zone file");
}

impl Drop for Rbldnsd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Carries questions to a DNS server and its answers back, at a pace that the test
/// sets. It ends when this value is dropped.
pub struct SlowWay {
    pace: Arc<Pace>,
    carrier: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Pace {
    milliseconds: AtomicU64,
    loses_all: AtomicBool,
    is_over: AtomicBool,
}

impl SlowWay {
    pub fn open(from: SocketAddr, to: SocketAddr) -> Self {
        let socket = Arc::new(UdpSocket::bind(from).expect("an address"));
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a limit");
        let pace = Arc::new(Pace::default());
        let own = pace.clone();
        let carrier = thread::spawn(move || {
            let mut question = [0; 4096];
            while !own.is_over.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut question) else {
                    continue;
                };
                if own.loses_all.load(Ordering::Relaxed) {
                    continue;
                }
                let (socket, question) = (socket.clone(), question[..length].to_vec());
                let delay = Duration::from_millis(own.milliseconds.load(Ordering::Relaxed));
                thread::spawn(move || {
                    thread::sleep(delay);
                    if let Some(answer) = ask(to, &question) {
                        let _ = socket.send_to(&answer, client);
                    }
                });
            }
        });
        Self {
            pace,
            carrier: Some(carrier),
        }
    }

    /// From now on an answer takes this long.
    pub fn takes(&self, delay: Duration) {
        let milliseconds = u64::try_from(delay.as_millis()).expect("a short time");
        self.pace
            .milliseconds
            .store(milliseconds, Ordering::Relaxed);
        self.pace.loses_all.store(false, Ordering::Relaxed);
    }

    /// From now on nothing arrives.
    pub fn loses_all(&self) {
        self.pace.loses_all.store(true, Ordering::Relaxed);
    }
}

fn ask(server: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((server.ip(), 0)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.send_to(question, server).ok()?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).ok()?;
    answer.truncate(length);
    Some(answer)
}

impl Drop for SlowWay {
    fn drop(&mut self) {
        self.pace.is_over.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}
