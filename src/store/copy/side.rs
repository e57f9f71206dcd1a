//! One of the two databases of a copy, in a transaction.

use crate::store::database::{Connection, DatabaseError, Failure, StoreError, StoreSettings};

pub(super) struct Side<'a> {
    connection: Connection,
    settings: &'a StoreSettings,
}

impl<'a> Side<'a> {
    pub(super) fn of(connection: Connection, settings: &'a StoreSettings) -> Self {
        Self {
            connection,
            settings,
        }
    }

    /// Runs statements there. An error names the database.
    pub(super) fn run<T>(
        &mut self,
        statements: impl FnOnce(&mut Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, StoreError> {
        let settings = self.settings;
        statements(&mut self.connection).map_err(|error| Failure::from(error).of(settings))
    }

    /// Commits, and leaves the database as the next process opens it quickest.
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        self.run(|connection| {
            connection.run("COMMIT")?;
            connection.settle()
        })?;
        let closed = self.connection.close();
        closed.map_err(|error| Failure::from(error).of(self.settings))
    }

    /// Ends a transaction that has only read. Nothing depends on its end.
    pub(super) fn end(mut self) {
        let _ = self.connection.run("ROLLBACK");
        let _ = self.connection.close();
    }

    /// Runs what names the database itself in its errors.
    pub(super) fn with<T>(
        &mut self,
        run: impl FnOnce(&mut Connection, &StoreSettings) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        run(&mut self.connection, self.settings)
    }

    /// The database as errors name it.
    pub(super) fn place(&self) -> String {
        self.settings.place()
    }

    /// This machine, as the database's record of clocks names it.
    pub(super) fn clock_node(&self) -> String {
        self.settings.clock_node()
    }
}
