//! Fuzz targets: promises that hold for any input. Each target is a module with
//! a function `check`, which takes octets and panics if a promise is broken.
//! libFuzzer calls them from `fuzz_targets/`, and `integration/vectors/fuzz_corpus.rs`
//! calls them for every file of `corpus/` and `regressions/`. They use only the
//! gateway's public interface.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "shared with a test, and a broken promise shall panic"
)]

pub mod addresses;
mod checksums;
pub mod configuration;
mod gateway;
pub mod gateway_result;
mod house;
pub mod key_load_file;
pub mod policy;
pub mod record;
pub mod record_file;
pub mod record_in_mail;
pub mod request;
pub mod session;

use std::fmt::Display;

/// A target: its name, which its directories have too, and its check.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 10] = [
    ("addresses", addresses::check),
    ("configuration", configuration::check),
    ("gateway_result", gateway_result::check),
    ("key_load_file", key_load_file::check),
    ("policy", policy::check),
    ("record", record::check),
    ("record_file", record_file::check),
    ("record_in_mail", record_in_mail::check),
    ("request", request::check),
    ("session", session::check),
];

/// Asserts that a text, such as an error, fits on a line of a log: it is short
/// and has no control character.
#[track_caller]
fn assert_one_line(text: &impl Display) {
    let text = text.to_string();
    assert!(!text.is_empty());
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.chars().count() < 2_000, "{text:?}");
}
