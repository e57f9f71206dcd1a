//! A file of records. Only the documented forms are read. Each list of records
//! has one text, which MACs and signatures cover.

use kms_gateway::sts::{Record, file};

use super::assert_one_line;
use super::checksums::corrected_lines;
use super::record::check_record;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Takes the octets as a file of records, as they are and with right checksums.
pub fn check(data: &[u8]) {
    check_file(data);
    check_file(&corrected_lines(data));
}

fn check_file(octets: &[u8]) {
    let records = match file::parse(octets) {
        Ok(records) => records,
        Err(error) => return assert_one_line(&error),
    };
    assert!((1..=file::MAXIMUM_RECORDS).contains(&records.len()));
    records.iter().for_each(check_record);
    let written = file::write(&records);
    assert_eq!(file::covered_text(&records), written.as_bytes());
    assert_eq!(bare(octets), bare(written.as_bytes()));
    check_forms(&records, &written);
}

fn check_forms(records: &[Record], written: &str) {
    let with_bom = [BOM, written.as_bytes()].concat();
    assert_eq!(file::parse(&with_bom).as_deref(), Ok(records));
    for form in [
        written,
        &written.replace("\r\n", "\n"),
        written.trim_end_matches("\r\n"),
    ] {
        assert_eq!(file::parse(form.as_bytes()).as_deref(), Ok(records));
    }
}

/// The lines without the differences between the forms.
fn bare(octets: &[u8]) -> Vec<&[u8]> {
    let octets = octets.strip_prefix(BOM).unwrap_or(octets);
    let lines = octets
        .strip_suffix(b"\n")
        .unwrap_or(octets)
        .split(|&octet| octet == b'\n');
    lines
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .collect()
}
