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
pub mod update;
mod update_answer;
mod vending_key;

pub use curve::{Curve, Fingerprint, PointError, PrivateKey, PublicPoint, UnknownCurve};
pub use dak::Dak;
pub use embedded::EmbeddedKms;
pub use examination::AlteredRows;
pub use freshness::KeyLoadFileSettings;
pub use interface::Kms;
pub use issue::{
    AuthenticationFailure, Effects, Grant, Issue, IssueLimit, IssueQuestion, KlfIssued, KmsError,
    ModuleChanged, ModulesUpdated, PublicKeyAnswer, Refusal,
};
pub use kmc_keys::{KeysRunOut, KmcKeyState, KmcKeys};
pub use pem::PemError;
pub use remote::{RemoteKms, RemoteSettings};
pub use resealing::ResealError;
pub use rows::{KmcKeyRow, ModuleRow, ModuleState, UnknownModuleState, VendingKeyRow};
pub use storage_key::StorageKeyError;
pub use tables::{Asker, Issuable, KmsTables, Revision, SealedRows, TablesError, UpdateBasis};
pub use update_answer::{Applied, Update, UpdateQuestion, UpdateRefusal};
pub use vending_key::{Kcv, NoKcv, VendingKey, VendingKeyError};
