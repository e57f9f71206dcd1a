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
        let text = self.remaining.next().unwrap_or_default();
        text.parse()
            .map_err(|error: FieldError| error.in_field(self.kind, name))
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
