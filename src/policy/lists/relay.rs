//! The forms in which forwarders and sending services carry a person's mail:
//! they look like a list manager's and aren't. They are undone, or let by.

/// A form that an honest reverse path may have.
#[derive(Clone, Copy, Debug)]
pub struct RelayEntry {
    /// What it looks like.
    pub form: RelayForm,
    /// An instance of it.
    pub example: &'static str,
    /// Who writes it.
    pub source: &'static str,
}

/// What a relay does to a local part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayForm {
    /// Puts tags before it: a prefix, then this many fields that each end with `=`.
    Tags(&'static str, usize),
    /// Rewrites it: a prefix, then this many fields that each end with `=`, the domain and the local part.
    Rewritten(&'static str, usize),
    /// Puts this mark and the next recipient after it.
    Appended(&'static str),
    /// Puts nothing of it there: a prefix, an account in hex digits, a mark, more hex digits, `-`, the recipient.
    Service(&'static str, char),
}

/// Reverse paths that are undone before they are judged.
pub static RELAYS: &[RelayEntry] = &[
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
        form: RelayForm::Appended("+caf_="),
        example: "jane+caf_=gateway=kms.example.org",
        source: "Gmail's forwarding",
    },
    RelayEntry {
        form: RelayForm::Service("bounces+", '-'),
        example: "bounces+1234567-ab12-gateway=kms.example.org",
        source: "SendGrid",
    },
    RelayEntry {
        form: RelayForm::Service("bounce+", '.'),
        example: "bounce+0a1b2c.3d4e5f-gateway=kms.example.org",
        source: "Mailgun",
    },
];

/// The local part that a lower-case one carries; None where it is a sending
/// service's and carries none.
pub(super) fn unwrap(local: &str) -> Option<&str> {
    let mut own = local;
    // A relay may have wrapped what another one has: BATV within SRS.
    for _ in 0..3 {
        match RELAYS.iter().find_map(|entry| entry.form.undo(own)) {
            Some(Undone::Local(inner)) => own = inner,
            Some(Undone::Service) => return None,
            None => break,
        }
    }
    Some(own)
}

/// What a form's undoing leaves.
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
            RelayForm::Appended(mark) => {
                let (own, _) = local.split_once(mark)?;
                (!own.is_empty()).then_some(Undone::Local(own))
            }
            RelayForm::Service(prefix, mark) => {
                let (account, rest) = local.strip_prefix(prefix)?.split_once(mark)?;
                let (tag, recipient) = rest.split_once('-')?;
                let is_service = is_hex(account) && is_hex(tag) && recipient.contains('=');
                is_service.then_some(Undone::Service)
            }
        }
    }
}

/// What follows that many fields, each ended by `=`.
fn after_fields(text: &str, fields: usize) -> Option<&str> {
    let rest = text.splitn(fields + 1, '=').nth(fields)?;
    (!rest.is_empty()).then_some(rest)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
