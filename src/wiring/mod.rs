//! Adds the gateway to Postfix's main.cf and master.cf, compares them with the gateway's
//! needs, and takes the gateway out again. It must not know mail and storage.
//!
//! postconf(1) makes every change on copies, which then replace the files one after the
//! other. A run that is killed at any moment leaves whole files, and a state from which
//! another run or an uninstallation can go on.

mod check;
mod comparison;
mod copies;
mod directory;
mod error;
mod gateway_toml;
mod install;
mod kept;
mod list;
mod lock;
mod maps;
mod needs;
pub mod parameters;
mod ports;
mod postconf;
mod removing;
mod report;
mod rewriting;
mod service;
pub mod services;
mod site;
mod socket;
mod stage;
mod uninstall;
mod verification;

pub(crate) use self::check::{Findings, check};
pub(crate) use self::error::WiringError;
pub(crate) use self::install::{Installation, install};
pub(crate) use self::needs::Wiring;
pub(crate) use self::report::{Line, Report};
pub(crate) use self::site::Difference;
pub(crate) use self::socket::SocketDirectory;
pub(crate) use self::uninstall::{Removal, uninstall};
