//! The lists that the rules search: marks that real automatic mail carries. One
//! table a file, one entry a row, each with its source.
//!
//! No entry matches by a prefix of a name or of a value. Presence alone counts
//! only for fields that no person's mail has.

mod auto_responder;
mod auto_submitted;
mod field;
mod mailing_list;
mod precedence;
mod relay;
mod report;
mod sender;
mod subject;
mod subject_marks;

pub(crate) use auto_responder::AUTO_RESPONDER;
pub(crate) use auto_submitted::AUTO_SUBMITTED;
pub(crate) use field::FieldEntry;
pub(super) use field::find;
pub(crate) use mailing_list::MAILING_LIST;
pub(crate) use precedence::PRECEDENCE;
pub(crate) use report::{REPORTS, ReportEntry};
pub(crate) use sender::{Role, SENDERS, SenderEntry, is_verp_to, role_of};
pub(crate) use subject_marks::{SUBJECT_MARKS, mark_of};
#[cfg(test)]
pub(crate) use {
    field::Value,
    relay::{Piece, RELAYS, RelayEntry, RelayForm},
    sender::Form,
    subject::Mark,
};
