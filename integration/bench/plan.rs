//! How much is measured.

/// How much is measured: counts, not times.
#[derive(Debug)]
pub struct Plan {
    /// How often each case has its turn.
    pub rounds: usize,
    /// The same where Postfix's own rate varies most.
    pub throughput_rounds: usize,
    /// Messages of other people through Postfix.
    pub messages: usize,
    /// Requests, or plain mails, through Postfix.
    pub requests: usize,
    /// The same for a responder that takes a process for each.
    pub requests_by_processes: usize,
    /// Requests one after the other, for their latency.
    pub requests_in_a_row: usize,
    /// Milter sessions spoken directly.
    pub sessions: usize,
    /// How many of them at once.
    pub parallel_sessions: &'static [usize],
    /// Transactions that one task waits for.
    pub commits: usize,
    /// Acceptances, and leases, of a store that holds much.
    pub acceptances: usize,
    /// Requests that wait in it.
    pub waiting: usize,
    /// Entries of its audit log, or of that of a gateway that is started.
    pub audit_entries: usize,
    /// Milter connections that are held open.
    pub connections: usize,
    /// Messages before memory is looked at again.
    pub messages_before_memory: usize,
}

impl Plan {
    /// Fewer rounds have no interval to speak of.
    pub const LEAST_ROUNDS: usize = 5;

    pub fn full() -> Self {
        Self {
            rounds: 7,
            throughput_rounds: 15,
            messages: 1_000,
            requests: 600,
            requests_by_processes: 80,
            requests_in_a_row: 60,
            sessions: 6_000,
            parallel_sessions: &[1, 20, 100, 1_000],
            commits: 1_000,
            acceptances: 500,
            waiting: 10_000,
            audit_entries: 1_000_000,
            connections: 1_000,
            messages_before_memory: 100_000,
        }
    }

    pub fn short() -> Self {
        Self {
            rounds: 1,
            throughput_rounds: 1,
            messages: 40,
            requests: 20,
            requests_by_processes: 4,
            requests_in_a_row: 2,
            sessions: 40,
            parallel_sessions: &[1, 20],
            commits: 20,
            acceptances: 20,
            waiting: 100,
            audit_entries: 10_000,
            connections: 20,
            messages_before_memory: 200,
        }
    }
}
