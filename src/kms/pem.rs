//! KMC key pairs to and from encrypted PKCS#8 PEM (RFC 5958, RFC 7468): PBES2
//! with scrypt and AES-256-CBC, as OpenSSL 3 reads it too.

use pkcs8::der::SecretDocument;
use pkcs8::der::pem::PemLabel as _;
use pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncryptedPrivateKeyInfoRef, LineEnding};
use thiserror::Error;
use zeroize::Zeroizing;

use super::curve::PrivateKey;

/// Why a PEM file could not be read or written.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PemError {
    /// No PEM, or a PEM of something else.
    #[error("this is not a PEM file of an ENCRYPTED PRIVATE KEY")]
    NotPem,
    /// A private key in clear, or encrypted in OpenSSL's traditional format.
    #[error(
        "the private key is not an ENCRYPTED PRIVATE KEY, the only kind that is read: encrypt it by \
         openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt -in FILE -out NEWFILE"
    )]
    NotEncrypted,
    /// A key is never written under an empty passphrase.
    #[error("the passphrase is empty: give one")]
    NoPassphrase,
    /// A wrong passphrase, a damaged file, or an outdated algorithm.
    #[error(
        "the private key does not decrypt: the passphrase is wrong, the file is damaged, or it is \
         not encrypted by PBES2 with AES"
    )]
    Decryption,
    /// A key on another curve, or of another kind.
    #[error("the private key is not on P-384 or P-256")]
    OtherKey,
    /// No random bytes for salt and initialisation vector.
    #[error("the private key could not be encrypted")]
    Encryption,
}

/// First lines of PEM files whose private key is not encrypted PKCS#8.
const OTHER_LABELS: [&str; 2] = [
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----",
];

impl PrivateKey {
    /// The key as encrypted PKCS#8 PEM.
    ///
    /// # Errors
    /// [`PemError::NoPassphrase`]; [`PemError::Encryption`] if there are no random
    /// bytes.
    pub(crate) fn to_encrypted_pem(
        &self,
        passphrase: &Zeroizing<String>,
    ) -> Result<Zeroizing<String>, PemError> {
        if passphrase.is_empty() {
            return Err(PemError::NoPassphrase);
        }
        let passphrase = passphrase.as_bytes();
        match self {
            Self::P384(key) => key.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF),
            Self::P256(key) => key.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF),
        }
        .map_err(|_| PemError::Encryption)
    }

    /// Reads a key on either curve from an encrypted PKCS#8 PEM: PBES2 with scrypt
    /// or PBKDF2, and AES.
    ///
    /// # Errors
    /// [`PemError`]: no such PEM, not encrypted, a wrong passphrase, or another
    /// kind of key.
    pub fn from_encrypted_pem(pem: &str, passphrase: &Zeroizing<String>) -> Result<Self, PemError> {
        if OTHER_LABELS.iter().any(|label| pem.contains(label)) {
            return Err(PemError::NotEncrypted);
        }
        let (label, document) = SecretDocument::from_pem(pem).map_err(|_| PemError::NotPem)?;
        EncryptedPrivateKeyInfoRef::validate_pem_label(label).map_err(|_| PemError::NotPem)?;
        let decrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
            .and_then(|encrypted| encrypted.decrypt(passphrase.as_bytes()))
            .map_err(|_| PemError::Decryption)?;
        p384::SecretKey::from_pkcs8_der(decrypted.as_bytes())
            .map(Self::P384)
            .or_else(|_| p256::SecretKey::from_pkcs8_der(decrypted.as_bytes()).map(Self::P256))
            .map_err(|_| PemError::OtherKey)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::kms::curve::Curve;

    // Written by OpenSSL 3.0: openssl pkcs8 -topk8, all with PASSPHRASE.
    const PASSPHRASE: &str = "correct horse";
    const P384_SCRYPT_AES_256: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIIBFDBPBgkqhkiG9w0BBQ0wQjAhBgkrBgEEAdpHBAswFAQIJj0Z1VXnaUcCAkAA
AgEIAgEBMB0GCWCGSAFlAwQBKgQQJHzV0AS+oM0sB4eUoqxzBASBwA2aC+dlFFiL
VZleTP5xujfJZiPOUG9rJNNiDsKdD0mEZPuFdjl+ClaWPAPjUjxgE+0v49vp5eTr
SQrSpuTZiMHsU11HGNfChvk431U8mSou4ZgOrAqb1Ov+fiSiwvIGv7ILaQ77jEtb
wXs3YJmZq3cPBCUrvGNUQPyqCdV2DhkvuM5LuA49yxD1YR+Sfo2060cWy5CK5nZO
KwgddP9rARUIPiJ3ORcLKpgNmhMdioJZmJiiIWOEVcGdwSsggeREzQ==
-----END ENCRYPTED PRIVATE KEY-----
";
    const P384_SCALAR: &str = "2e30b0f11bc99a7ef018664d6e20b8413d7645f110b57f48\
        a367ff2bcb41630c9f33f14774642c4531df4308322f1c1b";
    const P256_PBKDF2_AES_128: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgRfU056ipWvwICA+gw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEAO+V9l0DF9wpiPk6xz32skEgZCf
YtfhUrPRgcrfA14eHRrcgms7bGP2TKpmcFZ27RujdpsHekS3UX2qc9PvELUai54G
f8kTTbJOM0Otr3tLq8TOI5WSlpVg12KMrWc1BRfIz8qwbsz6tCW0Gm5BhL5jmCUo
bKuDnl+05LNkj6gOh2YlyhlxvOF001YB42rvZhaUlAaGaD9PpEcOBts+F0Teexk=
-----END ENCRYPTED PRIVATE KEY-----
";
    const P256_SCALAR: &str = "ecdd2f145bc2e32f0eb2eb581e6e2ce74f0296eac4bbf0b617444c1e78a00152";
    const P256_PBKDF2_TRIPLE_DES: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAiihvKvhdrD8wICA+gw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIin+GiZoD9JQEgZCxqWTIN9xsWbWk
IpIJlylZAQR4RoPrhG85W7joI9f/KDEciQhEop5SZCkwffihy28JA9jqm7l18yF5
6qpM+PavaRZIAaTOW3P9DeXPm8/YjUj5kGQT5YUU1smLLTvlcqZrpUaPPlfzgcyJ
7FbmXJu/aPvEe8bEUj/a5DHCLPsfRiLB8WvGVx++Qbumwg239dQ=
-----END ENCRYPTED PRIVATE KEY-----
";
    const X25519: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiqdGhSbwUE0QICA+gw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEBRTOH8yzNb72rb0k16Qx40EQI4r
WgpQv6NHCKgFTNA6sDUy00UEID5+uaeUEVQtR2mj0ZTwfZxcBFrdHNIAYsD+bIGC
q0JL/y/yKNMTE32pCyc=
-----END ENCRYPTED PRIVATE KEY-----
";

    fn passphrase(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn an_exported_key_is_imported_and_the_file_tells_nothing() {
        for curve in [Curve::P384, Curve::P256] {
            let key = PrivateKey::generate(curve).unwrap();
            let pem = key.to_encrypted_pem(&passphrase("one")).unwrap();
            assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
            let imported = PrivateKey::from_encrypted_pem(&pem, &passphrase("one")).unwrap();
            assert_eq!(imported.to_scalar().expose(), key.to_scalar().expose());
            let refused = PrivateKey::from_encrypted_pem(&pem, &passphrase("two")).unwrap_err();
            assert_eq!(refused, PemError::Decryption);
        }
    }

    #[test]
    fn keys_that_openssl_encrypted_are_imported() {
        for (pem, curve, scalar) in [
            (P384_SCRYPT_AES_256, Curve::P384, P384_SCALAR),
            (P256_PBKDF2_AES_128, Curve::P256, P256_SCALAR),
        ] {
            let key = PrivateKey::from_encrypted_pem(pem, &passphrase(PASSPHRASE)).unwrap();
            assert_eq!(
                (key.curve(), hex::encode(key.to_scalar().expose())),
                (curve, scalar.into())
            );
        }
    }

    #[test]
    fn what_is_not_encrypted_is_refused_with_the_remedy() {
        let PrivateKey::P256(key) = PrivateKey::generate(Curve::P256).unwrap() else {
            unreachable!("it was asked for")
        };
        let clear = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        let openssl = "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n\
            -----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n";
        for pem in [clear.as_str(), openssl] {
            let refused = PrivateKey::from_encrypted_pem(pem, &passphrase(PASSPHRASE)).unwrap_err();
            assert_eq!(refused, PemError::NotEncrypted);
            assert!(refused.to_string().contains("openssl pkcs8 -topk8"));
        }
    }

    #[test]
    fn other_ciphers_keys_and_files_are_refused() {
        for (pem, refusal) in [
            (P256_PBKDF2_TRIPLE_DES, PemError::Decryption),
            (X25519, PemError::OtherKey),
            ("", PemError::NotPem),
            ("no PEM at all", PemError::NotPem),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                PemError::NotPem,
            ),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n\
                 -----END ENCRYPTED PRIVATE KEY-----\n",
                PemError::NotPem,
            ),
        ] {
            let result = PrivateKey::from_encrypted_pem(pem, &passphrase(PASSPHRASE));
            assert_eq!(result.unwrap_err(), refusal, "{pem}");
        }
    }

    #[test]
    fn an_empty_passphrase_encrypts_nothing() {
        let key = PrivateKey::generate(Curve::P256).unwrap();
        assert_eq!(
            key.to_encrypted_pem(&passphrase("")).unwrap_err(),
            PemError::NoPassphrase
        );
    }
}
