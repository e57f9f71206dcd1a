//! A vending key: the rules of its algorithm, making a new one, and its check
//! value.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, digest::consts::U3};
use thiserror::Error;

use crate::secrets::{RandomError, SecretBytes, fill_random};
use crate::sts::{Dkga, Hex, VendingKeyAttributes};

/// Why bytes are not a vending key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum VendingKeyError {
    /// Not the length that the algorithm needs.
    #[error("a vending key for DKGA {dkga} has exactly {} bytes", dkga.key_length())]
    Length {
        /// Decoder key generation algorithm of the key.
        dkga: Dkga,
    },
    /// Something other than hexadecimal digits.
    #[error("a vending key is written in hexadecimal digits")]
    Digits,
    /// A byte with an even number of ones.
    #[error("the vending key lacks the odd parity of a DES key: check it for typing errors")]
    Parity,
    /// A weak, semi-weak or possibly weak DES key.
    #[error("the vending key is one of the weak DES keys: use another")]
    Weak,
}

/// A vending key that is valid for its algorithm. For DKGA 01 and 02 it has 8
/// bytes of odd parity and is not a weak DES key; for DKGA 04 it is any 20 bytes.
#[derive(Debug)]
pub struct VendingKey(SecretBytes);

impl VendingKey {
    /// Checks `key` for `dkga`.
    ///
    /// # Errors
    /// [`VendingKeyError`]: wrong length, wrong parity, or weak.
    pub(crate) fn new(dkga: Dkga, key: SecretBytes) -> Result<Self, VendingKeyError> {
        if key.expose().len() != dkga.key_length() {
            return Err(VendingKeyError::Length { dkga });
        }
        match <&[u8; 8]>::try_from(key.expose()) {
            Ok(des_key) if !has_odd_parity(des_key) => Err(VendingKeyError::Parity),
            Ok(des_key) if is_weak(des_key) => Err(VendingKeyError::Weak),
            // A DES key that is odd and not weak, or 20 bytes of any value.
            Ok(_) | Err(_) => Ok(Self(key)),
        }
    }

    /// Reads a key in hexadecimal digits of either case.
    ///
    /// # Errors
    /// [`VendingKeyError`]: no such digits, wrong length, wrong parity, or
    /// weak.
    pub(crate) fn from_hex(dkga: Dkga, digits: &str) -> Result<Self, VendingKeyError> {
        let key = SecretBytes::filled_by(dkga.key_length(), |key| {
            hex::decode_to_slice(digits, key).map_err(|error| match error {
                hex::FromHexError::InvalidHexCharacter { .. } => VendingKeyError::Digits,
                _ => VendingKeyError::Length { dkga },
            })?;
            Ok(key.len())
        })?;
        Self::new(dkga, key)
    }

    /// A fresh key for `dkga`.
    pub fn generate(dkga: Dkga) -> Result<Self, RandomError> {
        loop {
            let key = SecretBytes::filled_by(dkga.key_length(), |key| {
                fill_random(key)?;
                if key.len() == 8 {
                    key.iter_mut().for_each(make_odd);
                }
                Ok::<_, RandomError>(key.len())
            })?;
            // Only a weak key is refused, once in 2⁵⁰ times.
            if let Ok(key) = Self::new(dkga, key) {
                return Ok(key);
            }
        }
    }

    /// The bytes, for wrapping or sealing them.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// The check value: leftmost 3 bytes of SHA-256 over `KCV.1|SGC|KRN|KT|DKGA|`
    /// and the key (records.md, section 7). Both sides show it; it is never sent.
    pub(crate) fn kcv(&self, attributes: &VendingKeyAttributes) -> Kcv {
        let VendingKeyAttributes {
            sgc, krn, kt, dkga, ..
        } = attributes;
        let digest = Sha256::new()
            .chain_update(format!("KCV.1|{sgc}|{krn}|{kt}|{dkga}|"))
            .chain_update(self.expose())
            .finalize();
        let (leftmost, _) = digest.split_ref::<U3>();
        Kcv((*leftmost).into())
    }
}

fn has_odd_parity(key: &[u8; 8]) -> bool {
    // Looks at every byte, so that the time taken does not reveal which one was
    // even.
    key.iter().fold(1, |odd, byte| odd & byte.count_ones()) & 1 == 1
}

fn make_odd(byte: &mut u8) {
    *byte ^= u8::from(byte.count_ones().is_multiple_of(2));
}

fn is_weak(key: &[u8; 8]) -> bool {
    des::weak_key_test(key).is_err()
}

/// A key check value: 3 bytes, shown as 6 upper-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kcv([u8; 3]);

impl fmt::Display for Kcv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode_upper(self.0))
    }
}

/// A text that is not a key check value.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a key check value is 6 upper-case hexadecimal digits")]
pub(crate) struct NoKcv;

impl FromStr for Kcv {
    type Err = NoKcv;

    fn from_str(text: &str) -> Result<Self, NoKcv> {
        let Hex(bytes) = text.parse().map_err(|_| NoKcv)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::secrets::assert_debug_hides;

    #[test]
    fn keys_of_the_wrong_length_are_refused() {
        for (dkga, length) in [(Dkga::D01, 8), (Dkga::D02, 8), (Dkga::D04, 20)] {
            for wrong in [0, 7, 8, 9, 16, 19, 20, 21, 24] {
                let result = VendingKey::from_hex(dkga, &"23".repeat(wrong));
                if wrong == length {
                    assert!(result.is_ok());
                } else {
                    assert_eq!(result.unwrap_err(), VendingKeyError::Length { dkga });
                }
            }
        }
    }

    #[test]
    fn every_single_wrong_bit_breaks_the_parity() {
        let key = VendingKey::generate(Dkga::D02).unwrap();
        for bit in 0..64 {
            let mut changed = key.expose().to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let refused =
                VendingKey::new(Dkga::D02, SecretBytes::concatenated(&[&changed])).unwrap_err();
            assert_eq!(refused, VendingKeyError::Parity);
        }
    }

    /// FIPS 74 and NIST SP 800-67: the four weak keys and a pair of each kind
    /// of semi-weak and possibly weak ones.
    #[test]
    fn weak_keys_are_refused_for_des_and_harmless_otherwise() {
        for weak in [
            "0101010101010101",
            "FEFEFEFEFEFEFEFE",
            "E0E0E0E0F1F1F1F1",
            "1F1F1F1F0E0E0E0E",
            "011F011F010E010E",
            "E0FEE0FEF1FEF1FE",
            "01E001E001F101F1",
            "1FFE1FFE0EFE0EFE",
            "011FE0FE010EF1FE",
        ] {
            for dkga in [Dkga::D01, Dkga::D02] {
                let refused = VendingKey::from_hex(dkga, weak).unwrap_err();
                assert_eq!(refused, VendingKeyError::Weak, "{weak}");
            }
            assert!(VendingKey::from_hex(Dkga::D04, &format!("{weak}{weak}01010101")).is_ok());
        }
    }

    #[test]
    fn a_generated_key_is_one_that_import_takes() {
        for dkga in [Dkga::D01, Dkga::D02, Dkga::D04] {
            let mut seen = std::collections::HashSet::new();
            for _ in 0..100 {
                let key = VendingKey::generate(dkga).unwrap();
                assert!(VendingKey::from_hex(dkga, &hex::encode(key.expose())).is_ok());
                assert!(seen.insert(key.expose().to_vec()), "the same key twice");
            }
        }
    }

    #[test]
    fn what_is_no_hexadecimal_digit_is_named_as_such() {
        let wrong = VendingKey::from_hex(Dkga::D02, "37BAECCB3402916G").unwrap_err();
        assert_eq!(wrong, VendingKeyError::Digits);
        let odd = VendingKey::from_hex(Dkga::D02, "37BAECCB3402916").unwrap_err();
        assert_eq!(odd, VendingKeyError::Length { dkga: Dkga::D02 });
    }

    #[test]
    fn a_check_value_has_one_spelling() {
        assert_eq!("6146DE".parse::<Kcv>().unwrap().to_string(), "6146DE");
        for wrong in ["", "6146de", "6146D", "6146DE0", "6146DG"] {
            assert_eq!(wrong.parse::<Kcv>(), Err(NoKcv), "{wrong:?}");
        }
    }

    #[test]
    fn debug_shows_no_byte() {
        for dkga in [Dkga::D02, Dkga::D04] {
            let key = VendingKey::generate(dkga).unwrap();
            assert_debug_hides(&key, key.expose());
        }
    }
}
