//! The milters that the gateway's is compared with, each a process of its own:
//! two by indymilter, in this very program, and one by pymilter.

use std::{
    env,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use indymilter::{Actions, Callbacks, Config, ProtoOpts, Status};

use kms_gateway::{mail::Address, worker::Injector};
use tokio::sync::{Mutex, mpsc};

use super::harness::{python, until};

/// The address at which the peers answer requests.
pub const RESPONDER: &str = "responder@kms.example.org";

/// A running milter, ended when dropped.
pub struct Peer(Child);

impl Peer {
    /// One of those that [`serve`] knows.
    pub fn indymilter(kind: &str, address: SocketAddr) -> Self {
        Self::of_this_program(kind, address, &[])
    }

    /// The one that replies through `smtp`.
    pub fn ceiling(address: SocketAddr, smtp: SocketAddr) -> Self {
        Self::of_this_program("ceiling", address, &[&smtp.to_string()])
    }

    /// A responder by pymilter, which replies through `smtp`.
    pub fn pymilter(address: SocketAddr, smtp: SocketAddr) -> Self {
        let mut command = python("bench/milter_responder.py");
        command.args([address.to_string(), smtp.to_string()]);
        Self::start(command, address)
    }

    fn of_this_program(kind: &str, address: SocketAddr, rest: &[&str]) -> Self {
        let mut command = Command::new(env::current_exe().expect("this program"));
        command
            .args(["peer", kind, &address.to_string()])
            .args(rest);
        Self::start(command, address)
    }

    fn start(mut command: Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        let mut peer = Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        until("the milter listens", Duration::from_secs(20), || {
            let ended = peer.0.try_wait().expect("its state");
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            TcpStream::connect(address).ok()
        });
        peer
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is a milter until its process is killed: `nothing` takes every stage and does
/// nothing in it, `floor` is the least that sees recipients, `ceiling` answers
/// requests and does no more for it than hand over a reply.
#[tokio::main]
pub async fn serve(kind: &str, address: &str, rest: &[&str]) -> ExitCode {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .expect("a port");
    let config = Config {
        max_connections: 2_000,
        ..Config::default()
    };
    let never = std::future::pending::<()>();
    let ended = match (kind, rest) {
        ("nothing", []) => indymilter::run(listener, nothing(), config, never).await,
        ("floor", []) => indymilter::run(listener, floor(), config, never).await,
        ("ceiling", [smtp]) => {
            let smtp = smtp.parse().expect("an address");
            indymilter::run(listener, ceiling(smtp), config, never).await
        }
        _ => panic!("no milter {kind} {rest:?}"),
    };
    ended.expect("a milter");
    ExitCode::SUCCESS
}

fn nothing() -> Callbacks<()> {
    Callbacks::new()
        .on_connect(|_, _, _| Box::pin(async { Status::Continue }))
        .on_helo(|_, _| Box::pin(async { Status::Continue }))
        .on_mail(|_, _| Box::pin(async { Status::Continue }))
        .on_rcpt(|_, _| Box::pin(async { Status::Continue }))
        .on_data(|_| Box::pin(async { Status::Continue }))
        .on_header(|_, _, _| Box::pin(async { Status::Continue }))
        .on_eoh(|_| Box::pin(async { Status::Continue }))
        .on_body(|_, _| Box::pin(async { Status::Continue }))
        .on_eom(|_| Box::pin(async { Status::Continue }))
}

fn floor() -> Callbacks<()> {
    Callbacks::new()
        .on_negotiate(|context, _, offered| {
            context.requested_opts =
                (ProtoOpts::NOREPLY_CONNECT | ProtoOpts::NOREPLY_MAIL) & offered;
            context.requested_actions = Actions::empty();
            Box::pin(async { Status::Continue })
        })
        .on_connect(|_, _, _| Box::pin(async { Status::Noreply }))
        .on_mail(|_, _| Box::pin(async { Status::Noreply }))
        .on_rcpt(|_, _| Box::pin(async { Status::Continue }))
        .on_data(|_| Box::pin(async { Status::Accept }))
}

/// A reply on its way: to whom, and the request's Subject.
type Reply = (String, String);

/// Takes what a responder must, keeps nothing, and has replies go out by sessions
/// that stay open: what is left of the rate is Postfix's own.
fn ceiling(smtp: SocketAddr) -> Callbacks<Reply> {
    let (replies, waiting) = mpsc::unbounded_channel();
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..4 {
        tokio::spawn(hand_over(smtp, waiting.clone()));
    }
    Callbacks::new()
        .on_negotiate(|context, _, offered| {
            let unanswered = ProtoOpts::NOREPLY_CONNECT
                | ProtoOpts::NOREPLY_MAIL
                | ProtoOpts::NOREPLY_HEADER
                | ProtoOpts::NOREPLY_EOH;
            context.requested_opts = unanswered & offered;
            Box::pin(async { Status::Continue })
        })
        .on_connect(|_, _, _| Box::pin(async { Status::Noreply }))
        .on_mail(|context, _| {
            context.data = Some(Reply::default());
            Box::pin(async { Status::Noreply })
        })
        .on_rcpt(|_, _| Box::pin(async { Status::Continue }))
        .on_data(|_| Box::pin(async { Status::Continue }))
        .on_header(|context, name, value| {
            if let Some((from, subject)) = &mut context.data {
                let value = value.to_string_lossy().into_owned();
                match name.to_bytes() {
                    b"From" => *from = value,
                    b"Subject" => *subject = value,
                    _ => {}
                }
            }
            Box::pin(async { Status::Noreply })
        })
        .on_eoh(|_| Box::pin(async { Status::Noreply }))
        .on_eom(move |context| {
            let reply = context.data.take().expect("a message");
            replies.send(reply).expect("somebody who waits");
            Box::pin(async { Status::Discard })
        })
}

async fn hand_over(smtp: SocketAddr, waiting: Arc<Mutex<mpsc::UnboundedReceiver<Reply>>>) {
    let mut session = None;
    loop {
        let reply = waiting.lock().await.recv().await;
        let (from, subject) = reply.expect("the milter runs");
        let text = "Send a mail in plain text; its Subject must begin with a service code.\r\n";
        let message = format!(
            "From: {RESPONDER}\r\nTo: {from}\r\nSubject: Auto: {subject}\r\nAuto-Submitted: auto-replied\r\n\r\n{}",
            text.repeat(40)
        );
        let mut open = match session.take() {
            Some(open) => open,
            None => Injector::connect(smtp, "ceiling.example")
                .await
                .expect("Postfix"),
        };
        let target = Address::parse(&from).expect("an address");
        open.send("", &target, message.as_bytes())
            .await
            .expect("a reply is taken");
        session = Some(open);
    }
}
