//! A connection to the PostgreSQL server that may be written to. The thread that uses it waits for
//! each answer, but never for ever.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{FutureExt as _, TryStreamExt as _};
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, RowStream, SimpleQueryMessage};

use super::prepared::{self, MARK, Prepared, PreparedStatements, Sending};
use super::server;
use super::settings::PostgresqlSettings;
use crate::store::database::error::DatabaseError;
use crate::store::database::row::{Cell, Row};
use crate::store::database::values::{Bind, Value};

/// The longest that the server works at one statement.
const LONGEST_STATEMENT: Duration = Duration::from_secs(30);

/// Time that the client waits beyond that. Then the connection is lost.
const BEYOND: Duration = Duration::from_secs(5);

/// Time after which the server ends a transaction whose process says nothing. Others wait for it
/// no longer than for a lock.
const IDLE: Duration = Duration::from_secs(5);

/// The same for one that only reads, and that nobody waits for.
const IDLE_READING: Duration = Duration::from_secs(60);

/// Number of the lock that changes of the schema take: "KMSG".
const MIGRATION: i64 = 0x4B4D_5347;

/// A connection to PostgreSQL.
pub(crate) struct PostgresqlConnection {
    /// Stands before `prepared`, and so is dropped first. Otherwise each statement would be closed
    /// by its name, behind a pooler perhaps in a session where it is another's.
    client: Client,
    prepared: PreparedStatements,
    /// Moves the bytes while a thread waits. None once dropped.
    runtime: Option<Runtime>,
    /// Whether an answer did not come in time. Nothing more is asked then: each question would
    /// cost the same wait once more.
    is_lost: AtomicBool,
    changes: u64,
}

impl PostgresqlConnection {
    /// Connects to the first host that may be written to.
    pub(crate) fn open(settings: &PostgresqlSettings) -> Result<Self, DatabaseError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(DatabaseError::encode)?;
        let client = runtime.block_on(server::connect(settings))?;
        Ok(Self {
            client,
            prepared: PreparedStatements::new()?,
            runtime: Some(runtime),
            is_lost: AtomicBool::new(false),
            changes: 0,
        })
    }

    /// Begins a transaction that changes something. It waits for those of others, as long as
    /// `patience`, and each of its statements sees what they committed. If this process stops in
    /// the midst of it, the server ends it.
    pub(crate) fn begin(&mut self, patience: Duration) -> Result<Begun, DatabaseError> {
        if let Some(claim) = self.prepared.claim() {
            self.run(&claim)?;
        }
        let asked = Timestamp::now();
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {} {}; {};
             UPDATE writer SET commits = commits + 1 RETURNING commits, secrets,
                 (SELECT max(usable_from) FROM schema_version) AS usable_from,
                 CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) AS now,
                 {MARK} AS mark",
            self.prepared.renewal(),
            within(LONGEST_STATEMENT, IDLE),
            lock_within(patience),
        );
        let rows = self.run_within(patience + BEYOND, &begin)?;
        let mark: Option<String> = rows
            .first()
            .map(|row| row.get("mark"))
            .transpose()?
            .flatten();
        self.prepared.begin(mark.as_deref());
        Begun::read(asked, &rows)
    }

    /// Begins a transaction that reads everything as it is at one moment.
    pub(crate) fn begin_reading(&mut self) -> Result<(), DatabaseError> {
        self.run(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}",
            within(LONGEST_STATEMENT, IDLE_READING),
        ))
        .map(drop)
    }

    /// The same, and nobody changes anything until it ends, however long it is idle.
    pub(crate) fn begin_reading_alone(&mut self, patience: Duration) -> Result<(), DatabaseError> {
        self.run(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}; {};
             LOCK TABLE writer IN SHARE MODE",
            within(LONGEST_STATEMENT, Duration::ZERO),
            lock_within(patience),
        ))
        .map(drop)
    }

    /// Begins a transaction that changes the schema, alone among all that do.
    pub(crate) fn begin_migration(&mut self, patience: Duration) -> Result<(), DatabaseError> {
        self.run(&format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {}; {}; SELECT pg_advisory_xact_lock({MIGRATION})",
            within(LONGEST_STATEMENT, IDLE),
            lock_within(patience),
        ))
        .map(drop)
    }

    /// Counts of commits and the time, as [`Self::begin`] has them, without a transaction.
    pub(crate) fn look(&mut self) -> Result<Begun, DatabaseError> {
        let asked = Timestamp::now();
        let rows = self.run(
            "SELECT commits, secrets, (SELECT max(usable_from) FROM schema_version) AS usable_from,
                 CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) AS now
             FROM writer",
        )?;
        Begun::read(asked, &rows)
    }

    /// Runs statements without values. Returns the rows that they give, as texts.
    pub(crate) fn run(&mut self, statements: &str) -> Result<Vec<Row>, DatabaseError> {
        self.run_within(LONGEST_STATEMENT + BEYOND, statements)
    }

    fn run_within(
        &mut self,
        patience: Duration,
        statements: &str,
    ) -> Result<Vec<Row>, DatabaseError> {
        if matches!(statements, "COMMIT" | "ROLLBACK") {
            self.prepared.end();
        }
        let messages = self.wait_within(patience, self.client.simple_query(statements))?;
        let mut rows = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::CommandComplete(changed) = message {
                self.changes += changed;
                continue;
            }
            let SimpleQueryMessage::Row(row) = message else {
                continue;
            };
            let columns = row.columns().iter().map(|column| column.name().to_owned());
            let cell =
                |text: Option<&str>| text.map_or(Cell::Null, |text| Cell::Text(text.to_owned()));
            rows.push(Row {
                columns: columns.collect(),
                cells: (0..row.len()).map(|place| cell(row.get(place))).collect(),
            });
        }
        Ok(rows)
    }

    pub(crate) fn execute(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<u64, DatabaseError> {
        let values = bound(values);
        let changed = match self.prepared(statement, &values)? {
            Some(prepared) => {
                let parameters = values.iter().map(parameter);
                self.wait(self.client.execute_raw(&prepared.statement, parameters))
            }
            None => {
                let parameters: Vec<_> = values.iter().map(typed).collect();
                self.wait(self.client.execute_typed(statement, &parameters))
            }
        }?;
        self.changes += changed;
        Ok(changed)
    }

    /// How many rows the connection has changed. Rows that anything but a SELECT returns count as
    /// changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Gives each row to `take`.
    pub(crate) fn each(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
        take: &mut dyn FnMut(Row) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let values = bound(values);
        let prepared = self.prepared(statement, &values)?;
        let rows = match &prepared {
            Some(prepared) => {
                let parameters = values.iter().map(parameter);
                self.wait(self.client.query_raw(&prepared.statement, parameters))?
            }
            None => {
                let parameters = values.iter().map(typed);
                self.wait(self.client.query_typed_raw(statement, parameters))?
            }
        };
        let mut columns = prepared.map(|prepared| prepared.columns);
        let mut rows = pin!(rows);
        let is_change = !statement.starts_with("SELECT");
        while let Some(row) = self.next(rows.as_mut())? {
            self.changes += u64::from(is_change);
            let columns = columns.get_or_insert_with(|| {
                let names = row.columns().iter().map(|column| column.name().to_owned());
                names.collect()
            });
            let cells = (0..row.len()).map(|place| row.try_get::<_, Cell>(place));
            let cells = cells.collect::<Result<_, _>>();
            take(Row {
                columns: columns.clone(),
                cells: cells.map_err(DatabaseError::content)?,
            })?;
        }
        Ok(())
    }

    /// The next row. Most came with the one before, and need no wait.
    fn next(
        &self,
        mut rows: Pin<&mut RowStream>,
    ) -> Result<Option<tokio_postgres::Row>, DatabaseError> {
        match rows.try_next().now_or_never() {
            Some(row) => Ok(row?),
            None => self.wait(rows.try_next()),
        }
    }

    /// The statement as the server keeps it, if it does.
    fn prepared(
        &mut self,
        statement: &str,
        values: &[Bound<'_>],
    ) -> Result<Option<Prepared>, DatabaseError> {
        let types = || values.iter().map(Bound::kind);
        let prepared = match self.prepared.sending(statement) {
            Sending::Whole => return Ok(None),
            Sending::ByName(prepared) => prepared,
            Sending::ToPrepare => {
                let types: Vec<_> = types().collect();
                let made = self.wait(self.client.prepare_typed(statement, &types))?;
                self.prepared.keep(statement, made)
            }
        };
        // Elsewhere the same statement may have values of other types.
        let is_alike = prepared.statement.params().iter().cloned().eq(types());
        Ok(Some(prepared).filter(|_| is_alike))
    }

    fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        self.wait_within(LONGEST_STATEMENT + BEYOND, answer)
    }

    fn wait_within<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        let is_lost = self.is_lost.load(Ordering::Relaxed);
        let Some(runtime) = self.runtime.as_ref().filter(|_| !is_lost) else {
            return Err(DatabaseError::no_answer(patience));
        };
        let answer = runtime.block_on(async { timeout(patience, answer).await });
        self.is_lost.store(answer.is_err(), Ordering::Relaxed);
        let answer = answer.map_err(|_| DatabaseError::no_answer(patience))?;
        answer
            .map_err(DatabaseError::from)
            .inspect_err(prepared::heed)
    }
}

/// What the server says when a transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Number of the transaction among all that changed something.
    pub(crate) commits: i64,
    /// How often the secrets were changed.
    pub(crate) secrets: i64,
    /// The oldest version of this program's schema that may use the database.
    pub(crate) usable_from: i64,
    /// When the server was asked, by this machine's clock.
    pub(crate) asked: Timestamp,
    /// The time by the server's clock.
    pub(crate) now: Timestamp,
}

impl Begun {
    fn read(asked: Timestamp, rows: &[Row]) -> Result<Self, DatabaseError> {
        let row = rows
            .first()
            .ok_or_else(|| DatabaseError::content("the table writer has no row"))?;
        let now = Timestamp::from_microsecond(row.text("now")?);
        Ok(Self {
            commits: row.text("commits")?,
            secrets: row.text("secrets")?,
            usable_from: row.text("usable_from")?,
            asked,
            now: now.map_err(DatabaseError::content)?,
        })
    }
}

/// Limits of this transaction alone, since a pooler gives the session to others afterwards.
fn within(statement: Duration, idle: Duration) -> String {
    format!(
        "SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}",
        statement.as_millis(),
        idle.as_millis()
    )
}

fn lock_within(patience: Duration) -> String {
    format!("SET LOCAL lock_timeout = {}", patience.as_millis().max(1))
}

impl Drop for PostgresqlConnection {
    /// A runtime that is dropped waits for its threads, which asynchronous code must not do.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A value and its type, so that the server need not be asked for it.
enum Bound<'a> {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<&'a [u8]>),
}

fn bound<'a>(values: &'a [&dyn Bind]) -> Vec<Bound<'a>> {
    let bound = |value: &'a &dyn Bind| match value.value() {
        Value::Integer(value) => Bound::Integer(value),
        // A text of PostgreSQL's holds no NUL. Only a stranger's text could have one.
        Value::Text(value) => Bound::Text(value.map(|text| text.replace('\0', "\u{FFFD}"))),
        Value::Bytes(value) => Bound::Bytes(value),
    };
    values.iter().map(bound).collect()
}

impl Bound<'_> {
    fn kind(&self) -> Type {
        match self {
            Self::Integer(_) => Type::INT8,
            Self::Text(_) => Type::TEXT,
            Self::Bytes(_) => Type::BYTEA,
        }
    }
}

fn parameter<'a>(value: &'a Bound<'_>) -> &'a (dyn ToSql + Sync) {
    match value {
        Bound::Integer(value) => value,
        Bound::Text(value) => value,
        Bound::Bytes(value) => value,
    }
}

fn typed<'a>(value: &'a Bound<'_>) -> (&'a (dyn ToSql + Sync), Type) {
    (parameter(value), value.kind())
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(
        of: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *of {
            Type::BOOL => Self::Integer(bool::from_sql(of, raw)?.into()),
            Type::INT2 => Self::Integer(i16::from_sql(of, raw)?.into()),
            Type::INT4 => Self::Integer(i32::from_sql(of, raw)?.into()),
            Type::INT8 => Self::Integer(i64::from_sql(of, raw)?),
            Type::BYTEA => Self::Bytes(Vec::from_sql(of, raw)?),
            _ => Self::Text(String::from_sql(of, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(of: &Type) -> bool {
        matches!(
            *of,
            Type::BOOL | Type::INT2 | Type::INT4 | Type::INT8 | Type::BYTEA
        ) || <String as FromSql>::accepts(of)
    }
}
