//! Work that falls due, and the changes that wait for it. The writer applies such a change in the
//! very transaction that makes something due: a lease costs no commit of its own then.

use std::ops::AddAssign;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::changes::Job;

/// How much to count as due when it is unknown what is. A worker with more tasks than this is
/// still fine: each task looks by itself every few seconds.
const ALL: usize = 64;

/// The kinds of work that fall due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Delivery,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Request, Self::Delivery];
}

/// How much has fallen due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) requests: usize,
    pub(crate) deliveries: usize,
}

impl Due {
    /// Anything that waits may be due.
    pub(crate) const ANYTHING: Self = Self {
        requests: ALL,
        deliveries: ALL,
    };

    pub(super) fn of(self, kind: Kind) -> usize {
        match kind {
            Kind::Request => self.requests,
            Kind::Delivery => self.deliveries,
        }
    }
}

impl AddAssign for Due {
    fn add_assign(&mut self, other: Self) {
        self.requests = self.requests.wrapping_add(other.requests);
        self.deliveries = self.deliveries.wrapping_add(other.deliveries);
    }
}

/// The outcome of a look for work.
#[derive(Debug)]
pub enum Found<T> {
    /// There was some. It is leased.
    Work(T),
    /// There was none.
    Nothing(Idle),
}

impl<T> Found<T> {
    /// The work, if there was some.
    pub fn work(self) -> Option<T> {
        match self {
            Self::Work(work) => Some(work),
            Self::Nothing(_) => None,
        }
    }
}

/// A moment at which no work of a kind was due.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// When some falls due, or a lease ends, if nothing arrives before.
    pub(crate) next_due: Option<Timestamp>,
    /// All that had fallen due until then.
    pub(crate) arrived: Due,
}

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
