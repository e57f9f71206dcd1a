//! What the milter can't do at the moment, for probes.

/// Why it is at its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// Why a request would not be taken now, if it wouldn't.
    pub refuses: Option<String>,
    /// What the operator should look at.
    pub warning: Option<String>,
}
