//! The KMS e-mail gateway of STS600-9-2 as a Postfix milter.
//!
//! Mail comes in through the milter, goes onto disk in the store, and leaves as a reply
//! through the worker. The rooms, in reading order; each imports only rooms above it:
//!
//! - [`time`]: clocks, whether to believe one, and lengths of time.
//! - [`sts`]: STS records, their checksums, and records in e-mail.
//! - [`secrets`]: locked memory, the master secret, sealing at rest.
//! - [`kms`]: the key management system: keys, modules, key load files.
//! - [`mail`]: a message, the request in it, and the reply to it.
//! - [`policy`]: the rules that judge mail. Facts in, verdict out.
//! - [`audit`]: entries of the audit log, and the chain that protects them.
//! - [`measures`]: the table of metrics.
//! - [`services`]: the four services: request in, outcome and effects out.
//! - [`store`]: durable state. Each method of the store is one transaction.
//! - [`dnsbl`]: block lists, asked by DNS.
//! - [`config`]: `gateway.toml`, read and validated.
//! - [`milter`]: Postfix in: sessions, facts, verdicts, acceptance.
//! - [`worker`]: request to reply, delivery, and upkeep of the store.
//! - [`wiring`]: the settings that Postfix needs for the gateway.
//! - [`gateway`]: builds and runs milter and worker.
//! - [`security_module`]: a security module in software, for tests and integrators.
//! - [`commands`]: the command line.

// They panic where nothing can be written.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod as_text;
pub mod audit;
pub mod commands;
pub mod config;
mod dnsbl;
pub mod faults;
pub mod gateway;
pub mod kms;
pub mod mail;
pub mod measures;
pub mod milter;
mod new_file;
pub mod policy;
mod printable;
pub mod request_id;
pub mod secrets;
pub mod security_module;
pub mod services;
pub mod store;
pub mod sts;
pub mod time;
pub mod wiring;
pub mod worker;
