//! Peers at the milter port without a Postfix in between: messages of any size,
//! and peers that are slow, silent, confused or hostile. Each message has its
//! verdict. Memory stays within what the configuration allows and a constant.
//! Nothing grows as the square of what a peer sends. The next session is served,
//! whatever a peer does.

use std::{net::TcpStream, time::Duration};

use crate::harness::{
    EndAnswer, GATEWAY, House, Milter, allow_descriptors, ask,
    hostile::{
        COMMANDS, IMPOSSIBLE_LENGTHS, STEPS, WRONG_ORDERS, crowd, endless_body, large_field,
        long_recipients, many_fields, recipients_around_ours, recipients_of_our_own, right,
    },
    packet, pairs, request_fields, request_with, send, taken, until,
};

/// Defaults of the configuration, in KiB.
const MAX_MESSAGE: u64 = 2048;
const MAX_HEADER: u64 = 256;

/// One packet, as large as indymilter takes any, in KiB.
const PACKET: u64 = 1024;

/// A message may take this much beyond the limits, in KiB: its parts as the policy
/// looks at them, the entry of the audit log, buffers.
pub const CONSTANT: u64 = 8 * 1024;

pub fn ignored(rule: &str) -> (String, String) {
    ("ignore".to_owned(), rule.to_owned())
}

pub fn requested() -> (String, String) {
    ("request".to_owned(), "-".to_owned())
}

// Messages of any size.

#[test]
fn ten_thousand_header_fields_are_malformed_and_cost_what_they_weigh() {
    let house = House::new();
    let memory = house.memory_for(|| {
        assert_eq!(
            send(&mut house.session(), &many_fields(10_000), b""),
            taken()
        );
    });
    assert_eq!(house.newest(), ignored("malformed"));
    println!("10,000 header fields took {memory} KiB");
    assert!(memory < MAX_HEADER + CONSTANT, "{memory} KiB");

    // Both counts are within the limit of bytes.
    house.assert_not_quadratic("header fields", 10_000, |count| {
        assert_eq!(
            send(&mut house.session(), &many_fields(count), b""),
            taken()
        );
    });
    // Beyond it they are counted and dropped.
    let memory = house.memory_for(|| {
        assert_eq!(
            send(&mut house.session(), &many_fields(200_000), b""),
            taken()
        );
    });
    println!("200,000 header fields took {memory} KiB");
    assert!(memory < MAX_HEADER + CONSTANT, "{memory} KiB");
    assert_eq!(house.newest(), ignored("malformed"));
    house.serves();
}

#[test]
fn a_header_field_fills_a_packet_and_no_more() {
    let house = House::new();
    let largest = 1024 * 1024 - 1;
    // A line end is kept as a fold, which is three bytes.
    for filling in [b'x', b'\n'] {
        let memory = house.memory_for(|| {
            let mut session = house.session_at_content();
            session.send('L', &large_field(largest, filling));
            session.content(pairs(&request_fields()), b"");
            assert_eq!(session.end(), taken());
        });
        assert_eq!(house.newest(), ignored("malformed"));
        println!("a header field of {largest} bytes took {memory} KiB");
        assert!(memory < 4 * PACKET + CONSTANT, "{memory} KiB");
    }

    let memory = house.memory_for(|| {
        let mut session = house.session_at_content();
        session.try_write(&packet('L', &large_field(largest + 1, b'x')));
        assert_eq!(session.rest(), "");
    });
    println!("a byte more is refused and took {memory} KiB");
    assert!(memory < CONSTANT, "{memory} KiB");
    house.serves();
}

#[test]
fn five_thousand_addresses_in_to_are_a_request() {
    let house = House::new();
    let memory = house.memory_for(|| {
        let fields = request_with("To", &crowd(5_000));
        assert_eq!(send(&mut house.session(), &fields, b""), taken());
    });
    assert_eq!(house.newest(), requested());
    println!("5,000 addresses in To took {memory} KiB");
    assert!(memory < MAX_HEADER + CONSTANT, "{memory} KiB");

    // No request, so that it is the policy alone that works.
    house.assert_not_quadratic("addresses in To", 4_000, |count| {
        let mut fields = request_with("Subject", "hello");
        fields.retain(|(name, _)| name != "To");
        fields.push(("To".to_owned(), crowd(count)));
        assert_eq!(send(&mut house.session(), &fields, b""), taken());
    });
    assert_eq!(house.newest(), ignored("subject"));
    house.serves();
}

#[test]
fn of_five_thousand_recipients_only_ours_is_deleted() {
    let house = House::new();
    let send_to_crowd = |count: usize| {
        let mut session = house.session();
        session.mail("vendor@vendor.example");
        let answers = session.recipients(&recipients_around_ours(count));
        assert!(answers.iter().all(|&answer| answer == 'c'));
        assert_eq!(session.data(), 'c');
        session.content(pairs(&request_fields()), b"please\r\n");
        assert_eq!(
            session.end(),
            EndAnswer {
                deleted: vec![format!("<{GATEWAY}>")],
                verdict: 'c'
            }
        );
    };
    let memory = house.memory_for(|| send_to_crowd(5_000));
    assert_eq!(house.newest(), requested());
    let entry = house.newest_entry();
    let shown = entry["recipients"].as_array().expect("an array");
    let last = shown.last().expect("some").as_str().expect("a text");
    assert!(shown.len() <= 51 && last.ends_with(" more"), "{entry}");
    println!("5,000 recipients took {memory} KiB");
    assert!(memory < CONSTANT, "{memory} KiB");

    house.assert_not_quadratic("recipients", 5_000, send_to_crowd);
    house.serves();
}

#[test]
fn recipients_of_any_length_are_not_kept() {
    let house = House::new();
    let memory = house.memory_for(|| {
        let mut session = house.session();
        session.mail("vendor@vendor.example");
        for argument in long_recipients(100) {
            session.macros('R', &[("{rcpt_addr}", "bob@vendor.example")]);
            session.send('R', &argument);
            assert_eq!(session.answer().command, 'c');
        }
        assert_eq!(session.recipient(GATEWAY), 'c');
        assert_eq!(session.data(), 'c');
        session.content(pairs(&request_fields()), b"please\r\n");
        assert_eq!(session.end().deleted, [format!("<{GATEWAY}>")]);
    });
    assert_eq!(house.newest(), requested());
    println!("100 recipients of 500,000 bytes took {memory} KiB");
    assert!(memory < 3 * PACKET + CONSTANT, "{memory} KiB");

    // Ours are kept, to be deleted; beyond all reason they wait at the sender's.
    let memory = house.memory_for(|| {
        let mut session = house.session();
        session.mail("vendor@vendor.example");
        let answers = session.recipients(&recipients_of_our_own(30_000));
        let refused = answers.iter().position(|&answer| answer == 'y');
        let kept = refused.expect("a refusal");
        println!("{kept} recipients of our own are kept");
        assert!(kept > 1_000, "{kept}: Postfix's own limit is 1,000");
        assert_eq!(session.data(), 'c');
        session.content(pairs(&request_fields()), b"please\r\n");
        assert_eq!(session.end(), taken());
    });
    assert_eq!(house.newest(), requested());
    println!("30,000 recipients of our own took {memory} KiB");
    assert!(memory < PACKET + CONSTANT, "{memory} KiB");
    house.serves();
}

/// A Postfix with `milter_protocol = 3` has no DATA for milters.
#[test]
fn without_data_other_mail_is_not_kept_either() {
    let house = House::new();
    let before = house.newest_entry();
    let body = vec![b'x'; 1024 * 1024];
    let memory = house.memory_for(|| {
        let mut session = house.session();
        session.mail("vendor@vendor.example");
        assert_eq!(session.recipient("bob@vendor.example"), 'c');
        session.content(pairs(&request_fields()), &body);
        assert_eq!(session.end().verdict, 'a');
        assert_eq!(ask(&mut session), taken());
    });
    let entries = house.layout.gateway(&["audit", "list", "--json"]);
    assert!(!entries.contains("bob@vendor.example"), "{entries}");
    assert_ne!(house.newest_entry(), before);
    println!("a body for others took {memory} KiB");
    assert!(memory < 1024, "{memory} KiB");
}

#[test]
fn a_body_of_fifty_megabytes_is_not_kept() {
    let house = House::new();
    let body = endless_body();
    let memory = house.memory_for(|| {
        let answer = send(&mut house.session(), &request_fields(), &body);
        assert_eq!(answer, taken());
    });
    assert_eq!(house.newest(), ignored("size"));
    let size = house.newest_entry()["size"].as_u64().expect("a size");
    assert!(size > body.len() as u64, "all of it is counted: {size}");
    println!("a body of {} bytes took {memory} KiB", body.len());
    assert!(memory < MAX_MESSAGE + CONSTANT, "{memory} KiB");
    house.serves();
}

// Slow and hostile peers.

/// A new connection that has come so far.
pub fn at_step(house: &House, step: &str) -> Milter {
    let mut milter = house.connect();
    for command in step.chars() {
        milter.write(&right(command));
        if "ORTE".contains(command) {
            milter.answer();
        }
    }
    milter
}

#[test]
fn every_command_at_every_step_ends_in_an_answer_or_in_silence() {
    let house = House::new();
    let mut tried = 0;
    let memory = house.memory_for(|| {
        for step in STEPS {
            for command in COMMANDS.chars() {
                let mut milter = at_step(&house, step);
                // Once more, for what may be said only once.
                milter.try_write(&right(command));
                milter.try_write(&right(command));
                let answers = milter.quit();
                assert!(answers.len() <= 2, "{step} {command}: {answers}");
                tried += 1;
            }
        }
    });
    println!("{tried} commands at the wrong time, {memory} KiB");
    assert!(memory < CONSTANT, "{memory} KiB");
    house.serves();
}

#[test]
fn after_a_wrong_order_the_same_session_is_served() {
    let house = House::new();
    let mut session = house.session();
    for (order, expected) in WRONG_ORDERS {
        for command in order.chars() {
            session.write(&right(command));
        }
        let answers: String = expected.chars().map(|_| session.answer().command).collect();
        assert_eq!(answers, expected, "{order}");
        // Had anything else been answered, it would be read here.
        assert_eq!(ask(&mut session), taken(), "after {order}");
    }
    println!("{} wrong orders in one session", WRONG_ORDERS.len());
    house.serves();
}

#[test]
fn unknown_commands_and_impossible_lengths_end_their_session_only() {
    let house = House::new();
    let mut tried = 0;
    let memory = house.memory_for(|| {
        for byte in 0..=u8::MAX {
            if COMMANDS.contains(char::from(byte)) {
                continue;
            }
            let mut milter = house.negotiated();
            milter.try_write(&packet(char::from(byte), b"what\0"));
            assert_eq!(milter.rest(), "", "{byte}");
            tried += 1;
        }
        for step in STEPS {
            for length in IMPOSSIBLE_LENGTHS {
                let mut milter = at_step(&house, step);
                let mut bytes = length.to_be_bytes().to_vec();
                bytes.extend_from_slice(b"Lname\0");
                milter.try_write(&bytes);
                assert_eq!(milter.rest(), "", "{step} {length}");
                tried += 1;
            }
        }
    });
    println!("{tried} sessions with what is no packet, {memory} KiB");
    assert!(memory < CONSTANT, "{memory} KiB");
    house.serves();
}

#[test]
fn whoever_says_nothing_or_half_of_it_is_shown_out_in_time() {
    let house = House::new();
    let offer = right('O');
    let mut silent: Vec<Milter> = (0..=offer.len())
        .map(|length| {
            let mut milter = house.connect();
            // All but the last: part of a negotiation. The last: macros alone.
            match offer.get(..length).filter(|part| part.len() < offer.len()) {
                Some(part) => milter.write(part),
                None => milter.write(&right('D')),
            }
            milter
        })
        .collect();
    house.serves();
    for milter in &mut silent {
        assert_eq!(milter.rest(), "");
    }
    println!("{} that never negotiated", silent.len());
    house.serves();
}

#[test]
fn half_a_packet_later_on_holds_nobody_up() {
    let house = House::new();
    let count = 100;
    let memory = house.memory_for(|| {
        let halves: Vec<Milter> = (0..count)
            .map(|_| {
                let mut session = house.session_at_content();
                session.write(&packet('B', &[b'x'; 1000])[..500]);
                session
            })
            .collect();
        house.serves();
        drop(halves);
    });
    println!("{count} half packets took {memory} KiB");
    assert!(memory < CONSTANT, "{memory} KiB");
    house.serves();
}

#[test]
fn without_free_descriptors_sessions_go_on_and_new_ones_wait() {
    let layout = House::layout();
    let limit = 64;
    let gateway = layout.start_gateway_by(&["prlimit", &format!("--nofile={limit}")]);
    let house = House::with(layout, gateway);
    let mut session = house.session();
    let idle: Vec<TcpStream> = (0..limit)
        .map(|_| TcpStream::connect(house.layout.port(8890)).expect("the backlog"))
        .collect();
    until("a failed accept", Duration::from_secs(20), || {
        let log = house.gateway.log();
        log.contains("can't accept a milter connection")
            .then_some(())
    });
    until("all are in use", Duration::from_secs(20), || {
        (house.usage().descriptors() >= limit - 1).then_some(())
    });
    assert_eq!(ask(&mut session), taken());
    let mut late = house.connect();
    late.negotiate();
    drop(idle);
    assert_eq!(late.answer().command, 'O');
    house.serves();
    println!("{limit} idle connections on {limit} file descriptors");
}

#[test]
fn two_thousand_idle_connections_leave_room_for_the_next() {
    allow_descriptors(5_000);
    let layout = House::layout();
    layout.set_gateway("milter", "max_connections", 2_200);
    let house = House::of(layout);
    let half = 1_000;
    let memory = house.memory_for(|| {
        // The silent ones last: each has 10 s to negotiate.
        let negotiated: Vec<Milter> = (0..half).map(|_| house.negotiated()).collect();
        let silent: Vec<Milter> = (0..half).map(|_| house.connect()).collect();
        house.serves();
        assert!(house.usage().descriptors() > 2 * half);
        drop((silent, negotiated));
        house.serves();
    });
    println!("{} idle connections took {memory} KiB", 2 * half);
    assert!(memory < 2_000 * 32 + CONSTANT, "{memory} KiB");
    until(
        "their descriptors are free",
        Duration::from_secs(20),
        || (house.usage().descriptors() < half).then_some(()),
    );
}

#[test]
fn beyond_the_limit_of_connections_the_silent_make_room() {
    allow_descriptors(5_000);
    let layout = House::layout();
    layout.set_gateway("milter", "max_connections", 100);
    let house = House::of(layout);
    let silent: Vec<TcpStream> = (0..150)
        .map(|_| TcpStream::connect(house.layout.port(8890)).expect("the backlog"))
        .collect();
    house.serves();
    println!("{} silent connections where 100 may be", silent.len());
}
