//! The key management system behind the gateway: KMC keys, modules, vending
//! keys and the issue of key load files.
//!
//! The services ask a [`Kms`]. [`EmbeddedKms`] answers from [`KmsTables`], which the
//! store keeps. [`RemoteKms`] asks another process, which holds every key. [`klf`] is
//! the cryptography of a key load file; the software security module uses it too.
//! Nothing here knows of mail or SQL.

pub mod administration;
mod curve;
mod dak;
mod embedded;
mod examination;
mod freshness;
mod interface;
mod issue;
pub mod klf;
mod kmc_keys;
#[cfg(test)]
mod memory_tables;
mod pem;
mod remote;
mod resealing;
mod rows;
mod storage_key;
mod tables;
pub(crate) mod update;
mod update_answer;
mod vending_key;

pub use curve::{Curve, PrivateKey};
pub(crate) use curve::{PointError, PublicPoint};
pub use dak::Dak;
pub use embedded::EmbeddedKms;
pub(crate) use examination::AlteredRows;
pub use freshness::KeyLoadFileSettings;
pub(crate) use interface::Kms;
#[cfg(test)]
pub(crate) use issue::IssueLimit;
pub(crate) use issue::{
    Effects, Grant, Issue, IssueQuestion, KlfIssued, KmsError, ModuleChanged, ModulesUpdated,
    PublicKeyAnswer, Refusal,
};
pub(crate) use kmc_keys::KmcKeys;
pub(crate) use pem::PemError;
pub(crate) use remote::{RemoteKms, RemoteSettings};
#[cfg(test)]
pub(crate) use rows::ModuleState;
pub(crate) use rows::{KmcKeyRow, ModuleRow, VendingKeyRow};
pub(crate) use storage_key::StorageKeyError;
pub use tables::KmsTables;
pub(crate) use tables::{Asker, Issuable, Revision, SealedRows, TablesError, UpdateBasis};
pub(crate) use update_answer::{Applied, Update, UpdateQuestion, UpdateRefusal};
pub use vending_key::VendingKey;
pub(crate) use vending_key::{Kcv, VendingKeyError};
