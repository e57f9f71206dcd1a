//! The record in an e-mail: wrapped at 64 columns between two marker lines.
//!
//! ```text
//! -----STS:PK.ECDH.1 BEGINS-----
//! PK.ECDH.1|KMCID.1:Prism:K0001:20200622T140747Z:9863A537B5AF34F5:
//! 6850|047D77A4819BEF702350D3912583AC169FAD4181648DA70E60944752731
//! ...
//! -----STS:PK.ECDH.1 ENDS-----
//! ```
//!
//! The reader takes decoded text. It tolerates the changes of mail programs:
//! other line lengths, blanks, blank lines, invisible characters, dashes of any
//! kind and number, text around the record. The rules:
//!
//! - A BEGINS marker stands at the start of a line, after blanks at most. Only
//!   the beginning of its record may follow it on the line. So a sentence that
//!   mentions a marker isn't a marker.
//! - Inside a record the ENDS marker may stand anywhere, since a new wrap can
//!   join it to the line before or to a footer.
//! - A marker broken at its blank, or at its dashes, is still one.
//! - A record is quoted if its BEGINS marker is. In an unquoted record a `>` is
//!   text, so that a record quoted in part fails its checksum.
//! - No white space survives inside a record. No field of a known record has any.

mod line;
mod marker;
mod reader;
#[cfg(test)]
mod testkit;

pub use reader::{Found, find_in_mail};

use super::error::RecordError;
use super::record::{Record, TypedRecord};

/// Columns of a record's lines (STS600-9-2, 5.1.3.5 and 5.1.4.4).
const COLUMNS: usize = 64;

/// The only unquoted record of type `T` in an e-mail. Ignores records of other
/// types and quoted copies.
pub fn single_in_mail<T: TypedRecord>(text: &str) -> Result<T, RecordError> {
    let record = T::TYPE.to_owned();
    let mut found = find_in_mail(text);
    found.retain(|found| found.kind == T::TYPE);
    let count = found.iter().filter(|found| !found.quoted).count();
    if count > 1 {
        return Err(RecordError::Multiple { record, count });
    }
    let quoted_line = found.first().map(|found| found.line);
    match (found.into_iter().find(|found| !found.quoted), quoted_line) {
        (Some(found), _) => T::from_record(&found.record?),
        (None, Some(line)) => Err(RecordError::Quoted { record, line }),
        (None, None) => Err(RecordError::Missing { record }),
    }
}

/// Writes `record` for the body of an e-mail, lines ended by CRLF.
///
/// The reader drops blanks inside a field. No known record has any.
pub fn write_in_mail(record: &Record) -> String {
    let mut text = format!("-----STS:{} BEGINS-----", record.kind());
    for (index, character) in record.text().chars().enumerate() {
        if index % COLUMNS == 0 {
            text.push_str("\r\n");
        }
        text.push(character);
    }
    text.push_str(&format!("\r\n-----STS:{} ENDS-----\r\n", record.kind()));
    text
}
