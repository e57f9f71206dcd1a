//! The key of one update file, and the digest by which two files are compared.

use sha2::{Digest as _, Sha256, Sha384, digest::consts::U8};

use crate::kms::curve::PublicPoint;
use crate::kms::dak::Dak;
use crate::secrets::{
    Secret, SecretBytes,
    primitives::{self, WrapError, hkdf_sha384},
};
use crate::sts::{Record, SmId, file};

/// The most modules that one file of records holds beside its first and last
/// record (records.md, section 4).
pub(super) const MAXIMUM_MODULES: usize = file::MAXIMUM_RECORDS - 2;

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
pub(crate) struct UpdateKey(pub(super) Secret<32>);

impl UpdateKey {
    /// Derives the key from Z, agreed between the STSA's ephemeral key and the
    /// KMC's static key, for the file that begins with `first`.
    pub(crate) fn derive(z: &SecretBytes, kmc_point: &PublicPoint, first: &Record) -> Self {
        let info = info(kmc_point, first);
        Self(hkdf_sha384(z.expose(), b"", info.as_bytes()))
    }

    /// Wraps a module's DAK after the module's tag.
    ///
    /// # Errors
    /// [`WrapError`]; never for these 40 bytes.
    pub(crate) fn wrap(&self, smid: &SmId, dak: &Dak) -> Result<[u8; 48], WrapError> {
        let plain = SecretBytes::concatenated(&[&tag(smid), dak.expose()]);
        let wrapped = primitives::wrap(&self.0, plain.expose())?;
        wrapped.try_into().map_err(|_| WrapError::Length)
    }

    /// Unwraps the output of [`UpdateKey::wrap`] for the same module.
    ///
    /// # Errors
    /// [`WrapError::Integrity`] for anything else.
    pub(crate) fn unwrap(&self, smid: &SmId, wrapped: &[u8; 48]) -> Result<Dak, WrapError> {
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
    let (leftmost, _) = digest.split_ref::<U8>();
    (*leftmost).into()
}

/// SHA-384 over the records that the signature covers. Two files that say the same
/// have the same digest, whatever their signatures: those are not unique.
pub(super) fn content_digest(covered: &[Record]) -> [u8; 48] {
    Sha384::digest(file::covered_text(covered)).into()
}
