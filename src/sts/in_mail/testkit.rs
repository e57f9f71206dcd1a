//! Changes to a record on its way. Each change that mail programs, people and
//! accidents make is a named case with its expected result.
#![allow(clippy::unwrap_used)]

use crate::sts::samples::{STANDARD_PUBLIC_KEY, STANDARD_REQUEST};
use crate::sts::{Record, RecordError, TypedRecord, VkloadReq, single_in_mail, write_in_mail};

/// A change to the mail that [`write_in_mail`] gives for the standard's request.
enum Change {
    /// Replaces one text by another everywhere.
    Replace(&'static str, &'static str),
    /// Makes the record from a changed text, with a right checksum of its own.
    Made(&'static str, &'static str),
    /// Any other change.
    By(fn(&str) -> String),
}

/// The result of reading the changed mail.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The record as it was written.
    Whole,
    Missing,
    Multiple,
    Quoted,
    /// Refused for the named part.
    Format(&'static str),
    /// A checksum of the named part doesn't match.
    Crc(&'static str),
}

use Change::{By, Made, Replace};
use Outcome::{Crc, Format, Missing, Multiple, Quoted, Whole};

const BEGINS: &str = "-----STS:VKLOAD.REQ.1 BEGINS-----";
const ENDS: &str = "-----STS:VKLOAD.REQ.1 ENDS-----";

// One case a line.
#[rustfmt::skip]
const CASES: &[(&str, Change, Outcome)] = &[
    // Line ends and wraps.
    ("lf", Replace("\r\n", "\n"), Whole),
    ("cr", Replace("\r\n", "\r"), Whole),
    ("unicode line separators", Replace("\r\n", "\u{2028}"), Whole),
    ("rewrapped at 60", By(|mail| rewrap(mail, 60)), Whole),
    ("rewrapped at 72", By(|mail| rewrap(mail, 72)), Whole),
    ("rewrapped at 76", By(|mail| rewrap(mail, 76)), Whole),
    ("rewrapped at 998", By(|mail| rewrap(mail, 998)), Whole),
    ("wrapped twice", Replace("26D7925210FB\r\n", "26D79\r\n25210FB\r\n"), Whole),
    ("double spaced", Replace("\r\n", "\r\n\r\n"), Whole),
    ("soft breaks of format=flowed", Replace("\r\n", " \r\n"), Whole),
    ("flowed into one line", Replace("\r\n", " "), Whole),
    ("begins and record on a line", Replace("BEGINS-----\r\n", "BEGINS----- "), Whole),
    ("begins glued to the record", Replace("BEGINS-----\r\n", "BEGINS-----"), Whole),
    ("begins without dashes and record on a line", Replace("BEGINS-----\r\n", "BEGINS "), Whole),
    ("record and ends on a line", Replace("\r\n-----STS", " -----STS"), Whole),
    ("record glued to ends", Replace("FB39\r\n-----STS", "FB39-----STS"), Whole),
    ("begins broken at its blank", Replace(".1 BEGINS", ".1\r\nBEGINS"), Whole),
    ("ends broken at its blank", Replace(".1 ENDS", ".1 \r\nENDS"), Whole),
    ("ends joined and broken", Replace("FB39\r\n-----STS:VKLOAD.REQ.1 ", "FB39 -----STS:VKLOAD.REQ.1\n"), Whole),
    ("markers broken at their dashes", Replace("-----", "\r\n-----\r\n"), Whole),
    ("markers broken inside their dashes", Replace("-----", "---\r\n--"), Whole),
    ("no last line end", Replace("ENDS-----\r\n", "ENDS-----"), Whole),

    // Blanks and characters that don't show.
    ("indented", Replace("\r\n", "\r\n    "), Whole),
    ("indented by tabs", Replace("\r\n", "\r\n\t"), Whole),
    ("trailing tabs", Replace("\r\n", "\t\r\n"), Whole),
    ("trailing no-break spaces", Replace("\r\n", "\u{A0}\r\n"), Whole),
    ("ideographic spaces", Replace("\r\n", "\u{3000}\r\n"), Whole),
    ("no-break space in the markers", Replace(" ", "\u{A0}"), Whole),
    ("two blanks in the markers", Replace(" ", "  "), Whole),
    ("byte order mark", By(|mail| format!("\u{FEFF}{mail}")), Whole),
    ("zero-width spaces", Replace("|", "|\u{200B}"), Whole),
    ("word joiners", Replace(":", "\u{2060}:"), Whole),
    ("soft hyphens", Replace("0FB", "0\u{AD}FB"), Whole),
    ("marks of direction", Replace("Prism", "\u{202A}Prism\u{202C}"), Whole),
    ("blanks around each |", Replace("|", " | "), Whole),
    ("blanks beside the dashes", Replace("-----", " ----- "), Whole),

    // Dashes.
    ("no dashes", Replace("-----", ""), Whole),
    ("one dash", Replace("-----", "-"), Whole),
    ("forty dashes", Replace("-----", "----------------------------------------"), Whole),
    ("dashes spaced out", Replace("-----", "- - - - -"), Whole),
    ("dashes before only", Replace("-----\r\n", "\r\n"), Whole),
    ("em dashes", Replace("-----", "\u{2014}\u{2014}-"), Whole),
    ("minus signs", Replace("-", "\u{2212}"), Whole),
    ("non-breaking hyphen in a field", Replace("Prism-TSM", "Prism\u{2011}TSM"), Whole),
    ("en dash in a field", Replace("250-1", "250\u{2013}1"), Whole),

    // Text around.
    ("greeting and signature", By(|mail| format!("Dear KMC,\r\n\r\n{mail}\r\n-- \r\nA. User")), Whole),
    ("disclaimer", By(|mail| format!("{mail}\r\nThis e-mail | its content: CONFIDENTIAL.\r\n____")), Whole),
    ("footer on the line of ends", Replace("ENDS-----\r\n", "ENDS----- Sent from a telephone"), Whole),
    ("footer glued to ends", Replace("ENDS-----\r\n", "ENDS-----www.example.org"), Whole),
    ("the markers in a sentence", By(|mail| format!("Between {BEGINS} and {ENDS}:\r\n{mail}")), Whole),
    ("begins in a sentence of its own line", By(|mail| format!("{BEGINS} shows where.\r\n{mail}")), Whole),
    ("the public key beside it", By(|mail| format!("{mail}{}", public_key())), Whole),
    ("a quoted copy below it", By(|mail| format!("{mail}\r\n{}", quote(mail))), Whole),
    ("a quoted copy above it", By(|mail| format!("{}\r\n{mail}", quote(mail))), Whole),

    // Somebody's copy.
    ("quoted", By(quote), Quoted),
    ("quoted twice", By(|mail| quote(&quote(mail))), Quoted),
    ("quoted without blanks", By(|mail| quote(mail).replace("> ", ">")), Quoted),
    ("quoted and wrapped anew", By(|mail| quote(mail).replace("0FB\r\n", "0\r\nFB\r\n")), Quoted),
    ("quoted without the ends marker", By(|mail| quote(mail).replace("> -----STS:VKLOAD.REQ.1 ENDS", "-----STS:VKLOAD.REQ.1 ENDS")), Quoted),

    // Not there, or too often.
    ("empty", By(|_| String::new()), Missing),
    ("no markers", By(|mail| mail.replace(BEGINS, "").replace(ENDS, "")), Missing),
    ("no begins marker", Replace(BEGINS, ""), Missing),
    ("begins behind other text", By(|mail| format!("My request: {mail}")), Missing),
    ("another record", By(|_| public_key()), Missing),
    ("another version", Replace("REQ.1", "REQ.2"), Missing),
    ("markers in lower case", By(|mail| mail.replace("BEGINS", "begins")), Missing),
    ("twice", By(|mail| format!("{mail}\r\n{mail}")), Multiple),
    ("a damaged one beside it", By(|mail| format!("{mail}{}", mail.replace("FB39", "FB38"))), Multiple),

    // Damaged.
    ("no ends marker", Replace(ENDS, ""), Format("ENDS marker")),
    ("cut off", By(|mail| mail.split_at(300).0.to_owned()), Format("ENDS marker")),
    ("ends of another record", Replace(ENDS, "-----STS:PK.ECDH.1 ENDS-----"), Format("ENDS marker")),
    ("another record between", By(|_| public_key().replace(":PK.ECDH.1", ":VKLOAD.REQ.1")), Format("type")),
    ("nothing between", By(|_| format!("{BEGINS}\r\n{ENDS}\r\n")), Format("type")),
    ("type in lower case", Replace("\nVKLOAD", "\nvkload"), Format("type")),
    ("text before the record", Replace("\nVKLOAD", "\nMy request:\r\nVKLOAD"), Format("type")),
    ("filled with zeros", By(|mail| mail.replace("FB39", &"0".repeat(2_000))), Format("text")),
    ("a letter that isn't ASCII", Replace("Prism:", "Pr\u{131}sm:"), Format("text")),
    ("a control character", Replace("Prism:", "Pr\u{7}ism:"), Format("text")),
    ("a bar that isn't |", Replace("|FB39", "\u{A6}FB39"), Format("text")),
    ("no checksum", Replace("|FB39", ""), Format("CRC")),
    ("checksum in lower case", Replace("FB39", "fb39"), Format("CRC")),
    ("checksum of three digits", Replace("FB39", "FB3"), Format("CRC")),
    ("checksum of five digits", Replace("FB39", "0FB39"), Format("CRC")),
    ("text behind the checksum", Replace("FB39", "FB39 Regards"), Format("CRC")),
    ("another checksum", Replace("FB39", "FB38"), Crc("CRC")),
    ("an O for a 0", Replace("6850", "685O"), Crc("CRC")),
    ("a digit changed", Replace("0437715", "0437716"), Crc("CRC")),
    ("a digit lost", Replace("0437715", "043771"), Crc("CRC")),
    ("two digits exchanged", Replace("0437715", "0437751"), Crc("CRC")),
    ("a line lost", By(|mail| without_line(mail, 4)), Crc("CRC")),
    ("a line twice", Replace("6850|20", "6850|206850|20"), Crc("CRC")),
    ("a link made of a field", Replace("STS65V10", "STS65V10<http://STS65V10>"), Crc("CRC")),
    ("a quoted line inside", Replace("\r\n6850", "\r\n> 6850"), Crc("CRC")),
    ("a line inserted", Replace("\r\n6850", "\r\n[EXTERNAL]\r\n6850"), Crc("CRC")),

    // Whole on its way, but wrong when it was made.
    ("an identifier's checksum", Made(":2642|", ":2643|"), Crc("SMID")),
    ("the other identifier's checksum", Made(":6850|", ":6851|"), Crc("KMCID")),
    ("a KMCID for the SMID", Made("SMID.1", "KMCID.1"), Format("SMID")),
    ("a field too many", Made("|STS65V10", "|STS65V10|"), Format("text")),
    ("a field too few", Made("|STS65V10", ""), Format("text")),
    ("no time", Made("20200622T144047Z", ""), Format("time of the request")),
    ("a time that doesn't exist", Made("0622T144047Z", "0631T144047Z"), Format("time of the request")),
    ("a hardware id of a dash", Made("Prism-TSM250-1", "-"), Format("hardware id")),
    ("a long firmware id", Made("STS65V10", "STS65V10STS65V10STS65V10STS65V10STS65V10X"), Format("firmware id")),
    ("public key in lower case", Made("04377153", "0437715e"), Format("public key")),
    ("half a byte of public key", Made("04377153", "0437715"), Format("public key")),
    ("no MAC", Made("38D1405FE3AB906524921F159B7FCC4B7104906B824DA80E", ""), Format("MAC")),
    ("a short MAC", Made("DA80E|", "DA8|"), Format("MAC")),
];

impl Change {
    fn apply(&self, mail: &str) -> String {
        match self {
            Replace(from, to) => mail.replace(from, to),
            Made(from, to) => made(from, to),
            By(change) => change(mail),
        }
    }
}

#[test]
fn every_case_comes_out_as_it_must() {
    let mail = write_in_mail(&Record::parse(STANDARD_REQUEST).unwrap());
    assert_eq!(outcome(&mail), Whole);
    for (name, change, expected) in CASES {
        let changed = change.apply(&mail);
        assert_ne!(changed, mail, "{name} must change the mail");
        assert_eq!(outcome(&changed), *expected, "{name}:\n{changed}");
    }
}

#[test]
fn case_names_are_unique() {
    let mut names: Vec<_> = CASES.iter().map(|(name, ..)| name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CASES.len());
}

fn outcome(mail: &str) -> Outcome {
    match single_in_mail::<VkloadReq>(mail) {
        Ok(request) => {
            assert_eq!(request.text(), STANDARD_REQUEST);
            Whole
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(VkloadReq::TYPE), "{message}");
            assert!(message.len() < 600, "{message}");
            assert!(
                message.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{message}"
            );
            refusal(error)
        }
    }
}

fn refusal(error: RecordError) -> Outcome {
    match error {
        RecordError::Missing { .. } => Missing,
        RecordError::Multiple { count, .. } => {
            assert_eq!(count, 2);
            Multiple
        }
        RecordError::Quoted { line, .. } => {
            assert_eq!(line, 1);
            Quoted
        }
        RecordError::Format { field, .. } => Format(field),
        RecordError::Crc {
            field,
            stated,
            computed,
            ..
        } => {
            assert_ne!(stated, computed);
            Crc(field)
        }
    }
}

/// The mail of a record that was made with `to` where the standard's has `from`.
fn made(from: &str, to: &str) -> String {
    let changed = STANDARD_REQUEST.replace(from, to);
    let mut fields: Vec<String> = changed.split('|').map(str::to_owned).collect();
    fields.pop();
    let kind = fields.remove(0);
    write_in_mail(&Record::build(&kind, fields).unwrap())
}

fn public_key() -> String {
    write_in_mail(&Record::parse(STANDARD_PUBLIC_KEY).unwrap())
}

fn quote(mail: &str) -> String {
    mail.lines().map(|line| format!("> {line}\r\n")).collect()
}

fn rewrap(mail: &str, width: usize) -> String {
    let record: Vec<char> = mail
        .lines()
        .filter(|line| !line.contains("STS:V"))
        .flat_map(str::chars)
        .collect();
    let wrapped = record.chunks(width).map(String::from_iter);
    let lines: Vec<String> = [BEGINS.to_owned()]
        .into_iter()
        .chain(wrapped)
        .chain([ENDS.to_owned()])
        .collect();
    lines.join("\r\n")
}

fn without_line(mail: &str, left_out: usize) -> String {
    let kept = mail
        .lines()
        .enumerate()
        .filter(|&(index, _)| index != left_out);
    kept.map(|(_, line)| format!("{line}\r\n")).collect()
}
