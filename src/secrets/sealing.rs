//! Sealing at rest: AES-256-GCM over a secret. The table, the key and every
//! attribute of the row are associated data, so that a row can be neither
//! altered nor exchanged for another unseen. Knows no table and no record.
//!
//! An older copy of a whole row still opens. The audit chain shows that a table
//! was turned back; sealing does not.

use std::fmt;

use aes_gcm::aead::{AeadInOut as _, KeyInit as _, inout::InOutBuf};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use thiserror::Error;

use super::{
    master_secret::MasterSecret,
    secret::{RandomError, Secret, SecretBytes, random_array},
};

/// Length in bytes of a GCM nonce.
const NONCE_LENGTH: usize = 12;

/// Length in bytes of a GCM tag.
const TAG_LENGTH: usize = 16;

/// A sealed secret: nonce ‖ ciphertext ‖ tag.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Takes stored bytes. Only opening shows whether they are intact.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// The row that a secret belongs to, encoded so that no two rows are alike:
/// names, counts and values, each text with its length before it.
pub(crate) struct AssociatedData {
    row: String,
    encoded: Vec<u8>,
}

impl AssociatedData {
    /// The row `key` of `table`.
    pub(crate) fn new(table: &str, key: &str) -> Self {
        let row = format!("{table} {key}").trim_end().to_owned();
        Self {
            row,
            encoded: Vec::new(),
        }
        .attribute("table", [table])
        .attribute("key", [key])
    }

    /// Adds an attribute: one value, none for an empty field, or a list.
    pub(crate) fn attribute(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = impl ToString>,
    ) -> Self {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        self.push_text(name);
        self.push_length(values.len());
        values.iter().for_each(|value| self.push_text(value));
        self
    }

    /// The error for a secret that doesn't open in this row.
    pub(crate) fn does_not_open(self) -> DoesNotOpen {
        DoesNotOpen { row: self.row }
    }

    fn push_text(&mut self, text: &str) {
        self.push_length(text.len());
        self.encoded.extend_from_slice(text.as_bytes());
    }

    fn push_length(&mut self, length: usize) {
        self.encoded
            .extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// A row that doesn't open: it was altered, or another key sealed it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{row} does not open: the row was altered, or sealed under another key")]
pub struct DoesNotOpen {
    /// Table and key of the row.
    pub(crate) row: String,
}

/// The storage key doesn't open with this master secret.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the storage key does not open with this master secret: give the one that the database was \
     made with or, after a change by kms-gateway secret rewrap, the new one"
)]
pub struct OtherMasterSecret;

/// The key that seals the rows. It is random, and stored sealed under the master
/// secret.
#[derive(Debug)]
pub struct StorageKey(Secret<32>);

impl StorageKey {
    /// Takes the bytes of a key and stores nothing.
    pub(crate) fn new(bytes: Secret<32>) -> Self {
        Self(bytes)
    }

    /// A fresh random key.
    pub fn random() -> Result<Self, RandomError> {
        Secret::random().map(Self)
    }

    /// Seals the storage key under the master secret.
    pub(crate) fn wrap(&self, master_secret: &MasterSecret) -> Result<Sealed, RandomError> {
        Self::wrapping_key(master_secret).seal(&Self::associated_data(), self.0.expose())
    }

    /// Opens a storage key that [`wrap`](Self::wrap) sealed.
    ///
    /// # Errors
    /// [`OtherMasterSecret`] if another master secret sealed it, or it was altered.
    pub(crate) fn unwrap(
        wrapped: &Sealed,
        master_secret: &MasterSecret,
    ) -> Result<Self, OtherMasterSecret> {
        Self::wrapping_key(master_secret)
            .open(&Self::associated_data(), wrapped)
            .ok()
            .and_then(|bytes| Secret::copied_from(bytes.expose()))
            .map(Self)
            .ok_or(OtherMasterSecret)
    }

    /// The bytes of the key, for the tests alone.
    #[cfg(test)]
    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    fn wrapping_key(master_secret: &MasterSecret) -> Self {
        Self(master_secret.derive("storage-key"))
    }

    fn associated_data() -> AssociatedData {
        AssociatedData::new("storage_key", "")
    }

    /// Seals `secret` to its row.
    ///
    /// The nonce is 96 random bits. NIST SP 800-38D, 8.3, allows 2³² such nonces
    /// under one key. A row is sealed when it is made and each time it changes; a
    /// new storage key begins anew. Among a million sealings, two nonces are equal
    /// with probability 2⁻⁵⁷.
    pub(crate) fn seal(&self, row: &AssociatedData, secret: &[u8]) -> Result<Sealed, RandomError> {
        let nonce = random_array::<NONCE_LENGTH>()?;
        // Encrypts from one buffer to the other, so that no copy of the secret
        // is left behind.
        let mut ciphertext = vec![0; secret.len()];
        let tag = InOutBuf::new(secret, &mut ciphertext)
            .ok()
            .and_then(|both| {
                let nonce = Nonce::from(nonce);
                self.cipher()
                    .encrypt_inout_detached(&nonce, &row.encoded, both)
                    .ok()
            });
        let Some(tag) = tag else {
            unreachable!("the lengths are equal, and AES-GCM seals everything below 64 GiB")
        };
        Ok(Sealed([nonce.as_slice(), &ciphertext, &tag].concat()))
    }

    /// Opens a secret that was sealed to exactly this row.
    ///
    /// # Errors
    /// [`DoesNotOpen`] if a byte of the row or of `sealed` has changed since.
    pub(crate) fn open(
        &self,
        row: &AssociatedData,
        sealed: &Sealed,
    ) -> Result<SecretBytes, DoesNotOpen> {
        self.decrypt(row, &sealed.0).ok_or_else(|| DoesNotOpen {
            row: row.row.clone(),
        })
    }

    fn decrypt(&self, row: &AssociatedData, sealed: &[u8]) -> Option<SecretBytes> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LENGTH>()?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_LENGTH>()?;
        let opened = SecretBytes::filled_by(ciphertext.len(), |plain| {
            let length = plain.len();
            let both = InOutBuf::new(ciphertext, plain).map_err(|_| ())?;
            self.cipher()
                .decrypt_inout_detached(&Nonce::from(*nonce), &row.encoded, both, &Tag::from(*tag))
                .map_err(|_| ())?;
            Ok::<_, ()>(length)
        });
        opened.ok()
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.0.expose().into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::secrets::secret::assert_debug_hides;

    fn storage_key() -> StorageKey {
        StorageKey(Secret::random().unwrap())
    }

    fn row() -> AssociatedData {
        AssociatedData::new("table", "key").attribute("name", ["value"])
    }

    #[test]
    fn what_was_sealed_opens_and_no_two_sealings_are_the_same() {
        let key = storage_key();
        let (one, two) = (
            key.seal(&row(), b"secret").unwrap(),
            key.seal(&row(), b"secret").unwrap(),
        );
        assert_ne!(one, two);
        for sealed in [one, two] {
            assert_eq!(sealed.as_bytes().len(), NONCE_LENGTH + 6 + 16);
            assert_eq!(key.open(&row(), &sealed).unwrap().expose(), b"secret");
        }
    }

    #[test]
    fn every_changed_bit_of_a_sealed_secret_is_noticed() {
        let key = storage_key();
        let sealed = key.seal(&row(), b"secret").unwrap();
        for bit in 0..sealed.0.len() * 8 {
            let mut changed = sealed.clone();
            changed.0[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(&row(), &changed).is_err());
        }
        for length in 0..sealed.0.len() {
            assert!(
                key.open(&row(), &Sealed::from_bytes(sealed.0[..length].to_vec()))
                    .is_err()
            );
        }
    }

    #[test]
    fn another_key_or_another_row_opens_nothing() {
        let key = storage_key();
        let sealed = key.seal(&row(), b"secret").unwrap();
        assert!(storage_key().open(&row(), &sealed).is_err());
        for other in [
            AssociatedData::new("table2", "key").attribute("name", ["value"]),
            AssociatedData::new("table", "key2").attribute("name", ["value"]),
            AssociatedData::new("table", "key").attribute("name2", ["value"]),
            AssociatedData::new("table", "key").attribute("name", ["value2"]),
            AssociatedData::new("table", "key").attribute("name", [""; 0]),
            AssociatedData::new("table", "key").attribute("name", ["value", ""]),
            AssociatedData::new("table", "key").attribute("name", ["val", "ue"]),
            AssociatedData::new("table", "key"),
            row().attribute("more", [""; 0]),
        ] {
            let error = key.open(&other, &sealed).unwrap_err();
            assert_eq!(error, other.does_not_open());
        }
    }

    type Attributes = Vec<(String, Vec<String>)>;

    /// Reads an encoding back, which shows that it is unambiguous.
    fn decoded(mut encoded: &[u8]) -> Attributes {
        fn length(encoded: &mut &[u8]) -> usize {
            let length;
            (length, *encoded) = encoded.split_first_chunk().unwrap();
            u64::from_be_bytes(*length).try_into().unwrap()
        }
        fn text(encoded: &mut &[u8]) -> String {
            let length = length(encoded);
            let text;
            (text, *encoded) = encoded.split_at(length);
            String::from_utf8(text.to_vec()).unwrap()
        }
        let mut attributes = Vec::new();
        while !encoded.is_empty() {
            let name = text(&mut encoded);
            let values = (0..length(&mut encoded))
                .map(|_| text(&mut encoded))
                .collect();
            attributes.push((name, values));
        }
        attributes
    }

    proptest! {
        #[test]
        fn the_encoding_of_a_row_is_read_back_to_its_attributes(
            table in ".{0,9}",
            key in ".{0,9}",
            attributes in vec((".{0,9}", vec(".{0,9}", 0..4)), 0..4),
        ) {
            let row = AssociatedData::new(&table, &key);
            let row = attributes.iter().fold(row, |row, (name, values)| row.attribute(name, values));
            let mut expected: Attributes =
                [("table".to_owned(), [table].into()), ("key".to_owned(), [key].into())].into();
            expected.extend(attributes);
            prop_assert_eq!(decoded(&row.encoded), expected);
        }
    }

    #[test]
    fn debug_shows_no_byte() {
        let key = storage_key();
        assert_debug_hides(&key, key.0.expose());
        let sealed = key.seal(&row(), b"secret").unwrap();
        assert_debug_hides(&sealed, sealed.as_bytes());
    }
}
