//! The rows of a table on their way: read in pages, each of which one statement writes. So a copy
//! takes little memory, however long the table is.

use super::side::Side;
use super::tables::{Rows, Table};
use crate::store::StoreError;
use crate::store::database::{Bind, Column, Connection, DatabaseError, Row, RowValue, places};

/// Values in a page. PostgreSQL takes at most 65,535 in a statement, and SQLite 32,766.
const VALUES: usize = 3_000;

/// Rows in a page of whole messages.
const MESSAGES: usize = 8;

/// The rows of a table that are copied.
pub(super) struct Selected {
    table: &'static Table,
    /// The machine whose rows they are, if each row belongs to one.
    machine: Option<String>,
}

impl Selected {
    pub(super) fn of(table: &'static Table, from: &Side<'_>) -> Self {
        Self {
            table,
            machine: machine(table, from),
        }
    }

    pub(super) fn table(&self) -> &Table {
        self.table
    }

    /// The number of rows that are to be copied.
    pub(super) fn count(&self, from: &mut Side<'_>) -> Result<u64, StoreError> {
        let (name, condition) = (self.table.name, self.condition());
        let count = format!("SELECT count(*) FROM {name}{condition}");
        from.run(|connection| connection.scalar(&count, &self.values()))
    }

    pub(super) fn copy(&self, from: &mut Side<'_>, to: &mut Side<'_>) -> Result<(), StoreError> {
        let name = self.table.name;
        let columns = from.run(|connection| connection.columns(name))?;
        let key = key(self.table, &columns);
        if self.table.rows == Rows::Started {
            let delete = format!("DELETE FROM {name}");
            to.run(|connection| connection.execute(&delete, &[]))?;
        }
        let mut last = None;
        loop {
            let page = from.run(|connection| self.page(&columns, &key, last, connection))?;
            if page.is_empty() {
                return self.finish(to);
            }
            to.run(|connection| insert(name, &columns, &page, connection))?;
            last = page.into_iter().next_back();
        }
    }

    /// The rows after the last of the page before, in the order of the key.
    fn page(
        &self,
        columns: &[Column],
        key: &[Column],
        last: Option<Row>,
        connection: &mut Connection,
    ) -> Result<Vec<Row>, DatabaseError> {
        let mut condition = self.condition();
        let mut values = self.values();
        let after = last
            .iter()
            .flat_map(|row| key.iter().map(|column| column.of(row)));
        let after: Vec<RowValue<'_>> = after.collect::<Result<_, _>>()?;
        if !after.is_empty() {
            let word = if values.is_empty() { "WHERE" } else { "AND" };
            let places = places(values.len() + 1, after.len());
            condition.push_str(&format!(" {word} ({}) > ({places})", names(key)));
            values.extend(after.iter().map(|value| value as &dyn Bind));
        }
        let statement = format!(
            "SELECT {} FROM {}{condition} ORDER BY {} LIMIT {}",
            names(columns),
            self.table.name,
            names(key),
            self.page_length(columns)
        );
        connection.all(&statement, &values)
    }

    fn page_length(&self, columns: &[Column]) -> usize {
        match self.table.rows {
            Rows::Large => MESSAGES,
            Rows::Plain | Rows::Started | Rows::OfMachine => VALUES / columns.len().max(1),
        }
    }

    fn condition(&self) -> String {
        let condition = self.machine.as_ref().map(|_| " WHERE node = $1".to_owned());
        condition.unwrap_or_default()
    }

    fn values(&self) -> Vec<&dyn Bind> {
        let machine = self.machine.iter();
        machine.map(|machine| machine as &dyn Bind).collect()
    }

    /// Names the machine as the target does, and numbers the next rows.
    fn finish(&self, to: &mut Side<'_>) -> Result<(), StoreError> {
        let name = self.table.name;
        if let Some(machine) = machine(self.table, to) {
            let rename = format!("UPDATE {name} SET node = $1");
            to.run(|connection| connection.execute(&rename, &[&machine]))?;
        }
        match self.table.is_numbered() {
            true => to.run(|connection| connection.number_on(name)),
            false => Ok(()),
        }
    }
}

/// The number of all rows of a table.
pub(super) fn count(table: &Table, side: &mut Side<'_>) -> Result<u64, StoreError> {
    let count = format!("SELECT count(*) FROM {}", table.name);
    side.run(|connection| connection.scalar(&count, &[]))
}

/// This machine, as a database names it in such a table.
fn machine(table: &Table, side: &Side<'_>) -> Option<String> {
    (table.rows == Rows::OfMachine).then(|| side.clock_node())
}

fn key(table: &Table, columns: &[Column]) -> Vec<Column> {
    let of_key = |name: &&str| columns.iter().find(|column| column.name == **name);
    table.key.iter().filter_map(of_key).cloned().collect()
}

/// Writes all rows of a page by one statement.
fn insert(
    table: &str,
    columns: &[Column],
    page: &[Row],
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    let width = columns.len();
    let rows = (0..page.len()).map(|row| format!("({})", places(row * width + 1, width)));
    let rows: Vec<String> = rows.collect();
    let (names, rows) = (names(columns), rows.join(", "));
    let values = page
        .iter()
        .flat_map(|row| columns.iter().map(|column| column.of(row)));
    let values: Vec<RowValue<'_>> = values.collect::<Result<_, _>>()?;
    let values: Vec<&dyn Bind> = values.iter().map(|value| value as &dyn Bind).collect();
    let statement = format!("INSERT INTO {table} ({names}) VALUES {rows}");
    connection.execute(&statement, &values)?;
    Ok(())
}

/// Some are words of SQL too.
fn names(columns: &[Column]) -> String {
    let names = columns.iter().map(|column| format!("\"{}\"", column.name));
    names.collect::<Vec<_>>().join(", ")
}
