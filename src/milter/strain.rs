//! The limits that the milter has reached, for probes.

/// The limits that the milter has reached; empty if none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strain {
    /// The reason if no request can be accepted now.
    pub(crate) refuses: Option<String>,
    /// A text for the operator if a limit is reached or near.
    pub(crate) warning: Option<String>,
}
