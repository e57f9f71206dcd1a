//! Content-Type (RFC 2045 5) and Content-Disposition (RFC 2183).

use mail_parser::parsers::MessageStream;

use super::super::header::{Header, Headers};

/// A media type with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContentType {
    /// `text` of `text/plain`, lower case.
    pub(crate) kind: String,
    /// `plain` of `text/plain`, lower case.
    pub(crate) subtype: String,
    /// The names are in lower case.
    parameters: Vec<(String, String)>,
}

impl ContentType {
    /// The type that the headers state. A missing field gives the default, an
    /// invalid one text/plain (RFC 2045 5.2).
    pub(super) fn of(headers: &Headers, default: fn() -> Self) -> Self {
        match headers.first("Content-Type") {
            Some(field) => Self::parse(field).unwrap_or_else(Self::text_plain),
            None => default(),
        }
    }

    /// The type of a part that states none.
    pub(super) fn text_plain() -> Self {
        Self::bare("text", "plain")
    }

    /// The type of a part in a multipart/digest that states none.
    pub(super) fn message() -> Self {
        Self::bare("message", "rfc822")
    }

    /// The type of content that can't be read.
    pub(super) fn octet_stream() -> Self {
        Self::bare("application", "octet-stream")
    }

    fn bare(kind: &str, subtype: &str) -> Self {
        ContentType {
            kind: kind.to_owned(),
            subtype: subtype.to_owned(),
            parameters: Vec::new(),
        }
    }

    fn parse(field: &Header) -> Option<Self> {
        let parsed = Parameterised::parse(field)?;
        Some(ContentType {
            kind: token(&parsed.kind)?,
            subtype: token(&parsed.subtype?)?,
            parameters: parsed.parameters,
        })
    }

    /// Whether it is `kind/subtype`.
    pub(crate) fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind == kind && self.subtype == subtype
    }

    /// The value of the first parameter with this name. `name` is in lower case.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        parameter(&self.parameters, name)
    }

    /// `kind/subtype`.
    pub(crate) fn essence(&self) -> String {
        format!("{}/{}", self.kind, self.subtype)
    }
}

/// How a mail program should show a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// As text of the message.
    Inline,
    /// As a file. Any unknown type is shown so too (RFC 2183 2.8).
    Attachment,
}

/// The value of Content-Disposition, and the file name from there or else from
/// Content-Type.
pub(super) fn disposition(
    headers: &Headers,
    content_type: &ContentType,
) -> (Option<Disposition>, Option<String>) {
    let field = headers.first("Content-Disposition");
    let parsed = field.and_then(Parameterised::parse);
    let disposition = parsed.as_ref().map(|parsed| match parsed.kind.as_str() {
        "inline" => Disposition::Inline,
        _ => Disposition::Attachment,
    });
    let name = parsed
        .as_ref()
        .and_then(|parsed| parameter(&parsed.parameters, "filename"))
        .or_else(|| content_type.parameter("name"));
    (disposition, name.map(str::to_owned))
}

/// A value with parameters, as both fields have it.
struct Parameterised {
    kind: String,
    subtype: Option<String>,
    parameters: Vec<(String, String)>,
}

impl Parameterised {
    /// mail-parser removes folds, comments and quotes, and decodes the
    /// continuations and charsets of RFC 2231.
    fn parse(field: &Header) -> Option<Self> {
        // mail-parser reads up to a line end.
        let mut line = field.unfolded().into_owned();
        line.push('\n');
        let value = MessageStream::new(line.as_bytes()).parse_content_type();
        let parsed = value.into_content_type()?;
        let parameters = parsed.attributes.unwrap_or_default().into_iter();
        Some(Parameterised {
            kind: parsed.c_type.to_ascii_lowercase(),
            subtype: parsed.c_subtype.map(|subtype| subtype.to_ascii_lowercase()),
            parameters: parameters
                .map(|own| (own.name.to_ascii_lowercase(), own.value.into_owned()))
                .collect(),
        })
    }
}

fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters
        .iter()
        .find(|(own, _)| own == name)
        .map(|(_, value)| value.as_str())
}

/// The token at the start of the text (RFC 2045 5.1). Any text may follow it.
fn token(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_ascii_graphic() || "()<>@,;:\\\"/[]?=".contains(c))
        .unwrap_or(text.len());
    text.get(..end)
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
}
