//! The KMC's side: reading an update file and verifying its signature.

use std::collections::BTreeSet;

use serde::Deserialize;
use thiserror::Error;

use super::keys::content_digest;
use super::signature::{StsaKey, StsaPublicKey};
use crate::sts::{
    Record, RecordError, SmEntry, SmUpdate, SmUpdateSignature, StsTime, TypedRecord as _, file,
    file::FileError,
};

/// An update file with a valid signature.
#[derive(Clone, Debug)]
pub(crate) struct SignedUpdate {
    /// The key that signed the file.
    pub(crate) signer: StsaPublicKey,
    /// First record of the file.
    pub(crate) first: SmUpdate,
    /// The same record as text. The file's key is bound to it.
    pub(crate) first_record: Record,
    /// The changes, at most one for each module.
    pub(crate) entries: Vec<SmEntry>,
    /// Content digest: equal for two files that say the same.
    pub(crate) digest: [u8; 48],
}

/// Why an update file is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum UpdateError {
    /// Not a file of records.
    #[error(transparent)]
    File(#[from] FileError),
    /// A record is in the wrong place, or has a wrong field.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Fewer records than a first and a last one.
    #[error("the file is cut short: it begins with X.SMUPDATE.1 and ends with X.SMUPDATE.SIG.1")]
    Short,
    /// No trusted key signed the file.
    #[error("the signature of the update file is refused: {0}")]
    Signature(SignatureFailure),
    /// The first record states another number of modules.
    #[error("the update file states {stated} modules and holds {found}")]
    Count {
        /// Number in the first record.
        stated: u32,
        /// Number of modules in the file.
        found: usize,
    },
    /// A module occurs twice.
    #[error("{0} stands in the update file twice")]
    Twice(String),
}

/// Why a signature is refused. For the audit log alone: the reply does not say it.
/// An external system sends these names (`docs/kms-protocol.md`).
#[derive(Clone, Copy, Debug, Deserialize, Error, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureFailure {
    /// No STSA key is configured.
    #[error("no key of the STSA's is configured")]
    NoKeys,
    /// No configured key made the signature.
    #[error("no configured key of the STSA's made it")]
    NobodyKnown,
    /// A configured key made it, before or after the time of its validity.
    #[error("it is by a key of the STSA's that is not valid now")]
    NotValidNow,
}

/// Reads a file and verifies its signature by the keys that are valid at `at`. The
/// signature is verified before any other record is interpreted.
///
/// # Errors
/// [`UpdateError`]: the first fault that is found.
pub(crate) fn open(
    content: &[u8],
    keys: &[StsaKey],
    at: StsTime,
) -> Result<SignedUpdate, UpdateError> {
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
