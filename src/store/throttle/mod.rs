//! Allowances of senders, and the shares of the spool that strangers may hold.
//! `crate::policy::throttle` has the arithmetic.

pub(crate) mod acquaintance;
pub(crate) mod allowances;
pub(crate) mod buckets;
pub(crate) mod shares;
#[cfg(test)]
mod testing;
