//! The names of a security module.

use crate::sts::{Ident, SmId};

/// The names of a security module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    /// The module's identifier.
    pub(crate) smid: SmId,
    /// The hardware id, which the KMC registers.
    pub(crate) hardware: Ident,
    /// The firmware id, which requests only state.
    pub(crate) firmware: Ident,
}
