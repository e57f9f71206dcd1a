//! The other side of the milter protocol, packet by packet: what Postfix sends,
//! and what it never would.

use std::{
    io::{BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// As for SMTP: shorter than what Postfix would wait.
const PATIENCE: Duration = Duration::from_secs(40);

/// Protocol version, actions and protocol options, as Postfix offers them.
const OFFER: [u32; 3] = [6, 0x1ff, 0x1f_ffff];

/// The bytes of a packet that aren't payload and count for its length.
const COMMAND_LENGTH: usize = 1;

/// A packet in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub command: char,
    pub payload: Vec<u8>,
}

/// The answer to end-of-message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndAnswer {
    /// RCPT arguments to be deleted, in order.
    pub deleted: Vec<String>,
    /// The verdict on the message: `c`ontinue, `d`iscard, `t`empfail …
    pub verdict: char,
}

/// A connection to the gateway's milter port.
pub struct Milter {
    stream: BufReader<TcpStream>,
}

impl Milter {
    /// Connects and says nothing.
    pub fn connect(gateway: SocketAddr) -> Self {
        let stream =
            TcpStream::connect(gateway).unwrap_or_else(|error| panic!("{gateway}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Connects and negotiates.
    pub fn negotiated(gateway: SocketAddr) -> Self {
        let mut milter = Self::connect(gateway);
        milter.negotiate();
        let answer = milter.answer();
        assert_eq!(answer.command, 'O', "{answer:?}");
        milter
    }

    /// Connects, negotiates and announces an SMTP client.
    pub fn session(gateway: SocketAddr) -> Self {
        let mut milter = Self::negotiated(gateway);
        milter.macros('C', &[("{daemon_name}", "smtpd")]);
        milter.send('C', b"client.vendor.example\x004\x00\x19127.0.0.1\0");
        milter.macros('H', &[]);
        milter.send('H', b"client.vendor.example\0");
        milter
    }

    /// Offers what Postfix does. The answer is to be read.
    pub fn negotiate(&mut self) {
        let offer: Vec<u8> = OFFER.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.send('O', &offer);
    }

    /// One packet, well-formed as far as its length goes.
    pub fn send(&mut self, command: char, payload: &[u8]) {
        self.write(&packet(command, payload));
    }

    /// Many packets at once, without an answer in between.
    pub fn send_all<'a>(&mut self, packets: impl IntoIterator<Item = (char, &'a [u8])>) {
        let mut bytes = Vec::new();
        for (command, payload) in packets {
            bytes.extend_from_slice(&packet(command, payload));
        }
        self.write(&bytes);
    }

    /// These very bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream
            .get_mut()
            .write_all(bytes)
            .expect("the gateway reads");
    }

    /// The same to a gateway that may have hung up already.
    pub fn try_write(&mut self, bytes: &[u8]) {
        // It shows in what is read next.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// The macros of the stage that is called by this command.
    pub fn macros(&mut self, stage: char, macros: &[(&str, &str)]) {
        self.send('D', &macro_payload(stage, macros));
    }

    /// MAIL, which is not answered.
    pub fn mail(&mut self, reverse_path: &str) {
        self.macros('M', &[]);
        self.send('M', format!("<{reverse_path}>\0").as_bytes());
    }

    /// RCPT and its answer.
    pub fn recipient(&mut self, address: &str) -> char {
        self.recipients(&[address]).remove(0)
    }

    /// Many RCPTs at once, and their answers.
    pub fn recipients<A: AsRef<str>>(&mut self, addresses: &[A]) -> Vec<char> {
        // No more than the sockets hold, answers included.
        let sent_at_once = 500;
        let mut answers = Vec::with_capacity(addresses.len());
        for part in addresses.chunks(sent_at_once) {
            let mut bytes = Vec::new();
            for address in part.iter().map(AsRef::as_ref) {
                let macros = macro_payload('R', &[("{rcpt_addr}", address)]);
                bytes.extend_from_slice(&packet('D', &macros));
                bytes.extend_from_slice(&packet('R', format!("<{address}>\0").as_bytes()));
            }
            self.write(&bytes);
            answers.extend(part.iter().map(|_| self.answer().command));
        }
        answers
    }

    /// DATA and its answer.
    pub fn data(&mut self) -> char {
        self.send('T', b"");
        self.answer().command
    }

    /// A whole header and a whole body, none of which is answered.
    pub fn content<'a>(
        &mut self,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: &[u8],
    ) {
        let mut bytes = Vec::new();
        for (name, value) in fields {
            let payload = format!("{name}\0 {value}\0");
            bytes.extend_from_slice(&packet('L', payload.as_bytes()));
        }
        bytes.extend_from_slice(&packet('N', b""));
        self.write(&bytes);
        for piece in body.chunks(65_535) {
            self.send('B', piece);
        }
    }

    /// End-of-message and its answer.
    pub fn end(&mut self) -> EndAnswer {
        self.macros('E', &[("i", "4bXyZq1cDez9")]);
        self.send('E', b"");
        let mut deleted = Vec::new();
        loop {
            let Packet { command, payload } = self.answer();
            if command != '-' {
                return EndAnswer {
                    deleted,
                    verdict: command,
                };
            }
            let argument = payload.strip_suffix(b"\0").expect("a string");
            deleted.push(String::from_utf8(argument.to_vec()).expect("an argument as we sent it"));
        }
    }

    /// The next packet, which must come.
    pub fn answer(&mut self) -> Packet {
        self.read().expect("an answer, not the end")
    }

    /// The next packet; None where the gateway has hung up.
    pub fn read(&mut self) -> Option<Packet> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if has_ended(error.kind()) => return None,
            Err(error) => panic!("no answer in time: {error}"),
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
        let mut packet = vec![0; length];
        self.stream.read_exact(&mut packet).expect("a whole packet");
        let payload = packet.split_off(COMMAND_LENGTH);
        Some(Packet {
            command: char::from(packet[0]),
            payload,
        })
    }

    /// Whether anything is there to be read now.
    pub fn has_answer(&self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        peeked.is_ok()
    }

    /// Reads until the gateway hangs up, and returns what came before.
    pub fn rest(&mut self) -> String {
        let mut commands = String::new();
        while let Some(packet) = self.read() {
            commands.push(packet.command);
        }
        commands
    }

    /// Quits, and returns what came before the gateway hung up.
    pub fn quit(mut self) -> String {
        self.try_write(&packet('Q', b""));
        self.rest()
    }
}

/// A packet on the wire.
pub fn packet(command: char, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + COMMAND_LENGTH).expect("a length");
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(command).expect("one byte"));
    packet.extend_from_slice(payload);
    packet
}

fn macro_payload(stage: char, macros: &[(&str, &str)]) -> Vec<u8> {
    let mut payload = stage.to_string();
    for (name, value) in macros {
        payload += &format!("{name}\0{value}\0");
    }
    payload.into_bytes()
}

fn has_ended(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}
