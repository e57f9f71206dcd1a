//! The names of a security module.

use crate::sts::{Ident, SmId};

/// The names of a security module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The module's identifier.
    pub smid: SmId,
    /// The hardware id, which the KMC registers.
    pub hardware: Ident,
    /// The firmware id, which requests only state.
    pub firmware: Ident,
}
