//! Both gateways behind one pooler, whose few sessions they share: no prepared statement of one is
//! taken for the other's.

use std::collections::BTreeMap;

use crate::{
    harness::{Pgbouncer, Postgresql},
    requests::{Asked, address, help, send},
    sites::Layouts,
};

const REQUESTS: usize = 40;

/// A server that logs each statement, and the process that ran it.
fn telling() -> Postgresql {
    let server = Postgresql::start();
    server.set("log_line_prefix = '%p '");
    server.set("log_statement = 'all'");
    server.reload();
    server
}

/// Has requests answered by both gateways behind this pooler.
fn ask(server: &Postgresql, pooler: &Pgbouncer) {
    let pair = Layouts::impatient(&pooler.settings(server)).start();
    let asked = Asked::default();
    for number in 0..REQUESTS {
        let draft = help(&address(number), &format!("pooler {number}"));
        send(&pair, number, &draft);
        asked.add(draft);
    }
    assert_eq!(asked.assert_answered_once(&pair), 0, "answered twice");
}

#[test]
fn no_name_of_a_statement_means_two_in_a_session() {
    let server = telling();
    let pooler = Pgbouncer::start(&server, 2);
    ask(&server, &pooler);
    let said = server.said();
    assert!(!said.contains("prepared statement \""), "{said}");
    let mut by_name = BTreeMap::new();
    for line in said.lines() {
        let Some((process, ran)) = line.split_once(" LOG:  execute s") else {
            continue;
        };
        let (name, text) = ran.split_once(": ").expect("a statement");
        let first = by_name.entry((process, name)).or_insert(text);
        assert_eq!(*first, text, "s{name} of {process}");
    }
}

#[test]
fn a_pooler_that_removes_statements_fails_few_changes_and_loses_none() {
    let server = telling();
    let further = "server_reset_query = DEALLOCATE ALL\nserver_reset_query_always = 1";
    let pooler = Pgbouncer::start_with(&server, 2, further);
    ask(&server, &pooler);
    let said = server.said();
    let failed = said.matches("ERROR:  prepared statement").count();
    assert!(failed <= 4, "{failed} failed: {said}");
}
