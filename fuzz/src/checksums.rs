//! Corrects checksums. Without this, random changes would always fail at a
//! checksum and never reach the code behind it.

use kms_gateway::sts::Checksum;

/// The record with the right checksums, of its identifiers and its own.
pub fn corrected(record: &str) -> String {
    let mut fields: Vec<String> = record.split('|').map(corrected_identifier).collect();
    fields.pop();
    let covered: String = fields.iter().flat_map(|field| [field, "|"]).collect();
    format!("{covered}{}", Checksum::of(&covered))
}

/// The file of records, with each line corrected.
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
