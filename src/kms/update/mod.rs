//! The cryptography of a security-module update file (records.md, section 8).
//! Pure: times and keys come from outside. The STSA builds a file and the KMC
//! opens it by the same functions.

mod build;
mod keys;
mod open;
mod signature;
#[cfg(test)]
mod tests;

pub(crate) use build::{Change, NewUpdate, sign};
pub(crate) use keys::UpdateKey;
pub(crate) use open::{SignatureFailure, SignedUpdate, UpdateError, open};
pub(crate) use signature::{StsaKey, StsaPublicKey, StsaSigningKey};
