//! `record`: finds and checks STS records in a file.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{
    CommandError, Ending, input,
    standard_output::{write_json, write_lines},
};
use crate::sts::{
    self, Found, Record, RecordError,
    file::{FileError, MAXIMUM_RECORDS},
};

/// Find and check STS records in a mail body or a file of records.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads the records between BEGINS and ENDS lines, or without such lines one
record a line. A record is valid if the gateway would read it: its CRC fits, and
every field is well formed. The exit code is 1 if no record is found, or if one
is not valid.

Example:
  kms-gateway record --json request.txt")]
pub(super) struct Arguments {
    /// Print a JSON array of {"type","valid","error","fields"}. The fields are those
    /// between the type and the CRC.
    #[arg(long)]
    json: bool,
    /// The file, or - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// A record that was found.
struct Finding {
    kind: String,
    /// The fields of a valid record, or the reason why it is not valid.
    fields: Result<Vec<String>, String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CommandError> {
    let findings = find(&input::read(&arguments.file)?);
    match arguments.json {
        true => write_json(&findings.iter().map(Finding::json).collect::<Value>())?,
        false => write_lines(text(&findings))?,
    }
    let is_well = !findings.is_empty() && findings.iter().all(Finding::is_valid);
    Ok(Ending::of_search(is_well))
}

fn find(bytes: &[u8]) -> Vec<Finding> {
    let text = String::from_utf8_lossy(bytes);
    let in_mail = sts::find_in_mail(&text);
    if in_mail.is_empty() {
        return in_lines(&text);
    }
    in_mail.into_iter().map(Finding::in_mail).collect()
}

/// Finds records that stand one a line. In a file of records, which begins with one,
/// every line must be a record. In other text only lines with a `|` count.
fn in_lines(text: &str) -> Vec<Finding> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_file = text.lines().next().is_some_and(|line| line.contains('|'));
    let mut lines = text.lines().filter(|line| is_file || line.contains('|'));
    let mut findings: Vec<Finding> = lines
        .by_ref()
        .take(MAXIMUM_RECORDS)
        .map(|line| Finding::new(Record::parse(line)))
        .collect();
    if lines.next().is_some() {
        findings.push(Finding {
            kind: "file".to_owned(),
            fields: Err(FileError::TooManyRecords.to_string()),
        });
    }
    findings
}

impl Finding {
    /// Checks a record as its service does: its text, and each field by its type.
    fn new(record: Result<Record, RecordError>) -> Self {
        let checked = record.and_then(|record| sts::check_fields(&record).map(|()| record));
        match checked {
            Ok(record) => Self {
                kind: record.kind().to_owned(),
                fields: Ok(record.fields().into_iter().map(str::to_owned).collect()),
            },
            Err(error) => Self {
                kind: error.record().to_owned(),
                fields: Err(error.to_string()),
            },
        }
    }

    /// Checks a record between its marks. A quoted one is not valid: a service takes
    /// it for a copy.
    fn in_mail(found: Found) -> Self {
        match found.quoted {
            true => Self {
                kind: found.kind,
                fields: Err("it is quoted".to_owned()),
            },
            false => Self::new(found.record),
        }
    }

    fn is_valid(&self) -> bool {
        self.fields.is_ok()
    }

    /// The JSON object; **contract**.
    fn json(&self) -> Value {
        json!({
            "type": self.kind,
            "valid": self.is_valid(),
            "error": self.fields.as_ref().err(),
            "fields": self.fields.as_deref().unwrap_or_default(),
        })
    }

    fn lines(&self) -> Vec<String> {
        match &self.fields {
            Ok(fields) => [format!("{}: valid", self.kind)]
                .into_iter()
                .chain(fields.iter().map(|field| format!("  {field}")))
                .collect(),
            Err(error) => vec![format!("{}: not valid: {error}", self.kind)],
        }
    }
}

fn text(findings: &[Finding]) -> Vec<String> {
    match findings.is_empty() {
        true => vec!["no record found".to_owned()],
        false => findings.iter().flat_map(Finding::lines).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::sts::{
        PkEcdh, SmEntry, SmUpdate, SmUpdateSignature, TypedRecord, Vk, VkloadMac, VkloadReq,
        VkloadRsp, file, single_in_mail, write_in_mail,
    };

    /// A good record of each known type.
    fn good() -> Vec<Record> {
        let vectors = include_str!("../../integration/vectors/vectors.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let vector = vectors.get(0).unwrap();
        let alone = ["pk_record", "request"].map(|name| vector.get(name).unwrap());
        let files = ["klf", "update"].map(|name| vector.get(name).unwrap().as_array().unwrap());
        alone
            .into_iter()
            .chain(files.into_iter().flatten())
            .map(|text| Record::parse(text.as_str().unwrap()).unwrap())
            .collect()
    }

    /// Puts another text into a field of the record, with a CRC that fits.
    fn changed(record: &Record, index: usize, text: &str) -> Record {
        let fields = record.fields().into_iter().enumerate();
        let fields = fields.map(|(at, field)| match at == index {
            true => text.to_owned(),
            false => field.to_owned(),
        });
        Record::build(record.kind(), fields).unwrap()
    }

    /// The answer of the service that reads such a record.
    fn read_by_service(mail: &str, kind: &str) -> Result<(), RecordError> {
        fn read<T: TypedRecord>(mail: &str) -> Result<(), RecordError> {
            single_in_mail::<T>(mail).map(drop)
        }
        match kind {
            PkEcdh::TYPE => read::<PkEcdh>(mail),
            VkloadReq::TYPE => read::<VkloadReq>(mail),
            VkloadRsp::TYPE => read::<VkloadRsp>(mail),
            Vk::TYPE => read::<Vk>(mail),
            VkloadMac::TYPE => read::<VkloadMac>(mail),
            SmUpdate::TYPE => read::<SmUpdate>(mail),
            SmEntry::TYPE => read::<SmEntry>(mail),
            SmUpdateSignature::TYPE => read::<SmUpdateSignature>(mail),
            other => unreachable!("{other}"),
        }
    }

    /// The errors of the record in a mail and in a file.
    fn errors(record: &Record) -> [Option<String>; 2] {
        let texts = [
            write_in_mail(record),
            file::write(std::slice::from_ref(record)),
        ];
        texts.map(|text| {
            let [finding] = <[Finding; 1]>::try_from(find(text.as_bytes()))
                .ok()
                .unwrap();
            assert_eq!(finding.kind, record.kind());
            finding.fields.err()
        })
    }

    #[test]
    fn every_good_record_is_valid() {
        let good = good();
        let kinds: std::collections::BTreeSet<&str> = good.iter().map(Record::kind).collect();
        assert_eq!(kinds.len(), 8, "{kinds:?}");
        for record in good {
            assert_eq!(errors(&record), [None, None], "{record}");
        }
    }

    #[test]
    fn no_record_with_a_malformed_field_is_valid_though_its_crc_fits() {
        for record in good() {
            for (index, field) in record.fields().into_iter().enumerate() {
                // The standard gives no meaning to these empty fields.
                let malformed = match field.is_empty() {
                    true => "a b".to_owned(),
                    false => format!("{field}!"),
                };
                let record = changed(&record, index, &malformed);
                let [in_mail, in_file] = errors(&record);
                assert!(in_file.is_some(), "{record}");
                // White space between marks does not count.
                assert!(in_mail.is_some() || malformed == "a b", "{record}");
            }
        }
    }

    #[test]
    fn the_error_names_the_field() {
        let good = good();
        let request = good.iter().find(|record| record.kind() == VkloadReq::TYPE);
        for (index, text, name) in [
            (0, "", "SMID"),
            (2, "20261301T000000Z", "time of the request"),
            (5, "04bda5", "public key"),
            (6, "D7E4", "MAC"),
        ] {
            for error in errors(&changed(request.unwrap(), index, text)) {
                let error = error.unwrap();
                let expected = format!("VKLOAD.REQ.1: {name}: expected ");
                assert!(error.starts_with(&expected), "{error}");
            }
        }
        let update = good.iter().find(|record| record.kind() == SmUpdate::TYPE);
        let [error, _] = errors(&changed(update.unwrap(), 1, "0"));
        let expected = "X.SMUPDATE.1: serial: expected a number from 1 on, found \"0\"";
        assert_eq!(error.unwrap(), expected);
    }

    #[test]
    fn every_line_of_a_file_must_be_a_record() {
        let good = file::write(&good());
        assert!(find(good.as_bytes()).iter().all(Finding::is_valid));
        for changed in [
            format!("{good}\r\n"),
            format!("{good}and so on\r\n"),
            good.replacen("\r\n", " \r\n", 1),
        ] {
            assert!(file::parse(changed.as_bytes()).is_err());
            let findings = find(changed.as_bytes());
            assert!(!findings.iter().all(Finding::is_valid), "{changed}");
        }
        let long = good.repeat(1 + MAXIMUM_RECORDS / 10);
        let findings = find(long.as_bytes());
        let last = findings.last().unwrap();
        assert_eq!(findings.len(), MAXIMUM_RECORDS + 1);
        assert_eq!(last.json()["error"], FileError::TooManyRecords.to_string());
    }

    #[test]
    fn nothing_that_is_found_acts_on_a_terminal() {
        for text in ["\u{1b}[31mX|y|z", "Hello\n\u{1b}[2J|\u{202e}"] {
            let shown = super::text(&find(text.as_bytes())).concat();
            assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
        }
    }

    proptest! {
        /// A record is valid between its marks if and only if its service takes it.
        #[test]
        fn a_record_is_valid_where_its_service_takes_it(
            record in prop::sample::select(good()),
            index in any::<prop::sample::Index>(),
            place in any::<prop::sample::Index>(),
            other in "[!-{}~]{0,2}",
        ) {
            let fields = record.fields();
            let index = index.index(fields.len());
            let mut text = fields.get(index).copied().unwrap_or_default().to_owned();
            if !text.is_empty() {
                let at = place.index(text.len());
                text.replace_range(at..=at, &other);
            }
            let record = changed(&record, index, &text);
            let taken = read_by_service(&write_in_mail(&record), record.kind());
            let expected = taken.err().map(|error: RecordError| error.to_string());
            let [in_mail, in_file] = errors(&record);
            prop_assert_eq!(&in_mail, &expected);
            prop_assert_eq!(in_file, expected);
        }
    }
}
