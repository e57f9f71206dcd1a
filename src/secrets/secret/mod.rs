//! Secret bytes. They lie in one place that is locked into memory: a move leaves
//! no copy behind, and none is swapped out. They are wiped when dropped, compared
//! in constant time and shown by no formatter.

mod vault;

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use zeroize::ZeroizeOnDrop;

pub(crate) use self::vault::is_locked as are_kept_in_memory;
use self::vault::{Place, SLOT_LENGTH};

/// The operating system gave no random bytes.
#[derive(Debug, Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct RandomError(#[from] getrandom::Error);

/// Fills `bytes` from the operating system's generator.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), RandomError> {
    Ok(getrandom::fill(bytes)?)
}

/// `N` random public bytes, such as a nonce.
pub(crate) fn random_array<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

/// A secret of `N` bytes. An `N` that fits no slot of the vault does not compile.
pub struct Secret<const N: usize>(Place);

impl<const N: usize> Secret<N> {
    fn zeros() -> Self {
        const { assert!(N <= SLOT_LENGTH, "there is no room for so long a secret") };
        Self(Place::of(N))
    }

    /// A fresh secret from the operating system's generator.
    pub(crate) fn random() -> Result<Self, RandomError> {
        Self::filled_by(|bytes| fill_random(bytes))
    }

    /// A secret that `fill` writes in place.
    pub(crate) fn filled_by<E>(
        fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut secret = Self::zeros();
        match secret.0.bytes_mut().first_chunk_mut() {
            Some(bytes) => fill(bytes)?,
            None => unreachable!("it was made of this length"),
        }
        Ok(secret)
    }

    /// A copy of `bytes`, if there are exactly `N` of them.
    pub(crate) fn copied_from(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self::zeros();
        if bytes.len() != N {
            return None;
        }
        secret.0.bytes_mut().copy_from_slice(bytes);
        Some(secret)
    }

    /// Reads `2 N` hexadecimal digits, of either case.
    pub fn from_hex(digits: &str) -> Option<Self> {
        Self::filled_by(|bytes| hex::decode_to_slice(digits, bytes)).ok()
    }

    /// The bytes, for a cryptographic primitive and nothing else.
    pub fn expose(&self) -> &[u8; N] {
        match self.0.bytes().first_chunk() {
            Some(bytes) => bytes,
            None => unreachable!("it was made of this length"),
        }
    }

    /// Splits the secret into two. Lengths that don't add up to `N` do not
    /// compile.
    pub(crate) fn split<const LEFT: usize, const RIGHT: usize>(
        &self,
    ) -> (Secret<LEFT>, Secret<RIGHT>) {
        const { assert!(LEFT + RIGHT == N, "the parts must make the whole") };
        let (mut left, mut right) = (Secret::zeros(), Secret::zeros());
        let (from_left, from_right) = self.expose().split_at(LEFT);
        left.0.bytes_mut().copy_from_slice(from_left);
        right.0.bytes_mut().copy_from_slice(from_right);
        (left, right)
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> ConstantTimeEq for Secret<N> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.bytes().ct_eq(other.0.bytes())
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>(..)")
    }
}

/// A secret whose length is known only when it is made, such as an
/// x-coordinate on one of two curves.
pub struct SecretBytes(Place);

impl SecretBytes {
    /// A secret that `fill` writes in place, from the beginning of `room` zeros.
    /// `fill` returns the length of the secret.
    pub(crate) fn filled_by<E>(
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Self, E> {
        let mut place = Place::of(room);
        let length = fill(place.bytes_mut())?;
        place.shorten_to(length);
        Ok(Self(place))
    }

    /// The parts, one after the other.
    pub(crate) fn concatenated(parts: &[&[u8]]) -> Self {
        let mut place = Place::of(parts.iter().map(|part| part.len()).sum());
        let from = parts.iter().copied().flatten();
        place
            .bytes_mut()
            .iter_mut()
            .zip(from)
            .for_each(|(to, from)| *to = *from);
        Self(place)
    }

    /// The bytes, for a cryptographic primitive and nothing else.
    pub fn expose(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl ConstantTimeEq for SecretBytes {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.bytes().ct_eq(other.0.bytes())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({}, ..)", self.0.bytes().len())
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
        let bytes = SecretBytes::concatenated(&[secret.expose()]);
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
