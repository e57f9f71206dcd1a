//! Values of this program in columns.

use jiff::{SignedDuration, Timestamp};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteArgumentsBuffer, SqliteRow, SqliteTypeInfo, SqliteValueRef};
use sqlx::types::Text;
use sqlx::{Decode, Encode, Row, Type};

/// A moment, in microseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Type<Sqlite> for Moment {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(ty: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(ty)
    }
}

impl Encode<'_, Sqlite> for Moment {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<'_, Sqlite>>::encode(self.0.as_microsecond(), buffer)
    }
}

impl Decode<'_, Sqlite> for Moment {
    fn decode(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        let microseconds = <i64 as Decode<'_, Sqlite>>::decode(value)?;
        Ok(Self(Timestamp::from_microsecond(microseconds)?))
    }
}

/// A value that its column holds as text.
pub(crate) fn text<'r, T>(row: &'r SqliteRow, column: &str) -> sqlx::Result<T>
where
    Text<T>: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(column).map(|Text(value)| value)
}

/// The same for a column that may be NULL.
pub(crate) fn optional_text<'r, T>(row: &'r SqliteRow, column: &str) -> sqlx::Result<Option<T>>
where
    Text<T>: Decode<'r, Sqlite> + Type<Sqlite>,
{
    let value: Option<Text<T>> = row.try_get(column)?;
    Ok(value.map(|Text(value)| value))
}

pub(crate) fn moment(row: &SqliteRow, column: &str) -> sqlx::Result<Timestamp> {
    row.try_get(column).map(|Moment(time)| time)
}

/// A length of time as a column holds it, in microseconds.
pub(crate) fn microseconds(length: SignedDuration) -> i64 {
    let longest = if length.is_negative() {
        i64::MIN
    } else {
        i64::MAX
    };
    i64::try_from(length.as_micros()).unwrap_or(longest)
}

/// A length of time.
pub(crate) fn length(row: &SqliteRow, column: &str) -> sqlx::Result<SignedDuration> {
    row.try_get(column).map(SignedDuration::from_micros)
}
