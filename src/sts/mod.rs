//! STS records: their text, checksums, identifiers, and the ways they travel.
