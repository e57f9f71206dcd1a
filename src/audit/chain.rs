//! The chain over the audit log: HMAC-SHA-256 (RFC 2104) of each entry's
//! sequence number, the link before it and its stored bytes. Knows nothing of the
//! meaning of an entry.
//!
//! Without the key, nobody can change, remove, insert or reorder an entry unseen.
//! A cut of the newest entries, or an older copy of the whole log, shows only
//! against a [`Head`] that was kept elsewhere.
//!
//! With another master secret the chain goes on under another key. The first link
//! under the new key covers the last link under the old one. From then on, the
//! former master secret alone can change nothing unseen, not even entries that were
//! written under it. Each key seals the one before it, so that the newest key
//! verifies the whole log.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secrets::{
    AssociatedData, DoesNotOpen, RandomError, Sealed, Secret, StorageKey, primitives::hkdf_sha384,
};

/// The key of the chain, derived from the master secret, with the keys before it.
pub struct ChainKey {
    newest: Key,
    /// The keys before it, the oldest first.
    former: Vec<FormerKey>,
}

/// A key that another one has replaced.
struct FormerKey {
    key: Key,
    /// The first entry under the next key.
    until: i64,
}

/// The passage of the chain to another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HandOver {
    /// The first entry under the new key.
    pub(crate) first: i64,
    /// The key before, sealed under the new one.
    pub(crate) sealed_key: Sealed,
}

impl ChainKey {
    /// Takes the key derived from the master secret.
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            newest: Key::new(key),
            former: Vec::new(),
        }
    }

    /// Adds the former keys that the hand-overs hold. The newest hand-over comes
    /// first.
    ///
    /// # Errors
    /// [`DoesNotOpen`]: the newest hand-over was made to another key than this one,
    /// or one after it is altered or missing.
    pub(crate) fn with_former(
        mut self,
        hand_overs: impl IntoIterator<Item = HandOver>,
    ) -> Result<Self, DoesNotOpen> {
        self.former.clear();
        for HandOver { first, sealed_key } in hand_overs {
            let after = self
                .former
                .last()
                .map_or(&self.newest, |former| &former.key);
            let key = after.open(first, &sealed_key)?;
            self.former.push(FormerKey { key, until: first });
        }
        self.former.reverse();
        Ok(self)
    }

    /// Hands the chain over to `next`. `first` is the first entry under `next`.
    ///
    /// # Errors
    /// [`RandomError`] if the operating system gives no nonce.
    pub(crate) fn hand_over(&self, next: &Self, first: i64) -> Result<HandOver, RandomError> {
        Ok(HandOver {
            first,
            sealed_key: next.newest.seal(first, &self.newest)?,
        })
    }

    /// The first entry under each key but the oldest known, ascending.
    pub(crate) fn hand_overs(&self) -> impl Iterator<Item = i64> {
        self.former.iter().map(|former| former.until)
    }

    /// The link of an entry.
    pub(crate) fn link(&self, sequence: i64, previous: &Link, bytes: &[u8]) -> Link {
        self.key_of(sequence).link(sequence, previous, bytes)
    }

    /// The key that the entry is written with.
    fn key_of(&self, sequence: i64) -> &Key {
        let former = self.former.iter().find(|former| sequence < former.until);
        former.map_or(&self.newest, |former| &former.key)
    }
}

/// One key, padded with zeros to the hash's block as RFC 2104 section 2 does.
struct Key(Secret<64>);

impl Key {
    fn new(key: &[u8; 32]) -> Self {
        let padded = Secret::filled_by(|block: &mut [u8; 64]| {
            block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
            Ok::<(), Infallible>(())
        });
        match padded {
            Ok(block) => Self(block),
        }
    }

    fn link(&self, sequence: i64, previous: &Link, bytes: &[u8]) -> Link {
        Link(
            self.mac(sequence, previous, bytes)
                .finalize()
                .into_bytes()
                .into(),
        )
    }

    fn mac(&self, sequence: i64, previous: &Link, bytes: &[u8]) -> Hmac<Sha256> {
        Hmac::<Sha256>::new(self.0.expose().into())
            .chain_update(sequence.to_be_bytes())
            .chain_update(previous.0)
            .chain_update(bytes)
    }

    fn seal(&self, first: i64, former: &Self) -> Result<Sealed, RandomError> {
        let (key, _padding) = former.0.split::<32, 32>();
        self.sealing_key().seal(&row(first), key.expose())
    }

    fn open(&self, first: i64, sealed: &Sealed) -> Result<Self, DoesNotOpen> {
        let opened = self.sealing_key().open(&row(first), sealed)?;
        let key = <&[u8; 32]>::try_from(opened.expose());
        key.map(Self::new).map_err(|_| row(first).does_not_open())
    }

    /// The key that seals the former key, and nothing else.
    fn sealing_key(&self) -> StorageKey {
        let (key, _padding) = self.0.split::<32, 32>();
        StorageKey::new(hkdf_sha384(
            key.expose(),
            b"",
            b"kms-gateway|former-audit-chain",
        ))
    }
}

fn row(first: i64) -> AssociatedData {
    AssociatedData::new("audit_hand_overs", &first.to_string())
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainKey(..)")
    }
}

/// Ties an entry to all entries before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link(pub(crate) [u8; 32]);

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
    /// The link of that entry, zeros before the first.
    pub(crate) link: Link,
}

impl Head {
    /// The head of an empty log.
    pub(crate) const EMPTY: Self = Self {
        sequence: 0,
        link: Link([0; 32]),
    };

    /// The head once an entry of these bytes is appended.
    pub(crate) fn append(&self, key: &ChainKey, bytes: &[u8]) -> Self {
        let sequence = self.sequence + 1;
        Self {
            sequence,
            link: key.link(sequence, &self.link, bytes),
        }
    }

    /// Verifies the stored entry that should come next, and returns the head after
    /// it.
    ///
    /// # Errors
    /// [`BrokenAt`]: the entry is missing, or its link does not fit.
    pub(crate) fn follow(
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
            .key_of(sequence)
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

/// A text that is not a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a head of the audit log is written SEQ:HASH, the hash in 64 hex digits")]
pub struct HeadSyntax;

/// The mark that retention leaves in place of the oldest entries: the head before
/// the first entry that is kept, authenticated like an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// The last entry that was cut.
    pub(crate) head: Head,
    /// Shows that the holder of the key cut here.
    pub(crate) authenticator: Link,
}

impl Anchor {
    /// Used in place of an entry's bytes. Entries begin with `{`, so no entry's link
    /// can pass for an authenticator.
    const BYTES: &'static [u8] = b"anchor";

    /// Authenticates a cut by the newest key, whatever key the entries have. When
    /// the chain passes to another key, the anchor is made anew.
    pub(crate) fn new(key: &ChainKey, head: Head) -> Self {
        let authenticator = key.newest.link(head.sequence, &head.link, Self::BYTES);
        Self {
            head,
            authenticator,
        }
    }

    /// Verifies the anchor, and returns the head that the first kept entry follows.
    ///
    /// # Errors
    /// [`BrokenAt`]: the anchor is not authentic.
    pub(crate) fn check(&self, key: &ChainKey) -> Result<Head, BrokenAt> {
        let sequence = self.head.sequence;
        key.newest
            .mac(sequence, &self.head.link, Self::BYTES)
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
    pub(crate) sequence: i64,
    /// The fault at that entry.
    pub(crate) fault: Fault,
}

/// The fault at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
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
