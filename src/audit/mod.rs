//! The audit log: one entry for each decision, chained so that any change shows.
