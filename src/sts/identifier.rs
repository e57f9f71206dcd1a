//! KMCID and SMID: the identifiers inside records, each with its own checksum.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::str::FromStr;

use super::checksum::{Checksum, split_covered};
use super::error::FieldError;
use super::hexadecimal::{self, Hex};
use super::ident::Ident;
use super::time::StsTime;

/// The kind of thing that an identifier names.
pub trait IdentifierKind: Clone + fmt::Debug + Eq + Hash + Ord {
    /// The identifier's type with its version, its first part.
    const TYPE: &'static str;
}

/// A key management centre's key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kmc {}

/// A security module.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Sm {}

impl IdentifierKind for Kmc {
    const TYPE: &'static str = "KMCID.1";
}

impl IdentifierKind for Sm {
    const TYPE: &'static str = "SMID.1";
}

/// Names a KMC key.
pub(crate) type KmcId = Identifier<Kmc>;

/// Names a security module.
pub(crate) type SmId = Identifier<Sm>;

/// `type:issuer:name:created:unique:CRC`, with the CRC over all before it.
///
/// Identifiers are compared as whole texts.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identifier<K: IdentifierKind> {
    // First, so that identifiers sort by their text.
    text: String,
    issuer: Ident,
    name: Ident,
    created: StsTime,
    unique: [u8; 8],
    kind: PhantomData<K>,
}

impl<K: IdentifierKind> Identifier<K> {
    /// The identifier of these parts.
    pub(crate) fn new(issuer: Ident, name: Ident, created: StsTime, unique: [u8; 8]) -> Self {
        let covered = format!("{}:{issuer}:{name}:{created}:{}:", K::TYPE, Hex(unique));
        let text = format!("{covered}{}", Checksum::of(&covered));
        Self {
            text,
            issuer,
            name,
            created,
            unique,
            kind: PhantomData,
        }
    }

    /// The whole text, CRC included.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The issuer of the name, such as `Prism`.
    pub(crate) fn issuer(&self) -> &Ident {
        &self.issuer
    }

    /// The issuer's name for the key or module, such as `K0001`.
    pub(crate) fn name(&self) -> &Ident {
        &self.name
    }

    /// The time when the key or module was made.
    #[cfg(test)]
    pub(crate) fn created(&self) -> StsTime {
        self.created
    }

    /// 64 bits that make the identifier unique.
    #[cfg(test)]
    pub(crate) fn unique(&self) -> [u8; 8] {
        self.unique
    }
}

impl<K: IdentifierKind> fmt::Debug for Identifier<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl<K: IdentifierKind> fmt::Display for Identifier<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl<K: IdentifierKind> FromStr for Identifier<K> {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let (covered, stated) = split_covered(text, ':').ok_or_else(|| shape::<K>(text))?;
        let parts: Vec<&str> = covered.split(':').collect();
        let &[kind, issuer, name, created, unique, ""] = parts.as_slice() else {
            return Err(shape::<K>(text));
        };
        if kind != K::TYPE {
            return Err(shape::<K>(text));
        }
        hexadecimal::check(covered, stated)?;
        let Hex(unique) = unique.parse()?;
        Ok(Self::new(
            issuer.parse()?,
            name.parse()?,
            created.parse()?,
            unique,
        ))
    }
}

fn shape<K: IdentifierKind>(text: &str) -> FieldError {
    FieldError::format(format!("{}:issuer:name:created:unique:CRC", K::TYPE), text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::sts::samples;

    const STANDARD: &str = "SMID.1:Prism:94000304:20200622T130252Z:26D7925210FB47EA:2642";

    #[test]
    fn reads_the_identifier_of_the_standard() {
        let module: SmId = STANDARD.parse().unwrap();
        assert_eq!(module.as_str(), STANDARD);
        assert_eq!(module.issuer().to_string(), "Prism");
        assert_eq!(module.name().to_string(), "94000304");
        assert_eq!(module.created().to_string(), "20200622T130252Z");
        assert_eq!(
            module.unique(),
            [0x26, 0xD7, 0x92, 0x52, 0x10, 0xFB, 0x47, 0xEA]
        );
    }

    #[test]
    fn a_wrong_checksum_gives_both() {
        let damaged = STANDARD.replace("Prism", "Prisn");
        let error = damaged.parse::<SmId>().unwrap_err();
        let computed = Checksum::of(damaged.strip_suffix("2642").unwrap());
        assert_eq!(
            error,
            FieldError::Crc {
                stated: "2642".parse().unwrap(),
                computed
            }
        );
    }

    #[test]
    fn refuses_another_kind_and_other_shapes() {
        assert!(STANDARD.parse::<KmcId>().is_err());
        for covered in [
            "SMID.1:Prism:94000304:20200622T130252Z:26D7925210FB47EA::",
            "SMID.1:Prism:94000304:20200622T130252Z:",
            "SMID.1:Prism:94000304:20200622T130252Z:26d7925210fb47ea:",
            "SMID.1:Prism:94000304:20200631T130252Z:26D7925210FB47EA:",
            "SMID.1::94000304:20200622T130252Z:26D7925210FB47EA:",
            "SMID.1:Pri sm:94000304:20200622T130252Z:26D7925210FB47EA:",
            ":",
        ] {
            let text = format!("{covered}{}", Checksum::of(covered));
            let error = text.parse::<SmId>().unwrap_err();
            assert!(
                matches!(error, FieldError::Format { .. }),
                "{text}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn written_then_read_is_the_same(module in samples::module()) {
            prop_assert_eq!(module.as_str().parse::<SmId>(), Ok(module));
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "SMID.1(:[A-Za-z0-9-]{0,18}){0,6}|.*") {
            if let Ok(module) = text.parse::<SmId>() {
                prop_assert_eq!(module.to_string(), text);
            }
        }
    }
}
