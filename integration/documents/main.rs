//! Documents and the sources themselves: they agree with each other, with the
//! code and with the rules.

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

/// README, guides and example configuration have what the code has.
mod documentation;

/// Man pages and completions.
mod manual;

/// The examples of `docs/integrating.md` work.
mod integrating;

/// The folders of `src/` import each other as the table says, and no files form a cycle.
mod architecture;

/// The files that each file imports.
mod imports;

/// The arithmetic of `scripts/bench`.
mod bench_figures;

/// Sources and licences of what is compiled in.
mod supply_chain;
