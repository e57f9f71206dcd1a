//! Inputs from corpora and at random, judged by checks and by programs of
//! others.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall panic"
)]

#[path = "../harness/mod.rs"]
mod harness;

/// Against Python: header fields and primitives.
mod differential;

/// The checks of `fuzz/` over their corpora.
mod fuzz_corpus;
