//! Reads beside the writer, by connections that can't write.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::connection::Connection;
use super::error::DatabaseError;
use super::settings::StoreSettings;

/// Connections that read at once.
const READERS: u32 = 4;

/// Connections that read. They are opened when they are first needed.
pub(super) struct Readers {
    settings: Arc<StoreSettings>,
    /// Those that nobody uses now.
    idle: Mutex<Vec<Connection>>,
    /// One for each connection that may still be used. Closed with the store.
    free: Semaphore,
}

impl Readers {
    pub(super) fn of(settings: Arc<StoreSettings>) -> Self {
        Self {
            settings,
            idle: Mutex::default(),
            free: Semaphore::new(READERS as usize),
        }
    }

    /// Reads in one transaction, on a thread that may wait. None once closed.
    pub(super) async fn read<T, F>(self: &Arc<Self>, look: F) -> Option<Result<T, DatabaseError>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    {
        let _place = self.free.acquire().await.ok()?;
        let readers = self.clone();
        spawn_blocking(move || readers.look(look)).await.ok()
    }

    fn look<T>(
        &self,
        look: impl FnOnce(&mut Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let mut connection = self.begin()?;
        let seen = look(&mut connection);
        // A connection that can't end its transaction is not used again. What it read is good.
        if connection.run("ROLLBACK").is_ok() {
            self.idle().push(connection);
        }
        seen
    }

    /// Begins on an idle connection, or on a new one if there is none that still works.
    fn begin(&self) -> Result<Connection, DatabaseError> {
        let idle = self.idle().pop();
        if let Some(mut connection) = idle
            && connection.begin_reading().is_ok()
        {
            return Ok(connection);
        }
        let mut connection = Connection::reading(&self.settings)?;
        connection.begin_reading()?;
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for those who read and closes all connections.
    pub(super) async fn close(&self) {
        // Fails if it was closed before.
        if let Ok(all) = self.free.acquire_many(READERS).await {
            all.forget();
        }
        self.free.close();
        let idle = mem::take(&mut *self.idle());
        let closing = spawn_blocking(move || drop(idle));
        // Only a panic could fail.
        let _ = closing.await;
    }
}
