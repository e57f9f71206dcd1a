//! The checks behind the rules. Each is a function of the facts alone. The table
//! has their order.

pub(super) mod addressing;
pub(super) mod authentication;
pub(super) mod automatic;
pub(super) mod envelope;
pub(super) mod own;
pub(super) mod sender;
pub(super) mod service;
pub(super) mod shape;
