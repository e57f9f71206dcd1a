//! The two curves: reading a point strictly, agreeing on a secret, making a
//! key pair. Each is one generic function; the enums only choose the curve.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use p256::NistP256;
use p384::NistP384;
use p384::elliptic_curve::{
    AffinePoint, CurveArithmetic, FieldBytesSize, Generate as _, PublicKey, SecretKey,
    array::typenum::Unsigned as _,
    sec1::{FromSec1Point, ModulusSize, ToSec1Point},
};
use sha2::{Digest as _, Sha256, digest::consts::U8};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::as_text::words;
use crate::secrets::{RandomError, SecretBytes};
use crate::sts::PointText;

words! {
    /// The curve of a KMC key, and so of every exchange with it (records.md,
    /// section 6).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum Curve {
        /// NIST P-384, the curve of the standard's own examples.
        #[default]
        P384 = "P-384",
        /// NIST P-256.
        P256 = "P-256",
    }
}

impl Curve {
    /// Length in bytes of an x-coordinate and of a private scalar.
    pub(crate) const fn field_length(self) -> usize {
        match self {
            Self::P384 => 48,
            Self::P256 => 32,
        }
    }

    /// Length in bytes of a point in SEC1 uncompressed form.
    pub(crate) const fn point_length(self) -> usize {
        1 + 2 * self.field_length()
    }
}

/// The name of neither curve.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the curve is either P-384 or P-256")]
pub struct UnknownCurve;

impl FromStr for Curve {
    type Err = UnknownCurve;

    fn from_str(name: &str) -> Result<Self, UnknownCurve> {
        Self::named(name).ok_or(UnknownCurve)
    }
}

/// Why a text is not a public key, or a number not a private key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PointError {
    /// Too long or too short for the curve.
    #[error("a point on {curve} has exactly {} hexadecimal digits", 2 * curve.point_length())]
    Length {
        /// The curve that was expected.
        curve: Curve,
    },
    /// Compressed, compact, hybrid or infinity.
    #[error("the point is not in SEC1 uncompressed form, which begins with 04")]
    Form,
    /// Something other than `0`–`9` and `A`–`F`.
    #[error("a point is written in upper-case hexadecimal digits")]
    Digits,
    /// A coordinate is too large, or the pair doesn't satisfy the equation.
    #[error("the point does not lie on {curve}")]
    OffCurve {
        /// The curve that was expected.
        curve: Curve,
    },
    /// The two keys of an exchange must be on one curve.
    #[error("the two keys are on different curves")]
    TwoCurves,
    /// Zero, not below the group order, or of the wrong length.
    #[error("the number is not a private key on {curve}")]
    Scalar {
        /// The curve that was expected.
        curve: Curve,
    },
}

/// A point that was checked to lie on its curve and not to be infinity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicPoint {
    /// On NIST P-384.
    P384(PublicKey<NistP384>),
    /// On NIST P-256.
    P256(PublicKey<NistP256>),
}

impl PublicPoint {
    /// Reads a point as a record writes it: SEC1 uncompressed, upper-case
    /// hexadecimal, of exactly the curve's length (records.md, section 6).
    ///
    /// # Errors
    /// [`PointError`] for every other form, for infinity and for a point that
    /// is not on `curve`.
    pub(crate) fn read(curve: Curve, text: &str) -> Result<Self, PointError> {
        match curve {
            Curve::P384 => read_point(curve, text).map(Self::P384),
            Curve::P256 => read_point(curve, text).map(Self::P256),
        }
    }

    /// The curve that the point lies on.
    pub(crate) fn curve(&self) -> Curve {
        match self {
            Self::P384(_) => Curve::P384,
            Self::P256(_) => Curve::P256,
        }
    }

    /// The point in SEC1 uncompressed form.
    pub(crate) fn to_sec1(&self) -> Vec<u8> {
        match self {
            Self::P384(point) => point.to_sec1_point(false).as_bytes().to_vec(),
            Self::P256(point) => point.to_sec1_point(false).as_bytes().to_vec(),
        }
    }

    /// The point as a record writes it.
    pub(crate) fn to_text(&self) -> PointText {
        match PointText::from_bytes(&self.to_sec1()) {
            Ok(text) => text,
            Err(_) => unreachable!("a record holds every point of both curves"),
        }
    }

    /// The public-key fingerprint (records.md, section 5).
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let digest = Sha256::digest(self.to_sec1());
        let (leftmost, _) = digest.split_ref::<U8>();
        Fingerprint((*leftmost).into())
    }
}

fn read_point<C>(curve: Curve, text: &str) -> Result<PublicKey<C>, PointError>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    // The text is checked before it is decoded, because the decoder also takes
    // compressed and compact forms.
    if text.len() != 2 * (1 + 2 * FieldBytesSize::<C>::USIZE) {
        return Err(PointError::Length { curve });
    }
    if !text.starts_with("04") {
        return Err(PointError::Form);
    }
    if !text
        .bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))
    {
        return Err(PointError::Digits);
    }
    let bytes = hex::decode(text).map_err(|_| PointError::Digits)?;
    PublicKey::from_sec1_bytes(&bytes).map_err(|_| PointError::OffCurve { curve })
}

/// The public-key fingerprint of this profile: leftmost 8 bytes of SHA-256
/// over the SEC1 uncompressed point, shown as 16 upper-case hexadecimal digits.
///
/// The fingerprint printed in STS600-9-2, 5.1.3.5, is a different one: no common
/// hash of the key gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// Takes a fingerprint that another system computed.
    pub(crate) const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode_upper(self.0))
    }
}

/// A private key on one of the two curves; wiped when dropped.
pub enum PrivateKey {
    /// On NIST P-384.
    P384(SecretKey<NistP384>),
    /// On NIST P-256.
    P256(SecretKey<NistP256>),
}

impl PrivateKey {
    /// A fresh key from the operating system's generator.
    pub(crate) fn generate(curve: Curve) -> Result<Self, RandomError> {
        Ok(match curve {
            Curve::P384 => Self::P384(SecretKey::try_generate()?),
            Curve::P256 => Self::P256(SecretKey::try_generate()?),
        })
    }

    /// The key with this scalar, big-endian and of exactly the curve's length.
    ///
    /// # Errors
    /// [`PointError::Scalar`] for another length, zero, or a number not below
    /// the group order.
    pub fn from_scalar(curve: Curve, scalar: &[u8]) -> Result<Self, PointError> {
        let refused = PointError::Scalar { curve };
        if scalar.len() != curve.field_length() {
            return Err(refused);
        }
        match curve {
            Curve::P384 => SecretKey::from_slice(scalar).map(Self::P384),
            Curve::P256 => SecretKey::from_slice(scalar).map(Self::P256),
        }
        .map_err(|_| refused)
    }

    /// The scalar, big-endian and of exactly the curve's length.
    pub fn to_scalar(&self) -> SecretBytes {
        match self {
            Self::P384(key) => SecretBytes::concatenated(&[&*Zeroizing::new(key.to_bytes())]),
            Self::P256(key) => SecretBytes::concatenated(&[&*Zeroizing::new(key.to_bytes())]),
        }
    }

    /// The curve that the key belongs to.
    pub(crate) fn curve(&self) -> Curve {
        match self {
            Self::P384(_) => Curve::P384,
            Self::P256(_) => Curve::P256,
        }
    }

    /// The matching public key.
    pub fn public_point(&self) -> PublicPoint {
        match self {
            Self::P384(key) => PublicPoint::P384(key.public_key()),
            Self::P256(key) => PublicPoint::P256(key.public_key()),
        }
    }

    /// Z of records.md, section 7: the x-coordinate of the Diffie-Hellman
    /// point, with its leading zeros.
    ///
    /// # Errors
    /// [`PointError::TwoCurves`] if `peer` is on the other curve.
    pub(crate) fn agree(&self, peer: &PublicPoint) -> Result<SecretBytes, PointError> {
        match (self, peer) {
            (Self::P384(key), PublicPoint::P384(point)) => Ok(agree(key, point)),
            (Self::P256(key), PublicPoint::P256(point)) => Ok(agree(key, point)),
            (Self::P384(_), PublicPoint::P256(_)) | (Self::P256(_), PublicPoint::P384(_)) => {
                Err(PointError::TwoCurves)
            }
        }
    }
}

/// Both curves have prime order, the scalar is not zero and the point is not
/// infinity. So their product is not infinity either, and has an x-coordinate.
fn agree<C: CurveArithmetic>(key: &SecretKey<C>, peer: &PublicKey<C>) -> SecretBytes {
    SecretBytes::concatenated(&[key.diffie_hellman(peer).raw_secret_bytes()])
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, ..)", self.curve())
    }
}
