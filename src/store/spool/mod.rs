//! The spool: requests from acceptance to their result, and replies until they are delivered.

pub(crate) mod acceptance;
pub(crate) mod backlog;
pub(crate) mod completion;
pub(crate) mod deliveries;
pub(crate) mod delivery_ends;
pub(crate) mod late_requests;
pub(crate) mod leases;
pub(crate) mod postponing;
pub(crate) mod queue;
pub(crate) mod replies;
pub(crate) mod reply_port;
pub(crate) mod requests;
pub(crate) mod troubles;
pub(crate) mod usage;
mod wait;
