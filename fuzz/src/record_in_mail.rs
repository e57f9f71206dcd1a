//! Records in the text of an e-mail. A found record is valid. It is found again
//! after it is written. The text around it has no effect.

use kms_gateway::sts::{Found, find_in_mail, write_in_mail};

use super::assert_one_line;
use super::record::check_record;

/// Takes the octets as the decoded text of an e-mail.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let found = find_in_mail(&text);
    assert!(found.len() <= 32);
    assert!(found.is_sorted_by_key(|found| found.line));
    let lines = text.split('\n').count();
    for found in &found {
        assert!((1..=lines).contains(&found.line));
        check_found(found);
    }
    check_surroundings(&text, &found);
}

fn check_found(found: &Found) {
    let record = match &found.record {
        Ok(record) => record,
        Err(error) => return assert_one_line(error),
    };
    assert_eq!(record.kind(), found.kind);
    check_record(record);
    let written = write_in_mail(record);
    assert!(written.split("\r\n").all(|line| line.len() <= 64));
    let alone = |quoted| Found {
        quoted,
        line: 1,
        ..found.clone()
    };
    assert_eq!(find_in_mail(&written), [alone(false)]);
    let quoted: String = written.lines().map(|line| format!("> {line}\n")).collect();
    assert_eq!(find_in_mail(&quoted), [alone(true)]);
}

/// A greeting moves all records down by one line. CRLF and LF give the same records.
fn check_surroundings(text: &str, found: &[Found]) {
    let below: Vec<Found> = found
        .iter()
        .map(|found| Found {
            line: found.line + 1,
            ..found.clone()
        })
        .collect();
    assert_eq!(find_in_mail(&format!("Good morning,\n{text}")), below);
    if !text.contains('\r') {
        assert_eq!(find_in_mail(&text.replace('\n', "\r\n")), found);
    }
}
