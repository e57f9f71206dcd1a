//! The cryptography of a key load file (records.md, sections 6 and 7). Pure:
//! times, nonce and keys come from outside. The KMC builds a file and the
//! security module opens it by the same functions.
//!
//! To open a file, an attacker needs the module's DAK and one of the two private
//! keys of the exchange. With the DAK and the KMC's private key they can open every
//! file that was ever made with both: there is no forward secrecy against that.

mod build;
mod keys;
mod open;
#[cfg(test)]
mod tampering;
#[cfg(test)]
mod vectors;

pub(crate) use build::NewFile;
pub(crate) use keys::{MAXIMUM_KEYS, replay_key};
pub use open::Opener;
pub(crate) use open::{OpenError, OpenedKeys};
