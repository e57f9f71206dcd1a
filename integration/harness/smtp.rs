//! An SMTP client that sends exactly what it is given.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Shorter than the minute that Postfix waits for a milter's answer to
/// end-of-message, so that a gateway that gives none is seen.
const PATIENCE: Duration = Duration::from_secs(55);

/// A server's answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

/// An SMTP session.
pub struct Smtp {
    stream: BufReader<TcpStream>,
}

impl Smtp {
    /// Connects and says EHLO.
    pub fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap_or_else(|error| panic!("{server}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut session = Self {
            stream: BufReader::new(stream),
        };
        assert_eq!(session.reply().code, 220);
        assert_eq!(session.command("EHLO client.vendor.example").code, 250);
        session
    }

    /// Speaks for another client from now on, as a proxy does; the site must
    /// allow it ([`super::Layout::allow_xclient`]). `client` is what XCLIENT takes:
    /// `ADDR=192.0.2.1`, perhaps with `LOGIN=alice`.
    pub fn speak_for(&mut self, client: &str) {
        let accepted = self.command(&format!("XCLIENT NAME=[UNAVAILABLE] {client}"));
        assert_eq!(accepted.code, 220, "{accepted:?}");
        assert_eq!(self.command("EHLO client.vendor.example").code, 250);
    }

    /// One command and its answer.
    pub fn command(&mut self, line: &str) -> Reply {
        self.write(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// One message. The answer is the one to end-of-message, or the first
    /// refusal before it.
    pub fn send(&mut self, reverse_path: &str, recipients: &[&str], message: &[u8]) -> Reply {
        let mail = self.command(&format!("MAIL FROM:<{reverse_path}>"));
        if mail.code != 250 {
            return mail;
        }
        for recipient in recipients {
            let reply = self.command(&format!("RCPT TO:<{recipient}>"));
            if reply.code != 250 {
                return reply;
            }
        }
        let data = self.command("DATA");
        if data.code != 354 {
            return data;
        }
        self.content(message)
    }

    /// Begins a message and stops in the midst of its body, as a client does that
    /// has gone to sleep.
    pub fn stop_within_a_body(&mut self, recipient: &str) {
        assert_eq!(self.command("MAIL FROM:<slow@attacker.example>").code, 250);
        assert_eq!(self.command(&format!("RCPT TO:<{recipient}>")).code, 250);
        assert_eq!(self.command("DATA").code, 354);
        let header = format!("From: slow@attacker.example\r\nTo: {recipient}\r\n\r\n");
        self.write(header.as_bytes());
        self.write("words and words\r\n".repeat(4000).as_bytes());
    }

    /// Sends the content after DATA, and returns the answer to its end.
    pub fn content(&mut self, message: &[u8]) -> Reply {
        let mut content = dot_stuffed(message);
        content.extend_from_slice(b".\r\n");
        self.write(&content);
        self.reply()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream
            .get_mut()
            .write_all(bytes)
            .expect("the server reads");
    }

    fn reply(&mut self) -> Reply {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("an answer in time");
            assert!(line.len() >= 4, "the server went away after {text:?}");
            text.push_str(&line);
            if !line[3..].starts_with('-') {
                let code = line[..3].parse().expect("a reply code");
                return Reply { code, text };
            }
        }
    }
}

/// RFC 5321, 4.5.2. The message must end with CRLF.
fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    assert!(message.ends_with(b"\r\n"), "a message ends with CRLF");
    let mut stuffed = Vec::with_capacity(message.len());
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}
