//! The store in PostgreSQL.

use crate::harness::{DATABASE, Postgresql};

/// The harness's server, which other tests rely on.
#[test]
fn a_server_keeps_what_it_committed_whatever_end_it_has() {
    let mut server = Postgresql::start();
    server.sql(DATABASE, "CREATE TABLE kept (number INTEGER)");
    let ends: [fn(&mut Postgresql); 3] =
        [Postgresql::stop, Postgresql::stop_at_once, Postgresql::kill];
    for (number, end) in ends.into_iter().enumerate() {
        server.sql(DATABASE, &format!("INSERT INTO kept VALUES ({number})"));
        end(&mut server);
        server.launch();
    }
    let kept = server.sql(DATABASE, "SELECT number FROM kept ORDER BY number");
    assert_eq!(kept, "0\n1\n2\n");
    assert_eq!(server.sql(DATABASE, "SHOW fsync"), "on\n");
}
