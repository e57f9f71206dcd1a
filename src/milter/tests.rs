//! Sessions on a real store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod floods;
mod house;
mod limits;
