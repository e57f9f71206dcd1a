//! `X-Gateway-Result`. Any outcome gives a well-formed field that reads back as
//! the same list. Reading loses nothing of a value.

use kms_gateway::mail::{ErrorCode, NoticeCode, Outcome, gateway_result};

/// The longest line of the field.
const LINE: usize = 900;

/// Takes the octets as a value to read, and as the texts of an outcome, one a line.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    check_reader(&text);
    let mut lines = text.split('\n').map(str::to_owned);
    let first = lines.next().unwrap_or_default();
    let parameters: Vec<String> = lines.take(100).collect();
    for outcome in [
        Outcome::Success {
            summary: first.clone(),
        },
        Outcome::Error {
            code: ErrorCode::VkloadFuture,
            description: first.clone(),
            parameters: parameters.clone(),
        },
        Outcome::Notice {
            code: NoticeCode::Deferred,
            message: first,
            parameters,
        },
    ] {
        check_writer(&outcome);
    }
}

fn check_writer(outcome: &Outcome) {
    let elements = gateway_result::elements(outcome);
    for element in &elements {
        assert!((1..=600).contains(&element.len()));
        assert!(element.bytes().all(|octet| matches!(octet, b' '..=b'~')));
        assert!(!element.contains("=?"), "{element}");
        assert_eq!(element.trim(), element);
    }
    let value = gateway_result::write(outcome);
    let field = format!("{}: {value}", gateway_result::NAME);
    let lines: Vec<&str> = field.split("\r\n").collect();
    assert!(lines.iter().all(|line| line.len() <= LINE));
    assert!(lines[1..].iter().all(|line| line.starts_with('\t')));
    assert!(!lines.iter().any(|line| line.contains(['\r', '\n'])));
    let unfolded = value.replace("\r\n", "");
    assert_eq!(gateway_result::read(&unfolded), Ok(elements));
}

fn check_reader(value: &str) {
    let Ok(elements) = gateway_result::read(value) else {
        return;
    };
    assert!(["Success", "Error", "Notice"].contains(&elements[0].as_str()));
    assert!(elements.len() >= 2);
    assert_eq!(elements.join("\t"), value.trim_start_matches(' '));
}
