//! Values of this program on their way into the database.

use std::borrow::Cow;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// A value as both engines know it. A missing one has its type too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Integer(Option<i64>),
    Text(Option<Cow<'a, str>>),
    Bytes(Option<&'a [u8]>),
}

/// A value that a statement takes.
pub(crate) trait Bind {
    /// The value as the database has it. Numbers beyond those of the database become its largest.
    fn value(&self) -> Value<'_>;
}

/// A type whose values may be missing.
pub(crate) trait Nullable {
    /// NULL, for a column of this type.
    const NULL: Value<'static>;
}

impl<T: Bind + Nullable> Bind for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(T::NULL, T::value)
    }
}

impl<T: Bind + ?Sized> Bind for &T {
    fn value(&self) -> Value<'_> {
        (**self).value()
    }
}

impl<T: Nullable + ?Sized> Nullable for &T {
    const NULL: Value<'static> = T::NULL;
}

/// A value that its column holds as text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<T>(pub(crate) T);

impl<T: fmt::Display> Bind for Text<T> {
    fn value(&self) -> Value<'_> {
        Value::Text(Some(Cow::Owned(self.0.to_string())))
    }
}

impl<T> Nullable for Text<T> {
    const NULL: Value<'static> = Value::Text(None);
}

/// How the values of a type are bound.
macro_rules! binds {
    ($($type:ty as $kind:ident: $own:ident => $value:expr;)*) => {$(
        impl Bind for $type {
            fn value(&self) -> Value<'_> {
                let $own = self;
                Value::$kind(Some($value))
            }
        }

        impl Nullable for $type {
            const NULL: Value<'static> = Value::$kind(None);
        }
    )*};
}

binds! {
    i64 as Integer: value => *value;
    u8 as Integer: value => i64::from(*value);
    u32 as Integer: value => i64::from(*value);
    u64 as Integer: value => i64::try_from(*value).unwrap_or(i64::MAX);
    usize as Integer: value => i64::try_from(*value).unwrap_or(i64::MAX);
    bool as Integer: value => i64::from(*value);
    // Microseconds since 1970 UTC.
    Timestamp as Integer: value => value.as_microsecond();
    // Microseconds.
    SignedDuration as Integer: value => microseconds(*value);
    str as Text: value => Cow::Borrowed(value);
    String as Text: value => Cow::Borrowed(value);
    [u8] as Bytes: value => value;
    Vec<u8> as Bytes: value => value;
}

impl<const N: usize> Bind for [u8; N] {
    fn value(&self) -> Value<'_> {
        Value::Bytes(Some(self))
    }
}

impl<const N: usize> Nullable for [u8; N] {
    const NULL: Value<'static> = Value::Bytes(None);
}

fn microseconds(length: SignedDuration) -> i64 {
    let longest = if length.is_negative() {
        i64::MIN
    } else {
        i64::MAX
    };
    i64::try_from(length.as_micros()).unwrap_or(longest)
}

/// Places for so many values in a statement, such as `$3, $4`. The first has the number `from`.
pub(crate) fn places(from: usize, count: usize) -> String {
    let places = (from..from + count).map(|number| format!("${number}"));
    places.collect::<Vec<_>>().join(", ")
}
