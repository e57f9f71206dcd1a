//! Reads a record's fields one by one, so that each error names its field.

use std::str::FromStr;
use std::vec;

use super::error::{FieldError, RecordError};
use super::record::{Record, TypedRecord};

/// The unread fields of one record.
pub(super) struct Fields<'record> {
    kind: &'static str,
    remaining: vec::IntoIter<&'record str>,
}

impl<'record> Fields<'record> {
    /// The fields of `record`. Fails unless it is a `T` with `count` fields.
    pub(super) fn of<T: TypedRecord>(
        record: &'record Record,
        count: usize,
    ) -> Result<Self, RecordError> {
        if record.kind() != T::TYPE {
            return Err(FieldError::format(T::TYPE, record.kind()).in_field(T::TYPE, "type"));
        }
        let fields = record.fields();
        if fields.len() != count {
            let expected = format!("{count} fields between the type and the CRC");
            return Err(
                FieldError::format(expected, &fields.len().to_string()).in_field(T::TYPE, "text")
            );
        }
        Ok(Self {
            kind: T::TYPE,
            remaining: fields.into_iter(),
        })
    }

    /// The next field, called `name` in an error.
    pub(super) fn take<T: FromStr<Err = FieldError>>(
        &mut self,
        name: &'static str,
    ) -> Result<T, RecordError> {
        self.take_by(name, str::parse)
    }

    /// The next field as `read` understands it, called `name` in an error.
    pub(super) fn take_by<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, FieldError>,
    ) -> Result<T, RecordError> {
        let text = self.remaining.next().unwrap_or_default();
        read(text).map_err(|error| error.in_field(self.kind, name))
    }

    /// The next field, or `None` if it is empty.
    pub(super) fn take_optional<T: FromStr<Err = FieldError>>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, RecordError> {
        if self.remaining.as_slice().first() == Some(&"") {
            self.remaining.next();
            return Ok(None);
        }
        self.take(name).map(Some)
    }
}

/// Reads and writes a record's fields in order, each by its name in errors. The
/// text of a field with a wrapper, such as `Hex`, is the wrapper's.
macro_rules! typed_record {
    ($record:ident, $kind:literal, $($field:ident $(: $wrapper:ident)? = $name:literal),+ $(,)?) => {
        impl TypedRecord for $record {
            const TYPE: &'static str = $kind;

            fn from_record(record: &Record) -> Result<Self, RecordError> {
                let mut fields = Fields::of::<Self>(record, [$($name),+].len())?;
                $(let typed_record!(@read $field $($wrapper)?) = fields.take($name)?;)+
                Ok(Self { $($field),+ })
            }

            fn to_record(&self) -> Record {
                let fields = [$($($wrapper)?(self.$field).to_string()),+];
                Record::of_checked_fields(Self::TYPE, &fields)
            }
        }
    };
    (@read $field:ident) => { $field };
    (@read $field:ident $wrapper:ident) => { $wrapper($field) };
}

pub(super) use typed_record;
