//! Work that falls due, and what a look for it finds.

use std::ops::AddAssign;

use jiff::Timestamp;

/// How much to count as due when it is unknown what is. A worker with more tasks than this is
/// still fine: each task looks by itself every few seconds.
const MANY: usize = 64;

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
        requests: MANY,
        deliveries: MANY,
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
pub enum Looked<T> {
    /// There was some. It is leased.
    Work(T),
    /// There was none.
    Nothing(Idle),
}

impl<T> Looked<T> {
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
