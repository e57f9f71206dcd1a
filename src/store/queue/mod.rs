//! The queue in the operator's hands: what waits and why, a request's whole
//! story, and his orders to try again and to drop.

mod drop;
mod names;
mod reading;
mod retry;
mod selecting;
#[cfg(test)]
mod tests;
mod values;

pub(super) use self::{
    drop::{DropAll, DropNow},
    names::named,
    reading::{queue, story},
    retry::RetryNow,
    selecting::selected,
};
pub use values::{
    Attempted, Dropped, DroppedAll, Order, QueueState, Queued, RequestStory, Selected, Selection,
    SpooledMessage, ToDrop, ToDropAll, ToRetry, Waits, WaitsEnded,
};
