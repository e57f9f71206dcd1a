//! The keys of one key load file, and what both sides compute from them.

use sha2::{Digest as _, Sha256, Sha384};

use crate::kms::curve::PublicPoint;
use crate::kms::dak::Dak;
use crate::kms::vending_key::VendingKey;
use crate::secrets::{
    Secret, SecretBytes,
    primitives::{self, MacBytes, WrapError, hkdf_sha384},
};
use crate::sts::{PointText, Record, SmId, VendingKeyAttributes, VkloadReq, VkloadRsp, file};

/// The most vending keys that one file of records holds beside its first and
/// last record (records.md, section 4).
pub(crate) const MAXIMUM_KEYS: usize = file::MAXIMUM_RECORDS - 2;

/// The key by which a request is answered only once: SHA-256 over
/// `SMID|public key`. Neither of them contains a `|`.
pub(crate) fn replay_key(smid: &SmId, public_key: &PointText) -> [u8; 32] {
    Sha256::digest(format!("{smid}|{public_key}")).into()
}

/// Binds the keys of a file to the exchange: the curve, the request, the KMC's
/// public key and the response up to its nonce.
pub(super) fn info(request: &VkloadReq, kmc_point: &PublicPoint, response: &VkloadRsp) -> String {
    format!(
        "STSGW-KLF-1|{}|{}|{}|{}",
        kmc_point.curve(),
        hex::encode_upper(Sha384::digest(request.text())),
        hex::encode_upper(Sha384::digest(kmc_point.to_sec1())),
        response.text_before_nonce(),
    )
}

/// The two keys of one key load file.
#[derive(Debug)]
pub(super) struct FileKeys {
    pub(super) key_encryption_key: Secret<32>,
    pub(super) mac_key: Secret<48>,
}

impl FileKeys {
    /// Derives both keys from Z, the module's `K_dak`, the nonce and [`info`].
    pub(super) fn derive(z: &SecretBytes, dak: &Dak, nonce: &[u8; 16], info: &str) -> Self {
        let key_material = SecretBytes::concatenated(&[z.expose(), dak.file_key().expose()]);
        let keys: Secret<80> = hkdf_sha384(key_material.expose(), nonce, info.as_bytes());
        let (key_encryption_key, mac_key) = keys.split();
        Self {
            key_encryption_key,
            mac_key,
        }
    }

    /// Wraps a vending key together with its KRN, KT and SGC.
    ///
    /// # Errors
    /// [`WrapError`]; never for a key of 8 or 20 bytes.
    pub(super) fn wrap(
        &self,
        attributes: &VendingKeyAttributes,
        key: &VendingKey,
    ) -> Result<Vec<u8>, WrapError> {
        let plain = SecretBytes::concatenated(&[&prefix(attributes), key.expose()]);
        primitives::wrap(&self.key_encryption_key, plain.expose())
    }

    /// The message authentication code over the records before its own, each
    /// with its CRLF.
    pub(super) fn mac(&self, records: &[Record]) -> MacBytes {
        primitives::mac(&self.mac_key, &file::covered_text(records))
    }

    /// Whether `mac` is that code, compared in constant time.
    pub(super) fn mac_is_valid(&self, records: &[Record], mac: &MacBytes) -> bool {
        primitives::mac_is_valid(&self.mac_key, &file::covered_text(records), mac)
    }
}

/// The bytes wrapped before a vending key: KRN and KT as a byte each, SGC in
/// ASCII.
pub(super) fn prefix(attributes: &VendingKeyAttributes) -> [u8; 8] {
    let mut prefix = [0; 8];
    let [krn, kt, sgc @ ..] = &mut prefix;
    *krn = attributes.krn.get();
    *kt = attributes.kt.get();
    *sgc = *attributes.sgc.as_bytes();
    prefix
}
