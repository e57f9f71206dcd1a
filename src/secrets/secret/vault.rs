//! The vault of secrets: one place of fixed size, locked into memory as a whole.
//! No secret in it is ever swapped out, and nothing but secrets is locked. Knows
//! no purpose of a secret.
//!
//! mlock(2) locks whole pages. If each secret were locked where the heap puts it,
//! most of the process would be locked in time.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};
use zeroize::Zeroize;

/// Length in bytes of the longest secret that fits a slot.
pub(super) const SLOT_LENGTH: usize = 96;

/// Many times the number of secrets that a process has open at once. All slots
/// together are within the 64 KiB that an unprivileged process may lock even on
/// older systems.
const SLOTS: usize = 320;

type Slot = Mutex<[u8; SLOT_LENGTH]>;

/// The operating system lets the process lock no more memory.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct NotLocked(#[from] region::Error);

/// The process's one place for secrets.
struct Vault {
    slots: &'static [Slot],
    /// First slot of the next search for a free one.
    next: AtomicUsize,
    /// The guard is forgotten, because the slots are never unlocked.
    locked: Result<(), NotLocked>,
}

static VAULT: OnceLock<Vault> = OnceLock::new();

impl Vault {
    fn new() -> Self {
        let slots = (0..SLOTS)
            .map(|_| Slot::new([0; SLOT_LENGTH]))
            .collect::<Vec<_>>();
        let slots: &'static [Slot] = slots.leak();
        Self {
            slots,
            next: AtomicUsize::new(0),
            locked: region::lock(slots.as_ptr(), size_of_val(slots))
                .map(std::mem::forget)
                .map_err(NotLocked),
        }
    }

    fn free_slot(&self) -> Option<MutexGuard<'static, [u8; SLOT_LENGTH]>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % SLOTS;
        let (before, from) = self.slots.split_at(first);
        from.iter()
            .chain(before)
            .find_map(|slot| slot.try_lock().ok())
    }
}

/// Verifies that secrets in the vault stay in memory.
///
/// # Errors
/// [`NotLocked`]: they may be swapped out.
pub(crate) fn is_locked() -> Result<(), &'static NotLocked> {
    VAULT.get_or_init(Vault::new).locked.as_ref().copied()
}

/// The bytes of one secret: zeros at first, wiped when dropped.
pub(super) enum Place {
    /// In the vault, as every secret should be.
    Slot(MutexGuard<'static, [u8; SLOT_LENGTH]>, usize),
    /// Not locked: the secret is too long for a slot, or all slots are taken.
    Heap(Vec<u8>),
}

impl Place {
    /// Room for `length` bytes, all zero.
    pub(super) fn of(length: usize) -> Self {
        let slot = (length <= SLOT_LENGTH)
            .then(|| VAULT.get_or_init(Vault::new).free_slot())
            .flatten();
        match slot {
            Some(slot) => Self::Slot(slot, length),
            None => Self::Heap(vec![0; length]),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Slot(slot, length) => slot.split_at(*length).0,
            Self::Heap(bytes) => bytes,
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Slot(slot, length) => slot.split_at_mut(*length).0,
            Self::Heap(bytes) => bytes,
        }
    }

    /// Wipes all but the first `length` bytes, and keeps those.
    pub(super) fn shorten_to(&mut self, length: usize) {
        if let Some((_, rest)) = self.bytes_mut().split_at_mut_checked(length) {
            rest.zeroize();
        }
        match self {
            Self::Slot(_, present) => *present = length.min(*present),
            Self::Heap(bytes) => bytes.truncate(length),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self {
            Self::Slot(slot, _) => slot.zeroize(),
            Self::Heap(bytes) => bytes.zeroize(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_place_is_empty_and_of_its_length() {
        for length in [0, 1, SLOT_LENGTH, SLOT_LENGTH + 1] {
            let mut place = Place::of(length);
            assert_eq!(place.bytes(), vec![0; length]);
            place.bytes_mut().fill(7);
            assert_eq!(place.bytes(), vec![7; length]);
        }
    }

    #[test]
    fn what_is_dropped_or_cut_off_is_wiped() {
        let mut kept = Vault::new();
        kept.locked = Ok(());
        let slot = kept.slots.first().unwrap();
        let mut place = Place::Slot(slot.try_lock().unwrap(), 3);
        place.bytes_mut().copy_from_slice(&[1, 2, 3]);
        place.shorten_to(2);
        assert_eq!(place.bytes(), [1, 2]);
        let Place::Slot(guard, _) = &place else {
            unreachable!("it was made of a slot")
        };
        assert_eq!(guard.split_at(3).0, [1, 2, 0]);
        drop(place);
        assert_eq!(*slot.try_lock().unwrap(), [0; SLOT_LENGTH]);
    }

    #[test]
    fn a_slot_is_taken_once_and_the_rest_goes_elsewhere() {
        let vault = Vault::new();
        let taken: Vec<_> = std::iter::from_fn(|| vault.free_slot()).collect();
        assert_eq!(taken.len(), SLOTS);
        drop(taken);
        assert!(vault.free_slot().is_some());
    }

    #[test]
    fn all_of_it_may_be_locked_where_least_may_be() {
        assert!(SLOTS * size_of::<Slot>() <= 60 * 1024);
    }
}
