//! Local parts by which forwarders and sending services carry a person's mail. They
//! look like a list manager's. They are undone or let by before the senders' list is
//! searched.

use Piece::{Hex, Number, Recipient, Tag, Text};

/// A form that an honest reverse path may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelayEntry {
    /// The form of the local part.
    pub(crate) form: RelayForm,
    /// An address of this form.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the table"))]
    pub(crate) example: &'static str,
    /// The program or service that writes it.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the table"))]
    pub(crate) source: &'static str,
}

/// The change that a relay makes to a local part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayForm {
    /// Puts tags before the local part: a prefix, then this many fields that each end with `=`.
    Tags(&'static str, usize),
    /// Rewrites the address: a prefix, then this many fields that each end with `=`, the domain and the local part.
    Rewritten(&'static str, usize),
    /// Rewrites the address behind a forwarding mailbox: some text, this mark, then as above.
    Forwarded(&'static str, usize),
    /// Puts this mark and the next recipient after the local part.
    Appended(&'static str),
    /// Replaces the local part with exactly these pieces.
    Service(&'static [Piece]),
}

/// A piece of a local part that a service makes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// This text.
    Text(&'static str),
    /// Hex digits, one or more.
    Hex,
    /// The number of an account or a message: six digits or more.
    Number,
    /// Anything without a `=`.
    Tag,
    /// The next recipient, with `=` in place of its `@`.
    Recipient,
}

/// Reverse paths that are undone before they are judged.
pub(crate) static RELAYS: &[RelayEntry] = &[
    RelayEntry {
        form: RelayForm::Tags("prvs=", 1),
        example: "prvs=0123456789=jane",
        source: "BATV (draft-levine-smtp-batv)",
    },
    RelayEntry {
        form: RelayForm::Tags("btv1==", 2),
        example: "btv1==234==jane",
        source: "Barracuda's BATV",
    },
    RelayEntry {
        form: RelayForm::Rewritten("srs0=", 2),
        example: "SRS0=HHHH=TT=vendor.example=jane",
        source: "SRS (libsrs2, postsrsd)",
    },
    RelayEntry {
        form: RelayForm::Rewritten("srs0+", 2),
        example: "SRS0+HHHH=TT=vendor.example=jane",
        source: "SRS with another separator",
    },
    RelayEntry {
        form: RelayForm::Rewritten("srs0-", 2),
        example: "SRS0-HHHH=TT=vendor.example=jane",
        source: "SRS with the third separator",
    },
    RelayEntry {
        form: RelayForm::Rewritten("srs1=", 5),
        example: "SRS1=HHHH=relay.example==HHHH=TT=vendor.example=jane",
        source: "SRS, forwarded twice",
    },
    RelayEntry {
        form: RelayForm::Rewritten("bounces+srs=", 2),
        example: "bounces+SRS=abcde=fg=vendor.example=jane",
        source: "Exchange Online's SRS",
    },
    RelayEntry {
        form: RelayForm::Forwarded("+srs=", 2),
        example: "accounts+SRS=VZ/mL=FT=vendor.example=jane",
        source: "Exchange Online's SRS, a mailbox that forwards",
    },
    RelayEntry {
        form: RelayForm::Service(&[Text("bounces+srs="), Tag, Text("="), Tag]),
        example: "bounces+SRS=44ldt=IX",
        source: "Exchange Online's SRS, where the sender's domain is not the tenant's",
    },
    RelayEntry {
        form: RelayForm::Appended("%"),
        example: "jane%vendor.example",
        source: "gateways of old (RFC 1123 5.2.16)",
    },
    RelayEntry {
        form: RelayForm::Appended("+caf_="),
        example: "jane+caf_=gateway=kms.example.org",
        source: "Gmail's forwarding",
    },
    RelayEntry {
        form: RelayForm::Service(&[Text("bounces+"), Hex, Text("-"), Hex, Text("-"), Recipient]),
        example: "bounces+1234567-ab12-gateway=kms.example.org",
        source: "SendGrid",
    },
    RelayEntry {
        form: RelayForm::Service(&[Text("bounce+"), Hex, Text("."), Hex, Text("-"), Recipient]),
        example: "bounce+0a1b2c.3d4e5f-gateway=kms.example.org",
        source: "Mailgun",
    },
    RelayEntry {
        form: RelayForm::Service(&[
            Text("bounce-md_"),
            Hex,
            Text("."),
            Hex,
            Text(".v"),
            Hex,
            Text("-"),
            Hex,
        ]),
        example: "bounce-md_30001234.6650e55c.v1-0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        source: "Mandrill",
    },
    RelayEntry {
        form: RelayForm::Service(&[Text("bounces-"), Number, Text("-"), Recipient]),
        example: "bounces-93450017-gateway=kms.example.org",
        source: "Brevo",
    },
];

/// The local part that a lower-case one carries. Returns None for a sending
/// service's, which carries none.
pub(super) fn unwrap(local: &str) -> Option<&str> {
    let mut own = local;
    // Relays may have wrapped one another's: BATV within SRS.
    for _ in 0..3 {
        match RELAYS.iter().find_map(|entry| entry.form.undo(own)) {
            Some(Undone::Local(inner)) => own = inner,
            Some(Undone::Service) => return None,
            None => break,
        }
    }
    Some(own)
}

/// The result of undoing a form.
enum Undone<'a> {
    Local(&'a str),
    Service,
}

impl RelayForm {
    fn undo(self, local: &str) -> Option<Undone<'_>> {
        match self {
            RelayForm::Tags(prefix, fields) => {
                after_fields(local.strip_prefix(prefix)?, fields).map(Undone::Local)
            }
            RelayForm::Rewritten(prefix, fields) => {
                // The domain is one more field before the local part.
                after_fields(local.strip_prefix(prefix)?, fields + 1).map(Undone::Local)
            }
            RelayForm::Forwarded(mark, fields) => {
                let (mailbox, rest) = local.split_once(mark)?;
                let own = after_fields(rest, fields + 1)?;
                (!mailbox.is_empty()).then_some(Undone::Local(own))
            }
            RelayForm::Appended(mark) => {
                let (own, _) = local.split_once(mark)?;
                (!own.is_empty()).then_some(Undone::Local(own))
            }
            RelayForm::Service(pieces) => {
                let rest = pieces
                    .iter()
                    .try_fold(local, |rest, piece| piece.after(rest))?;
                rest.is_empty().then_some(Undone::Service)
            }
        }
    }
}

/// The text behind that many fields, each ended by `=`.
fn after_fields(text: &str, fields: usize) -> Option<&str> {
    let rest = text.splitn(fields + 1, '=').nth(fields)?;
    (!rest.is_empty()).then_some(rest)
}

impl Piece {
    /// The text behind the piece at the start of a local part in lower case.
    fn after(self, local: &str) -> Option<&str> {
        match self {
            Piece::Text(text) => local.strip_prefix(text),
            Piece::Hex => after_run(local, 1, |c| c.is_ascii_hexdigit()),
            Piece::Number => after_run(local, 6, |c| c.is_ascii_digit()),
            Piece::Tag => after_run(local, 1, |c| c != '='),
            Piece::Recipient => local.contains('=').then_some(""),
        }
    }
}

/// The text behind the longest run of such characters, if it has at least so many.
fn after_run(text: &str, least: usize, is_in: impl Fn(char) -> bool) -> Option<&str> {
    let rest = text.trim_start_matches(is_in);
    (text.len() - rest.len() >= least).then_some(rest)
}
