//! What is measured: the one table of metrics, by which they are set and
//! described. Knows no exporter.

/// A gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What it tells.
    pub about: &'static str,
}

/// When the KMC's keys run out.
pub const KMC_KEYS_END: Measure = Measure {
    name: "kms_gateway_kmc_keys_end_timestamp_seconds",
    about: "When the last KMC key expires that follows the others without a gap, in seconds since \
            1970 UTC; 0 if none serves. Not there with an external KMS.",
};

/// All of them.
pub const MEASURES: &[Measure] = &[KMC_KEYS_END];

impl Measure {
    /// Sets its value.
    pub fn set(&self, value: f64) {
        metrics::gauge!(self.name).set(value);
    }
}
