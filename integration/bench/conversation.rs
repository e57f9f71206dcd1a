//! The milter protocol as Postfix speaks it: what is not answered goes out
//! together with what is.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::harness::packet;

/// Options in the answer to the negotiation.
const NO_HELO: u32 = 0x2;
const NOREPLY_CONNECT: u32 = 0x1000;
const NOREPLY_HELO: u32 = 0x2000;
const NOREPLY_MAIL: u32 = 0x4000;

/// A milter connection that has negotiated.
pub struct Conversation {
    stream: TcpStream,
    options: u32,
    unsent: Vec<u8>,
}

impl Conversation {
    pub async fn open(milter: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(milter).await?;
        stream.set_nodelay(true)?;
        let mut conversation = Self {
            stream,
            options: 0,
            unsent: Vec::new(),
        };
        let offer = [6_u32, 0x1ff, 0x1f_ffff].map(u32::to_be_bytes).concat();
        conversation.say('O', &offer);
        let answer = conversation.packet().await?;
        assert_eq!(answer[0], b'O', "an answer to the offer");
        let options = answer[9..13].try_into().expect("four bytes");
        conversation.options = u32::from_be_bytes(options);
        Ok(conversation)
    }

    /// The client, its greeting and the reverse path.
    pub async fn introduce(&mut self) -> io::Result<()> {
        self.say('D', b"C{daemon_name}\0smtpd\0");
        self.say('C', b"client.vendor.example\x004\x00\x19127.0.0.1\0");
        self.hear_unless(NOREPLY_CONNECT).await?;
        if !self.has(NO_HELO) {
            self.say('H', b"client.vendor.example\0");
            self.hear_unless(NOREPLY_HELO).await?;
        }
        self.say('D', b"M{auth_authen}\0\0");
        self.say('M', b"<somebody-else@sink.example>\0");
        self.hear_unless(NOREPLY_MAIL).await
    }

    pub fn say(&mut self, command: char, payload: &[u8]) {
        self.unsent.extend_from_slice(&packet(command, payload));
    }

    pub async fn recipient(&mut self, address: &str) -> io::Result<u8> {
        self.say(
            'D',
            format!("R{{rcpt_addr}}\0{address}\0i\04bXyZq1cDez9\0").as_bytes(),
        );
        self.say('R', format!("<{address}>\0").as_bytes());
        self.hear().await
    }

    /// The answer's command.
    pub async fn hear(&mut self) -> io::Result<u8> {
        Ok(self.packet().await?[0])
    }

    async fn hear_unless(&mut self, option: u32) -> io::Result<()> {
        if !self.has(option) {
            self.hear().await?;
        }
        Ok(())
    }

    fn has(&self, option: u32) -> bool {
        self.options & option != 0
    }

    pub async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.unsent).await?;
        self.unsent.clear();
        Ok(())
    }

    async fn packet(&mut self) -> io::Result<Vec<u8>> {
        self.flush().await?;
        let length = self.stream.read_u32().await?;
        let mut packet = vec![0; usize::try_from(length).expect("a length")];
        self.stream.read_exact(&mut packet).await?;
        Ok(packet)
    }
}
