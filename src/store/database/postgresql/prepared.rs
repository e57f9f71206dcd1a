//! Statements that the server keeps prepared, so that it analyses and plans each only once.
//!
//! The name of a prepared statement belongs to a session of the server, and a pooler such as
//! PgBouncer may give each transaction another session. So a connection marks the session in which
//! it first is, unless another connection's mark is there. It prepares statements, and runs them by
//! name, only in a transaction whose session has its own mark. Nobody else does so there, and no
//! name is taken for another's.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Statement;

use crate::secrets::random_array;
use crate::store::database::error::DatabaseError;

/// Statements that a connection may have prepared. Further ones are sent whole.
const MOST: usize = 256;

/// How long a plan may be used. One that was made while a table was empty is slow once it is full.
const PLAN_KEPT: Duration = Duration::from_secs(10);

/// Whether a pooler removed the prepared statements of a session and left its mark. Then this
/// process prepares nothing more.
static ARE_REMOVED: AtomicBool = AtomicBool::new(false);

/// The session's mark. Empty or NULL if it has none.
pub(super) const MARK: &str = "current_setting('kms_gateway.session', true)";

/// Statements of one connection.
pub(super) struct PreparedStatements {
    /// Random, so that no other connection has it.
    mark: String,
    /// Whether the session was marked, unless it had a mark.
    is_marked: bool,
    /// Whether each transaction so far was in the session that has this mark.
    is_own: bool,
    /// Whether a transaction runs there now.
    is_in_it: bool,
    /// When the plans were last thrown away.
    planned: Instant,
    /// By their texts. None is a statement that was run once, and is not prepared yet.
    statements: HashMap<String, Option<Prepared>>,
}

/// A statement that the server keeps.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) statement: Statement,
    /// Names of the columns that it gives.
    pub(super) columns: Arc<[String]>,
}

/// A way to send a statement to the server.
pub(super) enum Sending {
    Whole,
    /// By name, once it is prepared.
    ToPrepare,
    ByName(Prepared),
}

impl PreparedStatements {
    pub(super) fn new() -> Result<Self, DatabaseError> {
        let mark = random_array().map_err(DatabaseError::encode)?;
        Ok(Self {
            mark: format!("{:032x}", u128::from_ne_bytes(mark)),
            is_marked: false,
            is_own: true,
            is_in_it: false,
            planned: Instant::now(),
            statements: HashMap::new(),
        })
    }

    /// The statement that marks a session, unless it has a mark. None if it was run before.
    pub(super) fn claim(&mut self) -> Option<String> {
        let is_marked = mem::replace(&mut self.is_marked, true);
        let mark = &self.mark;
        (!is_marked).then(|| {
            format!(
                "SELECT set_config('kms_gateway.session', COALESCE(NULLIF({MARK}, ''), '{mark}'), false)"
            )
        })
    }

    /// The statement that throws the plans away, if they are old.
    pub(super) fn renewal(&mut self) -> &'static str {
        if self.statements.is_empty() || self.planned.elapsed() < PLAN_KEPT {
            return "";
        }
        self.planned = Instant::now();
        "DISCARD PLANS;"
    }

    /// Notes that a transaction has begun in the session that has this mark.
    pub(super) fn begin(&mut self, mark: Option<&str>) {
        let is_own = mark == Some(&self.mark);
        self.is_own &= is_own && !ARE_REMOVED.load(Ordering::Relaxed);
        self.is_in_it = self.is_own;
    }

    /// Notes that no transaction runs whose session is known.
    pub(super) fn end(&mut self) {
        self.is_in_it = false;
    }

    /// How to send a statement now. One that is sent again is worth preparing.
    pub(super) fn sending(&mut self, statement: &str) -> Sending {
        if !self.is_in_it {
            return Sending::Whole;
        }
        match self.statements.get(statement) {
            Some(Some(prepared)) => Sending::ByName(prepared.clone()),
            Some(None) => Sending::ToPrepare,
            None => {
                if self.statements.len() < MOST {
                    self.statements.insert(statement.to_owned(), None);
                }
                Sending::Whole
            }
        }
    }

    pub(super) fn keep(&mut self, text: &str, statement: Statement) -> Prepared {
        let columns = statement.columns().iter();
        let columns = columns.map(|column| column.name().to_owned()).collect();
        let prepared = Prepared { statement, columns };
        self.statements
            .insert(text.to_owned(), Some(prepared.clone()));
        prepared
    }
}

/// Heeds that a session does not know the name of a prepared statement, or knows it already.
pub(super) fn heed(error: &DatabaseError) {
    if error.is_about_prepared_statement() {
        ARE_REMOVED.store(true, Ordering::Relaxed);
    }
}
