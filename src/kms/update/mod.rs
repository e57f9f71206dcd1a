//! The cryptography of a security-module update file (records.md, section 8).
//! Pure: times and keys come from outside. The STSA builds a file and the KMC
//! opens it by the same functions.

mod build;
mod open;
mod signature;
#[cfg(test)]
mod tests;

use sha2::{Digest as _, Sha256, Sha384};

use super::curve::PublicPoint;
use super::dak::Dak;
use super::primitives::{self, WrapError, hkdf_sha384};
use super::secret::{Secret, SecretBytes};
use crate::sts::{Record, SmId, file};

pub use build::{BuildError, Change, NewUpdate, sign};
pub use open::{SignatureFailure, SignedUpdate, UpdateError, open};
pub use signature::{Signature, StsaKey, StsaPublicKey, StsaSigningKey};

/// The most modules that one file of records holds beside its first and last
/// record (records.md, section 4).
pub const MAXIMUM_MODULES: usize = file::MAXIMUM_RECORDS - 2;

/// Binds the key of a file to the exchange: the curve, the KMC's public key and
/// the file's first record.
fn info(kmc_point: &PublicPoint, first: &Record) -> String {
    format!(
        "STSGW-UPD-1|{}|{}|{}",
        kmc_point.curve(),
        hex::encode_upper(Sha384::digest(kmc_point.to_sec1())),
        first.text(),
    )
}

/// The key that wraps the DAKs in one file.
#[derive(Debug)]
pub struct UpdateKey(Secret<32>);

impl UpdateKey {
    /// Derives the key from Z, agreed between the STSA's ephemeral key and the
    /// KMC's static key, for the file that begins with `first`.
    #[must_use]
    pub fn derive(z: &SecretBytes, kmc_point: &PublicPoint, first: &Record) -> Self {
        let info = info(kmc_point, first);
        Self(hkdf_sha384(z.expose(), b"", info.as_bytes()))
    }

    /// Wraps a module's DAK after the module's tag.
    ///
    /// # Errors
    /// [`WrapError`]; never for these 40 bytes.
    pub fn wrap(&self, smid: &SmId, dak: &Dak) -> Result<[u8; 48], WrapError> {
        let plain = SecretBytes::concatenated(&[&tag(smid), dak.expose()]);
        let wrapped = primitives::wrap(&self.0, plain.expose())?;
        wrapped.try_into().map_err(|_| WrapError::Length)
    }

    /// Unwraps the output of [`UpdateKey::wrap`] for the same module.
    ///
    /// # Errors
    /// [`WrapError::Integrity`] for anything else.
    pub fn unwrap(&self, smid: &SmId, wrapped: &[u8; 48]) -> Result<Dak, WrapError> {
        let plain = primitives::unwrap(&self.0, wrapped)?;
        plain
            .expose()
            .strip_prefix(&tag(smid))
            .and_then(Secret::copied_from)
            .map(Dak::new)
            .ok_or(WrapError::Integrity)
    }
}

/// Leftmost 8 bytes of SHA-256 over the SMID, so that a DAK wrapped for one module
/// does not unwrap for another.
fn tag(smid: &SmId) -> [u8; 8] {
    let digest = Sha256::digest(smid.as_str());
    let mut tag = [0; 8];
    tag.iter_mut()
        .zip(digest)
        .for_each(|(byte, own)| *byte = own);
    tag
}

/// SHA-384 over the records that the signature covers. Two files that say the same
/// have the same digest, whatever their signatures: those are not unique.
#[must_use]
pub fn content_digest(covered: &[Record]) -> [u8; 48] {
    Sha384::digest(file::covered_text(covered)).into()
}
