//! Peers that say everything of `hostile`, without waiting for an answer.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use super::{
    hostile::{
        COMMANDS, GARBAGE, IMPOSSIBLE_LENGTHS, MACRO_STAGES, NO_REVERSE_PATHS, NO_STRINGS, STEPS,
        WRONG_ORDERS, crowd, endless_body, endless_macros, fields_that_break_out, large_field,
        long_recipients, macro_garbage, many_fields, recipients_around_ours, recipients_of_our_own,
        right, session_of_garbage, text_that_grows,
    },
    packet, pairs, request_fields, request_with,
};

/// Two hundred peers share one gateway, which shares two cores with other tests. On a slow machine
/// the last peers waited longer than 120 s.
const PATIENCE: Duration = Duration::from_secs(600);

/// Whatever a peer writes in one connection.
type Said = Vec<u8>;

/// All of the above, each kind as the connections that one peer makes one after
/// the other.
pub fn all_kinds() -> Vec<Vec<Said>> {
    let other = vec![b"<bob@vendor.example>\0".to_vec()];
    let (growing, grown) = text_that_grows();
    vec![
        vec![message(&ours(), &header(&many_fields(10_000)), b"")],
        vec![message(&ours(), &header(&many_fields(200_000)), b"")],
        [b'x', b'\n'].map(filled_packet).to_vec(),
        vec![
            [
                up_to("OCHMRT"),
                packet('L', &large_field(1024 * 1024, b'x')),
            ]
            .concat(),
        ],
        vec![message(
            &ours(),
            &header(&request_with("To", &crowd(5_000))),
            b"",
        )],
        vec![message(
            &arguments(&recipients_around_ours(5_000)),
            &header(&request_fields()),
            b"",
        )],
        vec![message(
            &long_recipients(100).collect::<Vec<_>>(),
            &header(&request_fields()),
            b"",
        )],
        vec![message(
            &arguments(&recipients_of_our_own(30_000)),
            &header(&request_fields()),
            b"",
        )],
        vec![message(
            &other,
            &header(&request_fields()),
            &[b'x'; 1024 * 1024],
        )],
        vec![message(
            &ours(),
            &header(&request_fields()),
            &endless_body(),
        )],
        vec![message(&ours(), &header(&growing), &grown)],
        commands_at_every_step(),
        vec![wrong_orders()],
        no_packets(),
        half_packets(),
        vec![garbage_in_macros()],
        MACRO_STAGES
            .into_iter()
            .flat_map(endless_macros_of)
            .collect(),
        envelopes_without_strings(),
        vec![envelopes_without_reverse_path()],
        vec![
            session_of_garbage()
                .iter()
                .fold(up_to("O"), |said, (command, payload)| {
                    [said, packet(*command, payload)].concat()
                }),
            message(&ours(), &header(&fields_that_break_out()), b""),
        ],
    ]
}

/// Says all of it, each in a connection of its own, and counts the bytes of the
/// answers. The gateway may hang up in the middle, and must at the end.
pub fn say(gateway: SocketAddr, connections: &[Said]) -> u64 {
    let mut answered = 0;
    for said in connections {
        let stream = TcpStream::connect(gateway).expect("the backlog");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a time limit");
        answered += thread::scope(|scope| {
            // An answer that nobody reads would stop the gateway's reading.
            let answers = scope.spawn(|| bytes_until_the_end(&stream));
            let _ = (&stream).write_all(said);
            let _ = stream.shutdown(Shutdown::Write);
            answers.join().expect("the end")
        });
    }
    answered
}

/// Defines all macros that a connection may, and stops within a packet as large
/// as Postfix sends any.
pub fn hold(gateway: SocketAddr) -> TcpStream {
    let definition = |number| format!("{{{number:02}}}\0{}\0", "v".repeat(248));
    let definitions: String = (0..32).map(definition).collect();
    let macros = |stage: char| packet('D', format!("{stage}{definitions}").as_bytes());
    let mut said = up_to("OCH");
    said.extend(MACRO_STAGES.into_iter().flat_map(macros));
    said.extend(up_to("MRTLN"));
    let piece = packet('B', &[b'x'; 65_535]);
    said.extend(&piece[..piece.len() - 1]);
    let mut stream = TcpStream::connect(gateway).expect("the backlog");
    stream.write_all(&said).expect("the gateway reads");
    stream
}

/// Whether the gateway has not hung up. Reads the answers so far.
pub fn is_open(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let ended = io::copy(&mut stream, &mut io::sink());
    ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Reads until the gateway hangs up, on purpose or in the middle.
fn bytes_until_the_end(mut stream: &TcpStream) -> u64 {
    let mut bytes = [0; 4096];
    let mut count = 0;
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return count,
            Ok(read) => count += read as u64,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return count,
            Err(error) => panic!("the gateway neither answers nor hangs up: {error}"),
        }
    }
}

/// The packets of a session that comes so far.
fn up_to(step: &str) -> Said {
    step.chars().flat_map(right).collect()
}

/// The gateway's address as the one argument of RCPT.
fn ours() -> Vec<Said> {
    arguments(&recipients_of_our_own(1))
}

fn arguments(recipients: &[String]) -> Vec<Said> {
    let argument = |address: &String| format!("<{address}>\0").into_bytes();
    recipients.iter().map(argument).collect()
}

fn header(fields: &[(String, String)]) -> Said {
    let field = |(name, value)| packet('L', format!("{name}\0 {value}\0").as_bytes());
    pairs(fields).flat_map(field).collect()
}

/// A whole session with one message.
fn message(recipients: &[Said], header: &[u8], body: &[u8]) -> Said {
    let mut said = up_to("OCHM");
    said.extend(recipients.iter().flat_map(|argument| packet('R', argument)));
    said.extend(right('T'));
    said.extend(header);
    said.extend(right('N'));
    said.extend(body.chunks(65_535).flat_map(|piece| packet('B', piece)));
    said.extend(right('E'));
    said
}

/// A message with a field that fills its packet.
fn filled_packet(filling: u8) -> Said {
    let field = packet('L', &large_field(1024 * 1024 - 1, filling));
    message(&ours(), &[field, header(&request_fields())].concat(), b"")
}

fn commands_at_every_step() -> Vec<Said> {
    let twice = |step, command| [up_to(step), right(command), right(command)].concat();
    let at_step = |step| COMMANDS.chars().map(move |command| twice(step, command));
    STEPS.into_iter().flat_map(at_step).collect()
}

fn wrong_orders() -> Said {
    let orders = WRONG_ORDERS.into_iter().flat_map(|(order, _)| up_to(order));
    up_to("OCH").into_iter().chain(orders).collect()
}

/// Unknown commands, and lengths that no packet has.
fn no_packets() -> Vec<Said> {
    let unknown = (0..=u8::MAX).map(char::from);
    let unknown = unknown.filter(|command| !COMMANDS.contains(*command));
    let unknown = unknown
        .filter(char::is_ascii)
        .map(|command| [up_to("O"), packet(command, b"what\0")].concat());
    let impossible = STEPS.into_iter().flat_map(|step| {
        IMPOSSIBLE_LENGTHS
            .map(|length| [&up_to(step), &length.to_be_bytes()[..], b"Lname\0"].concat())
    });
    unknown.chain(impossible).collect()
}

/// Negotiations and a body that break off.
fn half_packets() -> Vec<Said> {
    let offer = right('O');
    let mut halves: Vec<Said> = (0..offer.len())
        .map(|length| offer[..length].to_vec())
        .collect();
    halves.push(right('D'));
    let body = packet('B', &[b'x'; 900 * 1024]);
    halves.push([up_to("OCHMRTLN"), body[..500 * 1024].to_vec()].concat());
    halves
}

fn garbage_in_macros() -> Said {
    let with_macros = |garbage: Said| [packet('D', &garbage), up_to("MRTLNBE")].concat();
    let messages = MACRO_STAGES
        .into_iter()
        .flat_map(macro_garbage)
        .flat_map(with_macros);
    let last = [packet('D', b""), packet('D', GARBAGE)].concat();
    up_to("OCH")
        .into_iter()
        .chain(messages)
        .chain(last)
        .collect()
}

fn endless_macros_of(stage: char) -> [Said; 2] {
    endless_macros(stage).map(|macros| [up_to("OCH"), packet('D', &macros), up_to("MR")].concat())
}

fn envelopes_without_strings() -> Vec<Said> {
    let at = |command| {
        let step = STEPS.iter().find_map(|step| step.strip_suffix(command));
        let step = up_to(step.expect("a step"));
        NO_STRINGS.map(|payload| [&step[..], &packet(command, payload)].concat())
    };
    ['C', 'H', 'M', 'R', 'L'].into_iter().flat_map(at).collect()
}

fn envelopes_without_reverse_path() -> Said {
    let envelope = |reverse_path| {
        [
            packet('M', reverse_path),
            packet('R', b"\0"),
            up_to("RTLNE"),
        ]
        .concat()
    };
    let envelopes = NO_REVERSE_PATHS.into_iter().flat_map(envelope);
    up_to("OCH").into_iter().chain(envelopes).collect()
}
