//! Opens the database of either engine, with its schema up to date.

use jiff::SignedDuration;

use super::connection::Connection;
use super::error::{DatabaseError, Failure, StoreError};
use super::migrations::{migrate, migrate_within, refuse_newer};
use super::settings::StoreSettings;
use super::shared_clock::SharedClock;
use super::sqlite::{Check, InUse, open};

/// Time for which a gateway that said nothing counts as one that uses the database.
const SAID_NOTHING: SignedDuration = SignedDuration::from_secs(30);

/// Who may have the database open at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    WithOthers,
    Alone,
}

/// An open database.
pub(crate) struct Opened {
    /// The connection that is to write.
    pub(crate) connection: Connection,
    /// The lock on the store, if it is a file.
    pub(crate) in_use: Option<InUse>,
    /// How often the secrets were changed, if several gateways may use the database.
    pub(super) secrets: Option<i64>,
    /// Set already: times are taken before the first change.
    pub(super) clock: SharedClock,
}

/// Checks the database and opens it. A server checks its own files: there the database only must
/// exist if anything is to be checked.
pub(crate) fn open(
    settings: &StoreSettings,
    check: Check,
    sharing: Sharing,
) -> Result<Opened, StoreError> {
    if settings.postgresql.is_some() {
        return open_server(settings, check, sharing);
    }
    let connection = open::writer(settings, check)?;
    let in_use = match sharing {
        Sharing::WithOthers => InUse::shared(&settings.path),
        Sharing::Alone => InUse::alone(&settings.path),
    };
    Ok(Opened {
        connection,
        in_use: Some(in_use?),
        secrets: None,
        clock: SharedClock::default(),
    })
}

/// Whether there is a database, of any version. Makes none.
pub(super) fn exists(settings: &StoreSettings) -> Result<bool, StoreError> {
    if settings.postgresql.is_none() {
        return Ok(settings.path.exists());
    }
    let connection = Connection::reading(settings);
    let mut connection = connection.map_err(|error| Failure::from(error).of(settings))?;
    Ok(refuse_newer(&mut connection, settings)? > 0)
}

fn open_server(
    settings: &StoreSettings,
    check: Check,
    sharing: Sharing,
) -> Result<Opened, StoreError> {
    let failed = |error: DatabaseError| Failure::from(error).of(settings);
    let mut connection = Connection::writing(settings).map_err(failed)?;
    if check != Check::Nothing && refuse_newer(&mut connection, settings)? == 0 {
        return Err(StoreError::Empty {
            place: settings.place(),
        });
    }
    migrate(&mut connection, settings)?;
    if sharing == Sharing::Alone {
        require_alone(&mut connection, settings)?;
    }
    let begun = connection.look().map_err(failed)?;
    let clock = SharedClock::default();
    if let Some(begun) = begun {
        clock.note(begun.asked, begun.now);
    }
    Ok(Opened {
        connection,
        in_use: None,
        secrets: begun.map(|begun| begun.secrets),
        clock,
    })
}

/// Begins the transaction that fills a PostgreSQL database, alone among all that change it. Makes
/// the tables if they are missing: they are there with their content, or not at all.
pub(crate) fn begin_filling(settings: &StoreSettings) -> Result<Connection, StoreError> {
    let failed = |error: DatabaseError| Failure::from(error).of(settings);
    let mut connection = Connection::writing(settings).map_err(failed)?;
    connection.begin_migration(settings).map_err(failed)?;
    migrate_within(&mut connection, settings)?;
    connection
        .execute("UPDATE writer SET commits = commits + 1", &[])
        .map_err(failed)?;
    require_alone(&mut connection, settings)?;
    Ok(connection)
}

/// Refuses while a gateway uses the database. One that begins later finds the change of the
/// secrets, and changes nothing with the former ones.
fn require_alone(connection: &mut Connection, settings: &StoreSettings) -> Result<(), StoreError> {
    let failed = |error: DatabaseError| Failure::from(error).of(settings);
    let now = connection.now().map_err(failed)?;
    let living: i64 = connection
        .scalar(
            "SELECT count(*) FROM nodes WHERE seen_at > $1",
            &[&now.saturating_sub(SAID_NOTHING).unwrap_or(now)],
        )
        .map_err(failed)?;
    match living {
        0 => Ok(()),
        _ => Err(StoreError::InUse {
            place: settings.place(),
        }),
    }
}
