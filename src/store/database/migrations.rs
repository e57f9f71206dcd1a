//! Brings the schema up to date.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, SqlSafeStr as _};

use super::error::{Failure, StoreError};
use super::integrity;
use super::settings::StoreSettings;

/// The steps of the schema, oldest first: version, description, statements. `sqlx::migrate!`
/// would find the files itself, but at the price of a second sqlx and SQLite, compiled for the
/// compiler's own use.
const MIGRATIONS: &[(i64, &str, &str)] =
    &[(1, "store", include_str!("../migrations/0001_store.sql"))];

/// Brings the schema up to date in one transaction, so that others may open the database
/// meanwhile.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    settings: &StoreSettings,
) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| Failure::from(error).of(settings);
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed)?;
    refuse_newer(&mut transaction, settings).await?;
    // By `run` the future could not move between threads.
    migrator()
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                failed(error)
            }
            other => failed(sqlx::Error::Migrate(Box::new(other))),
        })?;
    transaction.commit().await.map_err(failed)
}

fn migrator() -> Migrator {
    let migration = |&(version, description, statements): &(i64, &'static str, &'static str)| {
        Migration::new(
            version,
            description.into(),
            MigrationType::Simple,
            statements.into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
}

/// The newest version of the schema that this program knows.
pub(super) fn newest_known() -> i64 {
    let versions = MIGRATIONS.iter().map(|(version, ..)| *version);
    versions.max().unwrap_or(0)
}

/// Refuses a schema that a newer version of this program made.
pub(super) async fn refuse_newer(
    connection: &mut SqliteConnection,
    settings: &StoreSettings,
) -> Result<(), StoreError> {
    let known = newest_known();
    let found = schema_version(connection)
        .await
        .map_err(|error| integrity::failed(error, &settings.path))?;
    if found <= known {
        return Ok(());
    }
    Err(StoreError::Schema {
        path: settings.path.clone(),
        found,
        known,
    })
}

/// The newest migration applied, 0 in a new file.
async fn schema_version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    let made: bool = sqlx::query_scalar(
        "SELECT count(*) > 0 FROM sqlite_schema WHERE name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !made {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await
}
