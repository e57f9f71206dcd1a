//! Opens every sealed row, so that an altered row is found before a request needs
//! it. Each secret is wiped before the next is opened.

use std::fmt::{self, Display, Formatter};

use tokio::task::yield_now;

use super::rows::{KmcKeyRow, ModuleRow, VendingKeyRow};
use super::tables::{KmsTables, TablesError};
use crate::secrets::{DoesNotOpen, StorageKey};

/// Number of altered rows that are named. The others are only counted.
const NAMED: usize = 5;

/// Number of rows after which other tasks on this thread have their turn.
const ROWS_AT_ONCE: usize = 32;

/// The rows that somebody altered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlteredRows {
    count: usize,
    named: Vec<String>,
}

impl AlteredRows {
    /// Opens every row of these tables.
    ///
    /// # Errors
    /// [`TablesError::Store`]: the tables are out of reach.
    pub(crate) async fn find(
        tables: &dyn KmsTables,
        storage_key: &StorageKey,
    ) -> Result<Self, TablesError> {
        let mut altered = Self::default();
        let rows = tables.kmc_keys().await;
        let open = |row: &KmcKeyRow| row.open(storage_key).err();
        altered.examine("a KMC key", rows, open).await?;
        let rows = tables.modules().await;
        let open = |row: &ModuleRow| row.open(storage_key).err();
        altered.examine("a module", rows, open).await?;
        let rows = tables.vending_keys().await;
        let open = |row: &VendingKeyRow| row.open(storage_key).err();
        altered.examine("a vending key", rows, open).await?;
        Ok(altered)
    }

    async fn examine<Row>(
        &mut self,
        kind: &str,
        rows: Result<Vec<Row>, TablesError>,
        open: impl Fn(&Row) -> Option<DoesNotOpen>,
    ) -> Result<(), TablesError> {
        let rows = match rows {
            // Not even the attributes of a row can be read.
            Err(TablesError::Unreadable(why)) => {
                self.add(format!("{kind} ({why})"));
                return Ok(());
            }
            rows => rows?,
        };
        for some in rows.chunks(ROWS_AT_ONCE) {
            for altered in some.iter().filter_map(&open) {
                self.add(altered.row);
            }
            yield_now().await;
        }
        Ok(())
    }

    /// Counts an altered row, by the name that people know it by.
    pub(crate) fn add(&mut self, name: String) {
        self.count = self.count.saturating_add(1);
        if self.named.len() < NAMED {
            self.named.push(name);
        }
    }

    /// Number of altered rows.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The alarm for the operator; none if no row was altered.
    #[must_use]
    pub(crate) fn alarm(&self) -> Option<String> {
        (self.count > 0).then(|| self.to_string())
    }
}

impl Display for AlteredRows {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let named = self.named.join(", ");
        match self.count {
            1 => write!(f, "a sealed row was altered: {named}")?,
            count => write!(f, "{count} sealed rows were altered: {named}")?,
        }
        let unnamed = self.count.saturating_sub(self.named.len());
        if unnamed > 0 {
            write!(f, " and {unnamed} more")?;
        }
        write!(
            f,
            "; requests that need them wait. Restore a backup, and find out who could write the \
             database"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn altered(count: usize) -> AlteredRows {
        let mut altered = AlteredRows::default();
        (0..count).for_each(|number| altered.add(format!("module M{number}")));
        altered
    }

    #[test]
    fn some_are_named_and_all_are_counted() {
        assert_eq!(altered(0).alarm(), None);
        let one = altered(1).to_string();
        assert!(
            one.starts_with("a sealed row was altered: module M0; "),
            "{one}"
        );
        let many = altered(7).to_string();
        assert!(
            many.starts_with("7 sealed rows were altered: module M0, module M1")
                && many.contains("module M4 and 2 more;"),
            "{many}"
        );
    }
}
