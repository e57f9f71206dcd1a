//! The Device Authentication Key (DAK) of a module and the two keys derived from
//! it. The DAK is used in no other way (records.md, section 6).

use crate::secrets::{
    RandomError, Secret,
    primitives::{self, MacBytes, hkdf_sha384},
};
use crate::sts::VkloadReq;

/// A Device Authentication Key: 32 random bytes that a module and the KMC
/// share.
#[derive(Debug)]
pub struct Dak(Secret<32>);

impl Dak {
    /// Takes the bytes of a DAK.
    pub(crate) fn new(bytes: Secret<32>) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits of either case; none if they are not that.
    pub fn from_hex(digits: &str) -> Option<Self> {
        Secret::from_hex(digits).map(Self)
    }

    /// A fresh random DAK.
    pub(crate) fn random() -> Result<Self, RandomError> {
        Ok(Self(Secret::random()?))
    }

    /// The bytes, for sealing the DAK or handing it to its module.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The message authentication code of a request, over its text up to and
    /// including the `|` before the MAC field.
    #[must_use]
    pub(crate) fn request_mac(&self, authenticated_text: &str) -> MacBytes {
        primitives::mac(&self.request_key(), authenticated_text.as_bytes())
    }

    /// Whether the MAC of `request` is by this DAK, compared in constant time.
    #[must_use]
    pub(crate) fn authenticates(&self, request: &VkloadReq) -> bool {
        let text = request.authenticated_text();
        primitives::mac_is_valid(&self.request_key(), text.as_bytes(), &request.mac)
    }

    /// `K_req`, the key of request MACs.
    pub(super) fn request_key(&self) -> Secret<48> {
        hkdf_sha384(self.expose(), b"", b"STSGW-REQ-MAC-1")
    }

    /// `K_dak`, the DAK's part in the keys of a key load file.
    pub(super) fn file_key(&self) -> Secret<32> {
        hkdf_sha384(self.expose(), b"", b"STSGW-KLF-DAK-1")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::secrets::assert_debug_hides;

    #[test]
    fn is_read_from_hexadecimal_digits_and_shown_by_no_formatter() {
        let dak = Dak::random().unwrap();
        let read = Dak::from_hex(&hex::encode_upper(dak.expose())).unwrap();
        assert_eq!(read.expose(), dak.expose());
        assert!(Dak::from_hex("00").is_none());
        assert_debug_hides(&dak, dak.expose());
    }
}
