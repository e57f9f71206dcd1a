//! The audit log on disk. `crate::audit` has the entries, the chain and the checkpoints.

pub(crate) mod counts;
pub(crate) mod hand_over;
pub(crate) mod log;
pub(crate) mod order;
mod retention;
