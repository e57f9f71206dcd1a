//! Secret bytes: kept on the heap so that a move leaves no copy behind, wiped
//! when dropped, compared in constant time and shown by no formatter.

use std::{fmt, mem};

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The operating system gave no random bytes.
#[derive(Debug, Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct RandomError(#[from] getrandom::Error);

/// The operating system lets the process lock no more memory.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct NotLocked(#[from] region::Error);

/// Fills `bytes` from the operating system's generator.
///
/// # Errors
/// [`RandomError`] when the operating system refuses.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), RandomError> {
    Ok(getrandom::fill(bytes)?)
}

/// `N` random public bytes, such as a nonce.
///
/// # Errors
/// [`RandomError`] when the operating system refuses.
pub(crate) fn random_array<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

/// A secret of `N` bytes.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// A fresh secret from the operating system's generator.
    ///
    /// # Errors
    /// [`RandomError`] when the operating system refuses.
    pub fn random() -> Result<Self, RandomError> {
        Self::filled_by(|bytes| fill_random(bytes))
    }

    /// A secret that `fill` writes in place.
    pub(crate) fn filled_by<E>(
        fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// A copy of `bytes`, if there are exactly `N` of them.
    #[must_use]
    pub fn copied_from(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self(Box::new([0; N]));
        if bytes.len() != N {
            return None;
        }
        secret.0.copy_from_slice(bytes);
        Some(secret)
    }

    /// Reads `2 N` hexadecimal digits, of either case.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        Self::filled_by(|bytes| hex::decode_to_slice(digits, bytes)).ok()
    }

    /// The bytes, for a cryptographic primitive and nothing else.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Keeps the page that the secret is on in memory, for as long as the
    /// process lives: what is swapped out can be read from the disk. For
    /// secrets that live as long. The page stays locked when the secret is gone,
    /// for another one may be on it, whose lock would go too.
    ///
    /// # Errors
    /// [`NotLocked`] where the process may lock no more.
    pub(crate) fn keep_in_memory(&self) -> Result<(), NotLocked> {
        mem::forget(region::lock(self.0.as_ptr(), N)?);
        Ok(())
    }

    /// The two secrets that this one is made of. Lengths that don't add up to
    /// `N` do not compile.
    pub(crate) fn split<const LEFT: usize, const RIGHT: usize>(
        &self,
    ) -> (Secret<LEFT>, Secret<RIGHT>) {
        const { assert!(LEFT + RIGHT == N, "the parts must make the whole") };
        let (mut left, mut right) = (Secret(Box::new([0; LEFT])), Secret(Box::new([0; RIGHT])));
        let (from_left, from_right) = self.0.split_at(LEFT);
        left.0.copy_from_slice(from_left);
        right.0.copy_from_slice(from_right);
        (left, right)
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> ConstantTimeEq for Secret<N> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.as_slice().ct_eq(other.0.as_slice())
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(..)")
    }
}

/// A secret whose length is known only when it is made, such as an
/// x-coordinate on one of two curves.
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over `bytes`. The vector must not have grown since a secret was
    /// written to it, or a copy stays behind where it was.
    #[must_use]
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The parts, one after the other.
    #[must_use]
    pub(crate) fn concatenated(parts: &[&[u8]]) -> Self {
        // `concat` reserves the whole length once: no growth, no stray copy.
        Self(parts.concat())
    }

    /// The bytes, for a cryptographic primitive and nothing else.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl ConstantTimeEq for SecretBytes {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.as_slice().ct_eq(other.0.as_slice())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({}, ..)", self.0.len())
    }
}

/// Asserts that no run of three bytes of `secret` shows in the `Debug` output
/// of `value`, neither as hexadecimal nor as a list of decimals.
#[cfg(test)]
pub(crate) fn assert_debug_hides(value: &dyn fmt::Debug, secret: &[u8]) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        let dense: String = text.split_whitespace().collect::<String>().to_lowercase();
        for run in secret.windows(3) {
            let decimals = run.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
            assert!(
                !dense.contains(&hex::encode(run)),
                "hexadecimal shows in {text}"
            );
            assert!(!dense.contains(&decimals), "decimals show in {text}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn debug_shows_no_byte() {
        let secret = Secret::<32>::random().unwrap();
        assert_debug_hides(&secret, secret.expose());
        let bytes = SecretBytes::new(secret.expose().to_vec());
        assert_debug_hides(&bytes, secret.expose());
        assert_eq!(
            format!("{secret:?} {bytes:?}"),
            "Secret<32>(..) SecretBytes(32, ..)"
        );
    }

    #[test]
    #[should_panic(expected = "decimals show")]
    fn the_debug_assertion_sees_a_plain_array() {
        assert_debug_hides(&[1_u8, 2, 3, 4], &[1, 2, 3, 4]);
    }

    #[test]
    fn two_random_secrets_differ_and_a_copy_is_equal() {
        let (one, two) = (
            Secret::<32>::random().unwrap(),
            Secret::<32>::random().unwrap(),
        );
        assert!(bool::from(!one.ct_eq(&two)));
        let copy = Secret::<32>::copied_from(one.expose()).unwrap();
        assert!(bool::from(one.ct_eq(&copy)));
    }

    #[test]
    fn a_secret_is_split_where_it_should_be() {
        let (left, right) = Secret::<3>::from_hex("010203").unwrap().split::<1, 2>();
        assert_eq!((left.expose(), right.expose()), (&[1], &[2, 3]));
    }

    #[test]
    fn only_the_exact_length_is_taken() {
        assert!(Secret::<4>::copied_from(&[1, 2, 3]).is_none());
        assert!(Secret::<4>::copied_from(&[1, 2, 3, 4, 5]).is_none());
        assert!(Secret::<2>::from_hex("0a0B").is_some());
        for wrong in ["", "0a", "0a0", "0a0b0c", "0a0g", " 0a0b", "0a0b\n"] {
            assert!(Secret::<2>::from_hex(wrong).is_none(), "{wrong:?}");
        }
    }
}
