//! The tables of the key management system. Secrets come and go sealed. `crate::kms` has the
//! meaning of each row.

mod changes;
pub(crate) mod issues;
mod kms_tables;
pub(crate) mod secret_change;
mod tables;
