//! The chain over the audit log: HMAC-SHA-256 (RFC 2104) of each entry's
//! sequence number, the link before it and its stored bytes. It may not know
//! what an entry says.
//!
//! Whoever lacks the key can't change, remove, insert or reorder an entry
//! unseen. Cutting the newest entries, or putting back an older copy of the
//! whole log, shows only against a [`Head`] that was kept elsewhere.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The key of the chain, derived from the master secret.
pub struct ChainKey {
    /// Padded with zeros to the hash's block, as RFC 2104 section 2 does.
    block: Zeroizing<[u8; 64]>,
}

impl ChainKey {
    /// Takes the derived key.
    pub fn new(key: &[u8; 32]) -> Self {
        let mut block = Zeroizing::new([0; 64]);
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Self { block }
    }

    /// The link of an entry.
    pub fn link(&self, sequence: i64, previous: &Link, bytes: &[u8]) -> Link {
        Link(
            self.mac(sequence, previous, bytes)
                .finalize()
                .into_bytes()
                .into(),
        )
    }

    fn mac(&self, sequence: i64, previous: &Link, bytes: &[u8]) -> Hmac<Sha256> {
        Hmac::<Sha256>::new((&*self.block).into())
            .chain_update(sequence.to_be_bytes())
            .chain_update(previous.0)
            .chain_update(bytes)
    }
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainKey(..)")
    }
}

/// What ties an entry to all before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link(pub [u8; 32]);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The newest entry's sequence number and link: written `SEQ:HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The sequence number, 0 before the first entry.
    pub sequence: i64,
    /// The link.
    pub link: Link,
}

impl Head {
    /// The head of an empty log.
    pub const EMPTY: Self = Self {
        sequence: 0,
        link: Link([0; 32]),
    };

    /// The head once an entry of these bytes is appended.
    pub fn append(&self, key: &ChainKey, bytes: &[u8]) -> Self {
        let sequence = self.sequence + 1;
        Self {
            sequence,
            link: key.link(sequence, &self.link, bytes),
        }
    }

    /// The head after the stored entry that should come next.
    pub fn follow(
        &self,
        key: &ChainKey,
        sequence: i64,
        bytes: &[u8],
        link: &Link,
    ) -> Result<Self, BrokenAt> {
        let expected = self.sequence + 1;
        if sequence > expected {
            let fault = Fault::Missing;
            return Err(BrokenAt {
                sequence: expected,
                fault,
            });
        }
        let fits = key
            .mac(sequence, &self.link, bytes)
            .verify_slice(&link.0)
            .is_ok();
        if !fits || sequence < expected {
            let fault = Fault::Link;
            return Err(BrokenAt { sequence, fault });
        }
        Ok(Self {
            sequence,
            link: *link,
        })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.link)
    }
}

impl FromStr for Head {
    type Err = HeadSyntax;

    fn from_str(text: &str) -> Result<Self, HeadSyntax> {
        let (sequence, link) = text.split_once(':').ok_or(HeadSyntax)?;
        let sequence = sequence.parse().map_err(|_| HeadSyntax)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(link, &mut bytes).map_err(|_| HeadSyntax)?;
        Ok(Self {
            sequence,
            link: Link(bytes),
        })
    }
}

/// A text that is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a head of the audit log is written SEQ:HASH, the hash in 64 hex digits")]
pub struct HeadSyntax;

/// What retention leaves where it cut the oldest entries away: the head that the
/// first entry kept follows, authenticated like an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The last entry that was cut.
    pub head: Head,
    /// Shows that the holder of the key cut here.
    pub authenticator: Link,
}

impl Anchor {
    /// Stands where an entry's bytes do. Those begin with `{`, so no entry's
    /// link can pass for an authenticator.
    const BYTES: &'static [u8] = b"anchor";

    /// Authenticates a cut.
    pub fn new(key: &ChainKey, head: Head) -> Self {
        let authenticator = key.link(head.sequence, &head.link, Self::BYTES);
        Self {
            head,
            authenticator,
        }
    }

    /// The head to go on from, if the anchor is authentic.
    pub fn check(&self, key: &ChainKey) -> Result<Head, BrokenAt> {
        let sequence = self.head.sequence;
        key.mac(sequence, &self.head.link, Self::BYTES)
            .verify_slice(&self.authenticator.0)
            .map_err(|_| BrokenAt {
                sequence,
                fault: Fault::Anchor,
            })?;
        Ok(self.head)
    }
}

/// The first entry at which the chain doesn't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log is broken at entry {sequence}: {fault}")]
pub struct BrokenAt {
    /// The entry's sequence number.
    pub sequence: i64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The entry isn't there, though later ones are.
    Missing,
    /// Its link doesn't fit its bytes and the link before it.
    Link,
    /// The anchor that retention left isn't authentic.
    Anchor,
    /// A head kept elsewhere names an entry that retention has cut since.
    Cut,
    /// A head kept elsewhere names this entry, and it isn't the entry here.
    Head,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "it was removed",
            Self::Link => "it was changed, moved or put in, or the key is not the one it was written with",
            Self::Cut => "retention has cut it, so the head shows nothing: use a newer one",
            Self::Anchor => "the anchor that stands for the entries cut by retention is not authentic",
            Self::Head => "it is gone or not the entry that the given head names: the log was cut or replaced by another",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key() -> ChainKey {
        ChainKey::new(&[7; 32])
    }

    #[test]
    fn a_link_is_the_hmac_of_sequence_previous_and_bytes() {
        // Computed by Python's hmac.
        let link = key().link(1, &Head::EMPTY.link, b"{}");
        assert_eq!(
            link.to_string(),
            "f8b9f8bf32b5d19b48f8cd65a5f8a1787fecdcd0bad512ccbd211727b6d4d435"
        );
    }

    #[test]
    fn a_head_reads_back() {
        let head = Head::EMPTY.append(&key(), b"{}");
        assert_eq!(head.to_string().parse(), Ok(head));
        for text in ["", "1", "1:", "x:00", "1:zz", &head.to_string()[..40]] {
            assert_eq!(text.parse::<Head>(), Err(HeadSyntax));
        }
    }

    #[test]
    fn what_was_appended_follows_and_nothing_else_does() {
        let first = Head::EMPTY.append(&key(), b"{1}");
        let second = first.append(&key(), b"{2}");
        let follow = |bytes: &[u8], sequence, link| first.follow(&key(), sequence, bytes, link);

        assert_eq!(follow(b"{2}", 2, &second.link), Ok(second));
        let changed = BrokenAt {
            sequence: 2,
            fault: Fault::Link,
        };
        assert_eq!(follow(b"{3}", 2, &second.link), Err(changed));
        assert_eq!(follow(b"{2}", 2, &first.link), Err(changed));
        let missing = BrokenAt {
            sequence: 2,
            fault: Fault::Missing,
        };
        assert_eq!(follow(b"{2}", 3, &second.link), Err(missing));
        let again = BrokenAt {
            sequence: 1,
            fault: Fault::Link,
        };
        assert_eq!(follow(b"{1}", 1, &first.link), Err(again));
        let other = ChainKey::new(&[8; 32]);
        assert_eq!(first.follow(&other, 2, b"{2}", &second.link), Err(changed));
    }

    #[test]
    fn an_anchor_needs_the_key_and_no_link_passes_for_one() {
        let head = Head::EMPTY.append(&key(), b"{1}");
        let anchor = Anchor::new(&key(), head);
        assert_eq!(anchor.check(&key()), Ok(head));

        let forged = BrokenAt {
            sequence: 1,
            fault: Fault::Anchor,
        };
        let next = head.append(&key(), b"{2}");
        let other_key = Anchor::new(&ChainKey::new(&[8; 32]), head);
        let link = Anchor {
            head,
            authenticator: next.link,
        };
        for anchor in [other_key, link] {
            assert_eq!(anchor.check(&key()), Err(forged));
        }
        let moved = Anchor {
            head: next,
            ..anchor
        };
        assert_eq!(moved.check(&key()).unwrap_err().fault, Fault::Anchor);
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{:?}", key()), "ChainKey(..)");
    }
}
