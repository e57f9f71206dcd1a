//! Checksums made right again. A change at random hardly ever hits one, and
//! what stands behind the checksum would never be reached.

use kms_gateway::sts::Checksum;

/// A record with the checksums of its identifiers and its own made right.
pub fn corrected(record: &str) -> String {
    let mut fields: Vec<String> = record.split('|').map(corrected_identifier).collect();
    fields.pop();
    let covered: String = fields.iter().flat_map(|field| [field, "|"]).collect();
    format!("{covered}{}", Checksum::of(&covered))
}

/// Each line of a file of records so.
pub fn corrected_lines(file: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(file);
    let lines = text.lines().map(|line| corrected(line) + "\r\n");
    lines.collect::<String>().into_bytes()
}

fn corrected_identifier(field: &str) -> String {
    let is_identifier = field.starts_with("SMID.1:") || field.starts_with("KMCID.1:");
    match field.rfind(':') {
        Some(end) if is_identifier => {
            let covered = &field[..=end];
            format!("{covered}{}", Checksum::of(covered))
        }
        _ => field.to_owned(),
    }
}
