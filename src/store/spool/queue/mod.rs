//! The queue as operators see it: everything that waits, and why. Has the story of each request,
//! and orders to try again and to drop.

mod drop;
mod names;
mod reading;
mod retry;
mod selecting;
#[cfg(test)]
mod tests;
mod values;

pub use values::{
    Attempted, Dropped, DroppedAll, QueueState, Queued, RequestStory, Selected, Selection,
    SpooledMessage, ToDrop, ToDropAll, ToRetry, Waits, WaitsEnded,
};
