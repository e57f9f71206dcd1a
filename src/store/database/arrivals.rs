//! The changes that wait until work falls due. The writer applies such a change in the very
//! transaction that makes something due: a lease costs no commit of its own then.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::changes::Job;
use super::due::{Due, Idle, Kind};

/// Counts what falls due, and keeps the changes that wait for it.
#[derive(Default)]
pub(super) struct Arrivals(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    arrived: Due,
    places: u64,
    jobs: Vec<Standing>,
}

struct Standing {
    kind: Kind,
    place: u64,
    job: Box<dyn Job>,
}

impl Arrivals {
    /// Has a change wait for work of this kind. None if some has fallen due since.
    pub(super) fn wait(&self, kind: Kind, since: Idle, job: Box<dyn Job>) -> Option<Place<'_>> {
        let mut waiting = self.lock();
        if waiting.arrived.of(kind) != since.arrived.of(kind) {
            return None;
        }
        waiting.places += 1;
        let place = waiting.places;
        waiting.jobs.push(Standing { kind, place, job });
        Some(Place { of: self, place })
    }

    /// All that has fallen due so far.
    pub(super) fn arrived(&self) -> Due {
        self.lock().arrived
    }

    /// Counts what falls due. A change that begins to wait later has not missed it.
    pub(super) fn count(&self, due: Due) {
        self.lock().arrived += due;
    }

    /// How many changes wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Takes a change that waits for work of this kind. The last to come is the first, so that a
    /// task whose session with Postfix is open goes before one that has none.
    pub(super) fn next(&self, kind: Kind) -> Option<Box<dyn Job>> {
        let mut waiting = self.lock();
        let of_kind = |standing: &Standing| standing.kind == kind;
        let last = waiting.jobs.iter().rposition(of_kind)?;
        Some(waiting.jobs.remove(last).job)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a change that waits. It is left when this is dropped.
pub(super) struct Place<'a> {
    of: &'a Arrivals,
    place: u64,
}

impl Place<'_> {
    /// Gives the place up. False if the change was taken from it, and will be answered.
    pub(super) fn leave(&self) -> bool {
        let mut waiting = self.of.lock();
        let before = waiting.jobs.len();
        waiting.jobs.retain(|standing| standing.place != self.place);
        waiting.jobs.len() < before
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
