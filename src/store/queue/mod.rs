//! The queue in the operator's hands: what waits and why, a request's whole
//! story, and his orders to try again and to drop.

mod drop;
mod names;
mod reading;
mod retry;
#[cfg(test)]
mod tests;
mod values;

pub(super) use self::{
    drop::DropNow,
    names::named,
    reading::{queue, story},
    retry::RetryNow,
};
pub use values::{
    Attempted, Dropped, Order, QueueState, Queued, RequestStory, SpooledMessage, ToDrop, ToRetry,
    Waits, WaitsEnded,
};
