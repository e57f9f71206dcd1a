//! Content types of reports about mail and of calendar answers.

use std::fmt::{self, Display, Formatter};

use crate::mail::ContentType;

/// A content type that no request has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportEntry {
    /// Type and subtype.
    pub(crate) media_type: (&'static str, &'static str),
    /// A parameter that the type must have too, and its value.
    pub(crate) parameter: Option<(&'static str, &'static str)>,
    /// The document that defines the type.
    pub(crate) source: &'static str,
}

/// The rule `report`, for the message itself or any of its parts.
#[rustfmt::skip]
pub(crate) static REPORTS: &[ReportEntry] = &[
    entry("multipart", "report", "RFC 6522"),
    entry("message", "delivery-status", "RFC 3464"),
    entry("message", "global-delivery-status", "RFC 6533"),
    entry("message", "disposition-notification", "RFC 8098"),
    entry("message", "global-disposition-notification", "RFC 6533"),
    entry("message", "tracking-status", "RFC 3886"),
    entry("message", "feedback-report", "RFC 5965"),
    entry("text", "rfc822-headers", "RFC 6522 3"),
    entry("message", "global-headers", "RFC 6533"),
    calendar("reply"),
    calendar("counter"),
    calendar("declinecounter"),
    calendar("refresh"),
];

const fn entry(kind: &'static str, subtype: &'static str, source: &'static str) -> ReportEntry {
    ReportEntry {
        media_type: (kind, subtype),
        parameter: None,
        source,
    }
}

const fn calendar(method: &'static str) -> ReportEntry {
    ReportEntry {
        media_type: ("text", "calendar"),
        parameter: Some(("method", method)),
        source: "RFC 6047 2.4",
    }
}

impl ReportEntry {
    /// Whether the entry matches this content type.
    pub(crate) fn matches(&self, content_type: &ContentType) -> bool {
        let (kind, subtype) = self.media_type;
        content_type.is(kind, subtype)
            && self.parameter.is_none_or(|(name, value)| {
                content_type
                    .parameter(name)
                    .is_some_and(|own| own.eq_ignore_ascii_case(value))
            })
    }

    /// Whether the entry matches by `kind/subtype` alone.
    pub(in crate::policy) fn is_named(&self, media_type: &str) -> bool {
        let (kind, subtype) = self.media_type;
        self.parameter.is_none()
            && media_type
                .split_once('/')
                .is_some_and(|(own_kind, own_subtype)| {
                    own_kind.eq_ignore_ascii_case(kind) && own_subtype.eq_ignore_ascii_case(subtype)
                })
    }
}

impl Display for ReportEntry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (kind, subtype) = self.media_type;
        write!(f, "{kind}/{subtype}")?;
        match self.parameter {
            Some((name, value)) => write!(f, "; {name}={value}"),
            None => Ok(()),
        }
    }
}
