//! The KMC's side: reading an update file and finding out who signed it.

use std::collections::BTreeSet;

use thiserror::Error;

use super::content_digest;
use super::signature::{StsaKey, StsaPublicKey};
use crate::sts::{
    Record, RecordError, SmEntry, SmUpdate, SmUpdateSignature, StsTime, TypedRecord as _, file,
    file::FileError,
};

/// A file whose signature is good: what it asks, and whose word that is.
#[derive(Clone, Debug)]
pub struct SignedUpdate {
    /// The key that signed it.
    pub signer: StsaPublicKey,
    /// Its first record.
    pub first: SmUpdate,
    /// That record's text, which the file's key is bound to.
    pub first_record: Record,
    /// What becomes of which module; each stands there once.
    pub entries: Vec<SmEntry>,
    /// What it has in common with a file that says the same.
    pub digest: [u8; 48],
}

/// Why an update file is not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UpdateError {
    /// No file of records.
    #[error(transparent)]
    File(#[from] FileError),
    /// A record in the wrong place, or with a wrong field.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Fewer records than a first and a last one.
    #[error("the file is cut short: it begins with X.SMUPDATE.1 and ends with X.SMUPDATE.SIG.1")]
    Short,
    /// Nobody's word.
    #[error("the signature of the update file is refused: {0}")]
    Signature(SignatureFailure),
    /// The first record counts another number of modules.
    #[error("the update file states {stated} modules and holds {found}")]
    Count {
        /// By the first record.
        stated: u32,
        /// By counting.
        found: usize,
    },
    /// A module stands there twice.
    #[error("{0} stands in the update file twice")]
    Twice(String),
}

/// Why a signature is nobody's word. For the audit: the answer doesn't tell.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SignatureFailure {
    /// No key of the STSA's is configured.
    #[error("no key of the STSA's is configured")]
    NoKeys,
    /// By no key that is known.
    #[error("no configured key of the STSA's made it")]
    NobodyKnown,
    /// By a key before or after its time.
    #[error("it is by a key of the STSA's that is not valid now")]
    NotValidNow,
}

/// Reads a file and verifies its signature by the keys that are valid at `at`.
/// Nothing that it says is looked at before that.
///
/// # Errors
/// [`UpdateError`]: the first thing that is not as it should be.
pub fn open(content: &[u8], keys: &[StsaKey], at: StsTime) -> Result<SignedUpdate, UpdateError> {
    let records = file::parse(content)?;
    let Some((last, covered)) = records.split_last() else {
        return Err(UpdateError::Short);
    };
    let SmUpdateSignature { signature } = SmUpdateSignature::from_record(last)?;
    let signer = signer(&file::covered_text(covered), &signature, keys, at)
        .map_err(UpdateError::Signature)?;
    let Some((first_record, entries)) = covered.split_first() else {
        return Err(UpdateError::Short);
    };
    let first = SmUpdate::from_record(first_record)?;
    let entries: Vec<SmEntry> = entries
        .iter()
        .map(SmEntry::from_record)
        .collect::<Result<_, _>>()?;
    check(&first, &entries)?;
    Ok(SignedUpdate {
        signer,
        first,
        first_record: first_record.clone(),
        entries,
        digest: content_digest(covered),
    })
}

fn signer(
    text: &[u8],
    signature: &[u8],
    keys: &[StsaKey],
    at: StsTime,
) -> Result<StsaPublicKey, SignatureFailure> {
    if keys.is_empty() {
        return Err(SignatureFailure::NoKeys);
    }
    let made: Vec<&StsaKey> = keys
        .iter()
        .filter(|key| key.key.verifies(text, signature))
        .collect();
    match made.iter().find(|key| key.is_valid_at(at)) {
        Some(key) => Ok(key.key.clone()),
        None if made.is_empty() => Err(SignatureFailure::NobodyKnown),
        None => Err(SignatureFailure::NotValidNow),
    }
}

fn check(first: &SmUpdate, entries: &[SmEntry]) -> Result<(), UpdateError> {
    if u32::try_from(entries.len()) != Ok(first.count) {
        return Err(UpdateError::Count {
            stated: first.count,
            found: entries.len(),
        });
    }
    let mut seen = BTreeSet::new();
    match entries.iter().find(|entry| !seen.insert(&entry.smid)) {
        Some(entry) => Err(UpdateError::Twice(entry.smid.to_string())),
        None => Ok(()),
    }
}
