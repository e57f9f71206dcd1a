//! Garbage in packets at the milter port: in macros, envelopes and header fields.

use crate::{
    harness::{
        EndAnswer, GATEWAY, House, ask, begin,
        hostile::{
            MACRO_STAGES, NO_REVERSE_PATHS, NO_STRINGS, STEPS, endless_macros,
            fields_that_break_out, macro_garbage, right, session_of_garbage,
        },
        packet, pairs, request_fields, taken,
    },
    hostile_packets::{CONSTANT, at_step, ignored, requested},
};

#[test]
fn garbage_in_macros_changes_no_verdict() {
    let house = House::new();
    let mut session = house.session();
    let mut tried = 0;
    for garbage in MACRO_STAGES.into_iter().flat_map(macro_garbage) {
        session.send('D', &garbage);
        assert_eq!(ask(&mut session), taken(), "{garbage:?}");
        tried += 1;
    }
    // indymilter takes no macros without a stage.
    session.try_write(&packet('D', b""));
    assert_eq!(session.rest(), "");
    println!("{} kinds of garbage in macros", tried + 1);
    house.serves();
}

#[test]
fn a_recipient_without_macros_has_none_of_the_one_before() {
    let house = House::new();
    let mut session = house.session();
    session.mail("vendor@vendor.example");
    assert_eq!(session.recipient(GATEWAY), 'c');
    session.macros('R', &[]);
    session.send('R', b"<bob@vendor.example>\0");
    assert_eq!(session.answer().command, 'c');
    assert_eq!(session.data(), 'c');
    session.content(pairs(&request_fields()), b"please\r\n");
    assert_eq!(session.end().deleted, [format!("<{GATEWAY}>")]);
    assert_eq!(house.newest(), requested());
    println!("1 recipient without macros");
}

#[test]
fn macros_without_end_are_refused() {
    let house = House::new();
    let refused = |payload: Vec<u8>| {
        let mut session = house.session();
        session.try_write(&packet('D', &payload));
        session.try_write(&right('M'));
        session.try_write(&right('R'));
        assert_eq!(session.rest(), "", "{} bytes", payload.len());
    };
    let memory = house.memory_for(|| {
        for stage in MACRO_STAGES {
            endless_macros(stage).into_iter().for_each(refused);
        }
    });
    println!("2 endless definitions for each of 7 stages took {memory} KiB");
    assert!(memory < CONSTANT, "{memory} KiB");
    house.serves();
}

#[test]
fn an_envelope_without_addresses_or_ends_harms_nobody() {
    let house = House::new();
    // No string at all, or none that ends: indymilter hangs up.
    let mut tried = 0;
    for command in ['C', 'H', 'M', 'R', 'L'] {
        for payload in NO_STRINGS {
            if "MR".contains(command) && payload.contains(&0) {
                // Their arguments are strings as long as there are any.
                continue;
            }
            let step = STEPS.iter().find(|step| step.ends_with(command));
            let step = step.and_then(|step| step.strip_suffix(command));
            let mut milter = at_step(&house, step.expect("a step"));
            milter.try_write(&packet(command, payload));
            assert_eq!(milter.rest(), "", "{command} {payload:?}");
            tried += 1;
        }
    }
    // Strings that are empty: a null reverse path, a recipient that is no one.
    let mut session = house.session();
    for reverse_path in NO_REVERSE_PATHS {
        session.send('M', reverse_path);
        session.send('R', b"\0");
        assert_eq!(session.answer().command, 'c');
        assert_eq!(session.recipient(GATEWAY), 'c');
        assert_eq!(session.data(), 'c');
        session.content(pairs(&request_fields()), b"");
        let deleted = vec![format!("<{GATEWAY}>")];
        let verdict = 'c';
        assert_eq!(session.end(), EndAnswer { deleted, verdict });
        assert_eq!(house.newest(), ignored("return-path"));
        tried += 1;
    }
    println!("{tried} envelopes without addresses or ends");
    house.serves();
}

/// Whether a terminal acts upon this character.
fn acts(c: char) -> bool {
    (c.is_control() && !matches!(c, '\r' | '\n' | '\t'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[test]
fn garbage_everywhere_stays_garbage_and_is_shown_clean() {
    let house = House::new();
    let mut session = house.negotiated();
    for (command, payload) in session_of_garbage() {
        session.send(command, &payload);
        if "RT".contains(command) {
            assert_eq!(session.answer().command, 'c');
        }
    }
    assert_eq!(session.answer().command, '-');
    assert_eq!(session.answer().command, 'c');
    // The reverse path is none.
    assert_eq!(house.newest(), ignored("return-path"));

    begin(&mut session);
    session.content(pairs(&fields_that_break_out()), b"");
    session.macros('E', &[("i", "\u{1b}[31m\r\n\u{202e}")]);
    session.send('E', b"");
    assert_eq!(session.answer().command, 'd');
    assert_eq!(house.newest(), requested());

    for arguments in [
        &["audit", "list"][..],
        &["audit", "list", "--json"],
        &["audit", "export", "--format", "csv"],
    ] {
        let shown = house.layout.gateway(arguments);
        assert!(!shown.chars().any(acts), "{arguments:?}: {shown:?}");
        assert!(!shown.contains("evil"), "{arguments:?}: {shown:?}");
    }
    let log = house.gateway.log();
    assert!(!log.chars().any(acts), "{log:?}");
    assert!(!log.contains("evil"), "{log}");
    println!("garbage in 17 places");
    house.serves();
}
