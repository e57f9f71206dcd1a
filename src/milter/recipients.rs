//! The recipients of one message. Of others' no more is kept than is shown,
//! for there may be any number, of any length; the gateway's own are kept as
//! they were given, since they may have to be deleted one by one.

use std::ffi::{CStr, CString};

use super::{answer::SmtpReply, memory::Share};
use crate::{audit::Entry, mail::Address, measures::NotStored};

/// Bytes kept of the gateway's own: room for thousands, where Postfix by
/// default takes a thousand of all kinds.
const OURS_LIMIT: usize = 1024 * 1024;

pub(super) struct Recipients {
    /// As given in RCPT, angle brackets included, and what that means.
    ours: Vec<(CString, Address)>,
    /// Bytes that those take.
    ours_size: usize,
    /// All there were.
    count: usize,
    /// The first of all, for the audit.
    first: Vec<String>,
    share: Share,
}

impl Recipients {
    /// None yet.
    pub(super) fn new(share: Share) -> Self {
        Self {
            ours: Vec::new(),
            ours_size: 0,
            count: 0,
            first: Vec::new(),
            share,
        }
    }

    /// One that isn't the gateway's.
    pub(super) fn add_other(&mut self, argument: &CStr) {
        self.count += 1;
        if self.first.len() < Entry::RECIPIENT_LIMIT {
            let text = for_audit(argument);
            // The audit does without it rather than the message wait.
            if self.share.grow(text.len() + size_of::<String>()).is_ok() {
                self.first.push(text);
            }
        }
    }

    /// One that is.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn add_ours(
        &mut self,
        argument: CString,
        address: Address,
    ) -> Result<(), SmtpReply> {
        let texts = argument.as_bytes().len() + address.local().len() + address.domain().len();
        let size = texts + size_of::<(CString, Address)>();
        if self.ours_size + size > OURS_LIMIT {
            return Err(SmtpReply::too_many_recipients());
        }
        // The list doubles its room when it grows.
        if self.share.grow(2 * size).is_err() {
            return Err(SmtpReply::trouble(NotStored::NoMemory));
        }
        self.ours_size += size;
        self.add_other(&argument);
        self.ours.push((argument, address));
        Ok(())
    }

    /// Whether the gateway is among them.
    pub(super) fn has_ours(&self) -> bool {
        !self.ours.is_empty()
    }

    /// Whether nobody else is.
    pub(super) fn are_only_ours(&self) -> bool {
        self.ours.len() == self.count
    }

    /// The gateway's own.
    pub(super) fn our_addresses(&self) -> Vec<Address> {
        self.ours.iter().map(|(_, own)| own.clone()).collect()
    }

    /// The same as they were given.
    pub(super) fn our_arguments(&self) -> Vec<CString> {
        self.ours.iter().map(|(own, _)| own.clone()).collect()
    }

    /// For the audit, which shows no more than its limit.
    pub(super) fn shown(&self) -> Vec<String> {
        let mut shown = self.first.clone();
        if self.count > shown.len() {
            shown.truncate(Entry::RECIPIENT_LIMIT - 1);
            shown.push(format!("… and {} more", self.count - shown.len()));
        }
        shown
    }
}

/// One character more than the audit keeps, so that it marks the cut.
pub(super) fn for_audit(argument: &CStr) -> String {
    let text = argument.to_string_lossy();
    text.chars().take(Entry::TEXT_LIMIT + 1).collect()
}
