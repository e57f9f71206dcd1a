//! The MIME structure of a message (RFC 2045, RFC 2046): its parts in order,
//! the files among them, and the plain text.
//!
//! This file splits multiparts itself. mail-parser 0.11 takes a delimiter
//! anywhere in a line, or at the start of a longer one. It also reads the rest
//! of the message again for each boundary that it doesn't find. Here each level
//! of nesting reads the message once. Levels and parts are limited, and all
//! beyond the limits is one opaque file.

mod content_type;
mod multipart;
mod part;

pub(crate) use content_type::ContentType;
#[cfg(test)]
use content_type::Disposition;
pub(crate) use part::Part;

use super::header::Headers;
use crate::printable::is_invisible;
use multipart::Multipart;

/// Levels of multiparts within multiparts. Ordinary mail has four or five.
const MAX_DEPTH: usize = 16;
/// Parts of a message that are read one by one.
const MAX_PARTS: usize = 256;

/// A message's parts.
#[derive(Clone, Debug)]
pub struct Structure<'m> {
    /// The type of the whole message.
    pub(crate) content_type: ContentType,
    /// The parts that aren't multiparts, in order.
    pub(crate) parts: Vec<Part<'m>>,
    /// Indexes of the parts that are the text of the message.
    text: Vec<usize>,
}

impl<'m> Structure<'m> {
    /// The structure of a message or a part with these fields and this body.
    pub(super) fn of(headers: &Headers, body: &'m [u8]) -> Self {
        let content_type = ContentType::of(headers, ContentType::text_plain);
        let mut reader = Reader { parts: Vec::new() };
        let text = reader.entity(headers, content_type.clone(), body, 0);
        let mut structure = Structure {
            content_type,
            parts: reader.parts,
            text,
        };
        structure.take_named_text();
        structure
    }

    /// The parts that a mail program shows as files.
    pub(crate) fn attachments(&self) -> impl Iterator<Item = &Part<'m>> {
        self.parts.iter().filter(|part| part.is_attachment())
    }

    /// The decoded text/plain parts together. In a multipart/alternative, only
    /// the first alternative with such text counts. `None` if the message has
    /// other media only, as HTML-only mail has, or if the text is blank and
    /// another part may hold it.
    pub fn plain_text(&self) -> Option<String> {
        let only_files = self.parts.iter().all(Part::is_declared_attachment);
        if self.text.is_empty() && !only_files {
            return None;
        }
        let whole = self.joined_text();
        let is_elsewhere = is_blank(&whole) && self.parts.iter().any(Part::holds_other_text);
        (!is_elsewhere).then_some(whole)
    }

    fn joined_text(&self) -> String {
        let texts = self.text.iter().filter_map(|&at| self.parts.get(at));
        let mut whole = String::new();
        for text in texts.map(Part::text) {
            if !whole.is_empty() && !whole.ends_with('\n') {
                whole.push('\n');
            }
            whole.push_str(&text);
        }
        whole
    }

    /// Some programs give the text of a message a file name. Such a part is the
    /// text if no other part is.
    fn take_named_text(&mut self) {
        if !self.text.is_empty() {
            return;
        }
        let named = self.parts.iter_mut().enumerate().find(|(_, part)| {
            part.content_type.is("text", "plain") && !part.is_declared_attachment()
        });
        if let Some((at, part)) = named {
            part.make_text();
            self.text.push(at);
        }
    }
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || is_invisible(c))
}

struct Reader<'m> {
    parts: Vec<Part<'m>>,
}

impl<'m> Reader<'m> {
    /// Reads one entity. Returns the indexes of the parts that are its text.
    fn entity(
        &mut self,
        headers: &Headers,
        content_type: ContentType,
        body: &'m [u8],
        depth: usize,
    ) -> Vec<usize> {
        if content_type.kind != "multipart" || depth >= MAX_DEPTH {
            return self.leaf(Part::new(headers, content_type, body));
        }
        match Multipart::split(&content_type, body) {
            Some(multipart) => self.multipart(&content_type, multipart, depth),
            None => self.leaf(Part::new(headers, content_type, body)),
        }
    }

    fn leaf(&mut self, part: Part<'m>) -> Vec<usize> {
        let is_text = part.content_type.is("text", "plain") && !part.is_attachment();
        self.parts.push(part);
        if is_text {
            vec![self.parts.len() - 1]
        } else {
            Vec::new()
        }
    }

    fn multipart(
        &mut self,
        content_type: &ContentType,
        mut children: Multipart<'m>,
        depth: usize,
    ) -> Vec<usize> {
        let default = if content_type.subtype == "digest" {
            ContentType::message
        } else {
            ContentType::text_plain
        };
        let mut text = Vec::new();
        loop {
            if self.parts.len() >= MAX_PARTS {
                self.parts.extend(children.rest().map(Part::opaque));
                break;
            }
            let Some(child) = children.next() else { break };
            let (headers, body_at) = Headers::parse(child);
            let body = child.get(body_at..).unwrap_or_default();
            let child_type = ContentType::of(&headers, default);
            let child_text = self.entity(&headers, child_type, body, depth + 1);
            if content_type.subtype != "alternative" || text.is_empty() {
                text.extend(child_text);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
