//! A socket in front of the server's, by which a gateway goes. It can be cut, and it can lose a
//! commit or the answer to it.

use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tempfile::TempDir;

use crate::harness::Postgresql;

/// Name of the socket in the directories that `hosts` names.
const SOCKET: &str = ".s.PGSQL.5432";

/// A simple query, as the protocol frames it: type, length, text and NUL.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
const BEGIN: &[u8] = b"BEGIN";

/// The fate of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The connection ends before the server gets it.
    Lost,
    /// The server commits. The connection ends before the gateway gets the answer.
    AnswerLost,
    /// From here on nothing passes, for any connection.
    Cut,
}

/// The socket. It is open until the test's process ends.
pub struct Wire {
    directory: TempDir,
    passing: Arc<Passing>,
}

/// Decides whether bytes pass, for all connections.
#[derive(Default)]
struct Passing {
    is_cut: Mutex<bool>,
    mended: Condvar,
    /// The fate of the next transaction that has this statement.
    fate: Mutex<Option<(Fate, &'static [u8])>>,
}

impl Wire {
    pub fn to(server: &Postgresql) -> Self {
        let directory = TempDir::with_prefix("wire-").expect("a temporary directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let listener = UnixListener::bind(directory.path().join(SOCKET)).expect("the socket");
        let passing = Arc::<Passing>::default();
        let wire = Self {
            directory,
            passing: passing.clone(),
        };
        let server = server.socket().join(SOCKET);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Without a server the client is sent away.
                if let Ok(server) = UnixStream::connect(&server) {
                    connect(client, server, &passing);
                }
            }
        });
        wire
    }

    /// Directory of the socket.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Plans the fate of the next commit after this statement.
    pub fn plan(&self, fate: Fate, statement: &'static str) {
        *lock(&self.passing.fate) = Some((fate, statement.as_bytes()));
    }

    /// Whether the planned fate has come.
    pub fn has_happened(&self) -> bool {
        lock(&self.passing.fate).is_none()
    }

    /// Lets everything pass again.
    pub fn mend(&self) {
        *lock(&self.passing.is_cut) = false;
        self.passing.mended.notify_all();
    }
}

impl Passing {
    /// The fate of a transaction that is to be committed, once.
    fn fate_of(&self, transaction: &[u8]) -> Option<Fate> {
        let mut planned = lock(&self.fate);
        let (fate, statement) = (*planned)?;
        let is_it = transaction
            .windows(statement.len())
            .any(|part| part == statement);
        is_it.then(|| {
            if fate == Fate::Cut {
                *lock(&self.is_cut) = true;
            }
            *planned = None;
            fate
        })
    }

    fn wait_until_whole(&self) {
        let is_cut = lock(&self.is_cut);
        drop(self.mended.wait_while(is_cut, |is_cut| *is_cut));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic")
}

/// Moves the bytes of one connection in both directions.
fn connect(client: UnixStream, server: UnixStream, passing: &Arc<Passing>) {
    let loses_answer = Arc::new(AtomicBool::new(false));
    let direction = |from: &UnixStream, to: &UnixStream| Direction {
        from: from.try_clone().expect("a socket"),
        to: to.try_clone().expect("a socket"),
        passing: passing.clone(),
        loses_answer: loses_answer.clone(),
    };
    let there = direction(&client, &server);
    let back = direction(&server, &client);
    thread::spawn(move || there.carry_questions());
    thread::spawn(move || back.carry_answers());
}

/// One direction of a connection.
struct Direction {
    from: UnixStream,
    to: UnixStream,
    passing: Arc<Passing>,
    loses_answer: Arc<AtomicBool>,
}

impl Direction {
    fn carry_questions(mut self) {
        let mut transaction = Vec::new();
        while let Some(piece) = self.read() {
            if piece.windows(BEGIN.len()).any(|part| part == BEGIN) {
                transaction.clear();
            }
            transaction.extend_from_slice(&piece);
            // The gateway waits for each answer, so that a commit comes alone.
            let fate = (piece == COMMIT).then(|| self.passing.fate_of(&transaction));
            match fate.flatten() {
                Some(Fate::Lost) => break,
                Some(Fate::AnswerLost) => self.loses_answer.store(true, Ordering::SeqCst),
                Some(Fate::Cut) | None => {}
            }
            if !self.write(&piece) {
                break;
            }
        }
        self.end();
    }

    fn carry_answers(mut self) {
        while let Some(piece) = self.read() {
            if self.loses_answer.load(Ordering::SeqCst) || !self.write(&piece) {
                break;
            }
        }
        self.end();
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let mut piece = vec![0; 1 << 16];
        let length = self
            .from
            .read(&mut piece)
            .ok()
            .filter(|&length| length > 0)?;
        piece.truncate(length);
        Some(piece)
    }

    fn write(&mut self, piece: &[u8]) -> bool {
        self.passing.wait_until_whole();
        self.to.write_all(piece).is_ok()
    }

    /// A side that has ended learns nothing more of the other while the wire is cut.
    fn end(&self) {
        self.passing.wait_until_whole();
        let _ = self.from.shutdown(Shutdown::Both);
        let _ = self.to.shutdown(Shutdown::Both);
    }
}
