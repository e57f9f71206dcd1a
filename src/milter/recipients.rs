//! The recipients of one message. There may be any number of other recipients, of any
//! length: only as many are kept as the audit log shows. The gateway's own are kept as
//! given, because Postfix may have to delete each of them.

use std::ffi::{CStr, CString};

use super::{answer::SmtpReply, memory::Share};
use crate::{audit::Entry, mail::Address, measures::NotStored};

/// Bytes for the gateway's own recipients. This is room for thousands; Postfix by
/// default accepts a thousand recipients in all.
const OURS_LIMIT: usize = 1024 * 1024;

pub(super) struct Recipients {
    /// As given in RCPT, angle brackets included, and the address parsed from it.
    ours: Vec<(CString, Address)>,
    /// Bytes that `ours` takes.
    ours_size: usize,
    /// The number of all recipients.
    count: usize,
    /// The first recipients of all, for the audit log.
    first: Vec<String>,
    share: Share,
}

impl Recipients {
    pub(super) fn new(share: Share) -> Self {
        Self {
            ours: Vec::new(),
            ours_size: 0,
            count: 0,
            first: Vec::new(),
            share,
        }
    }

    /// Adds a recipient that isn't the gateway's.
    pub(super) fn add_other(&mut self, argument: &CStr) {
        self.count += 1;
        if self.first.len() < Entry::RECIPIENT_LIMIT {
            let text = for_audit(argument);
            // Without memory the audit entry lacks it: better than to refuse the message.
            if self.share.grow(text.len() + size_of::<String>()).is_ok() {
                self.first.push(text);
            }
        }
    }

    /// Adds a recipient that is the gateway's.
    ///
    /// # Errors
    /// A temporary refusal if there is no room for it.
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

    /// Whether the gateway is among the recipients.
    pub(super) fn has_ours(&self) -> bool {
        !self.ours.is_empty()
    }

    /// Whether the gateway is the only recipient.
    pub(super) fn are_only_ours(&self) -> bool {
        self.ours.len() == self.count
    }

    /// The gateway's own recipients, parsed.
    pub(super) fn our_addresses(&self) -> Vec<Address> {
        self.ours.iter().map(|(_, own)| own.clone()).collect()
    }

    /// The gateway's own recipients, as given in RCPT.
    pub(super) fn our_arguments(&self) -> Vec<CString> {
        self.ours.iter().map(|(own, _)| own.clone()).collect()
    }

    /// The recipients for the audit log, at most its limit.
    pub(super) fn shown(&self) -> Vec<String> {
        let mut shown = self.first.clone();
        if self.count > shown.len() {
            shown.truncate(Entry::RECIPIENT_LIMIT - 1);
            shown.push(format!("… and {} more", self.count - shown.len()));
        }
        shown
    }
}

/// A recipient for the audit log, with one character more than it keeps: the log marks
/// the cut then.
pub(super) fn for_audit(argument: &CStr) -> String {
    let text = argument.to_string_lossy();
    text.chars().take(Entry::TEXT_LIMIT + 1).collect()
}
