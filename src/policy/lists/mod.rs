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

pub use auto_responder::AUTO_RESPONDER;
pub use auto_submitted::AUTO_SUBMITTED;
pub(super) use field::find;
pub use field::{FieldEntry, Value};
pub use mailing_list::MAILING_LIST;
pub use precedence::PRECEDENCE;
pub use relay::{Piece, RELAYS, RelayEntry, RelayForm};
pub use report::{REPORTS, ReportEntry};
pub use sender::{Form, Role, SENDERS, SenderEntry, is_verp_to, role_of};
pub use subject::{Mark, MarkKind, SubjectEntry};
pub use subject_marks::{SUBJECT_MARKS, mark_of};
