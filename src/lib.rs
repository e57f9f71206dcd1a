//! The KMS e-mail gateway of STS600-9-2 as a Postfix milter.
//!
//! Data goes one way: `milter` takes a message from Postfix, `dnsbl` asks about
//! the client, `policy` judges, `store` keeps the request, `worker` takes it through `services`, `kms`
//! and `sts` to a reply that `mail` composes and Postfix delivers. Nothing
//! further along that way imports anything before it.

// They panic where nothing can be written.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod as_text;
pub mod audit;
pub mod clock;
pub mod clock_record;
pub mod commands;
pub mod config;
pub mod dnsbl;
pub mod faults;
pub mod kms;
pub mod mail;
pub mod measures;
pub mod milter;
pub mod new_file;
pub mod period;
pub mod policy;
pub mod printable;
pub mod security_module;
pub mod services;
pub mod store;
pub mod sts;
pub mod wiring;
pub mod worker;
