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

pub(crate) use self::values::{
    Attempted, Dropped, DroppedAll, RequestStory, Selected, Selection, SpooledMessage, ToDrop,
    ToDropAll, ToRetry, WaitsEnded,
};
pub(crate) use self::values::{QueueState, Queued, Waits};
