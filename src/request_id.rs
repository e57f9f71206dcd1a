//! The identity of a request from its acceptance to its reply.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::secrets::{RandomError, random_array};

/// Names one accepted request: 16 random bytes, written as 32 lower-case
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// A new random id; no other request has it.
    pub(crate) fn random() -> Result<Self, RandomError> {
        Ok(Self(random_array()?))
    }

    /// Takes the bytes of an id.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// A text that is not a request id.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a request is named by 32 lower-case hexadecimal digits")]
pub struct NoRequestId;

impl FromStr for RequestId {
    type Err = NoRequestId;

    fn from_str(text: &str) -> Result<Self, NoRequestId> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NoRequestId)?;
        // Only one spelling is taken, so that no two texts name one request.
        let id = Self(bytes);
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(NoRequestId)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn is_written_and_read_back() {
        let id = RequestId::random().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(id, RequestId::random().unwrap());
    }

    #[test]
    fn has_one_spelling() {
        let good = "00112233445566778899aabbccddeeff";
        assert_eq!(good.parse::<RequestId>().unwrap().to_string(), good);
        for wrong in [
            "",
            "00",
            &good.to_uppercase(),
            &format!("{good}0"),
            &format!("{good}00"),
        ] {
            assert_eq!(wrong.parse::<RequestId>(), Err(NoRequestId), "{wrong:?}");
        }
    }
}
