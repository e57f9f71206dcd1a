//! The gateway: its commands, and the running service.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// A drain takes at most 20 s.
const PATIENCE: Duration = Duration::from_secs(40);

/// `kms-gateway --config CONFIG` with `arguments`.
pub fn kms_gateway(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kms-gateway"));
    command.arg("--config").arg(config).args(arguments);
    command
}

/// The running service. It ends when this value is dropped.
pub struct Gateway {
    child: Child,
    log: PathBuf,
}

impl Gateway {
    /// Runs `command`, which is `serve` whatever stands in front of it, and
    /// waits until Postfix could connect.
    pub fn start(command: Command, log: &Path, listen: SocketAddr) -> Self {
        Self::start_until(command, log, || TcpStream::connect(listen).is_ok())
    }

    /// The same with another way to see whether it listens.
    pub fn start_until(command: Command, log: &Path, listens: impl Fn() -> bool) -> Self {
        let mut gateway = Self::spawn(command, log);
        until("the gateway listens", PATIENCE, || {
            let ended = gateway.ended();
            assert!(
                ended.is_none(),
                "serve ended with {ended:?}:\n{}",
                gateway.log()
            );
            listens().then_some(())
        });
        gateway
    }

    /// Runs `command` and waits for nothing.
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let append = || {
            File::options()
                .create(true)
                .append(true)
                .open(log)
                .expect("a log file")
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(append())
            .stderr(append())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its state")
    }

    /// All that it logged, earlier runs included.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has logged this, and returns the whole log. A line comes a
    /// moment after its event.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        until(&format!("{text:?} in the log"), PATIENCE, || {
            Some(self.log()).filter(|log| log.contains(text))
        })
    }

    /// How each message was judged, in order: the rule, or the verdict where no
    /// rule decided. The audit log only counts what is ignored in floods. A line
    /// comes a moment after its event.
    pub fn rules(&self) -> Vec<String> {
        let log = self.log();
        let judged = log
            .lines()
            .filter(|line| line.contains(" judged queue_id="));
        let field = |line: &str, name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}="))?;
            rest.split(' ').next().map(str::to_owned)
        };
        judged
            .map(|line| field(line, "rule").or_else(|| field(line, "verdict")))
            .map(|word| word.expect("a verdict"))
            .collect()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as systemd would, and waits.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        until("the gateway's end after SIGTERM", PATIENCE, || self.ended())
    }

    /// Waits until it ends by itself.
    pub fn wait_for_end(mut self) -> ExitStatus {
        until("the gateway's end", PATIENCE, || self.ended())
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Has it hang, until it gets SIGCONT. A process goes on for a moment after
    /// SIGSTOP was sent, until one of its threads has stopped the others.
    pub fn hang(&self) {
        self.signal(Signal::STOP);
        self.wait_until_stopped();
    }

    /// Waits until SIGSTOP has stopped it, whoever sent that.
    pub fn wait_until_stopped(&self) {
        let tasks = format!("/proc/{}/task", self.child.id());
        let is_stopped = |task: io::Result<fs::DirEntry>| {
            let status = task.expect("a task").path().join("status");
            fs::read_to_string(status).is_ok_and(|status| status.contains("\nState:\tT"))
        };
        until("all of its threads have stopped", PATIENCE, || {
            let mut tasks = fs::read_dir(&tasks).expect("it runs");
            tasks.all(is_stopped).then_some(())
        });
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(id, signal).expect("the gateway runs");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
