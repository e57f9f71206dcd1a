//! Runs the gateway: milter, worker and upkeep on one store, made from the
//! configuration. Also reload, systemd, probes and the pages of metrics. Knows nothing
//! of the command line.

pub(crate) mod clock;
pub(crate) mod differences;
pub(crate) mod environment;
mod error;
mod health;
pub(crate) mod installation;
pub(crate) mod key_management;
mod line_queue;
mod live;
mod log;
pub(crate) mod memory_limit;
mod metrics;
pub(crate) mod milter_port;
mod node_process;
pub(crate) mod nodes;
mod pages;
pub(crate) mod policy_digest;
mod pulse;
mod reload;
pub(crate) mod reply_port;
mod restart;
mod run;
mod service;
mod serving;
mod signals;
mod soundness;
pub(crate) mod start;
mod systemd;
mod tasks;

pub(crate) use self::error::GatewayError;
pub(crate) use self::run::{Ended, run};
pub use self::service::Service;
