//! `record`: finds and checks STS records, for people and for scripts.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{
    CommandError, Ending, input,
    standard_output::{write_line, write_lines},
};
use crate::sts::{self, Record, RecordError};

/// Find and check STS records in a mail body or a file of records.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads records between BEGINS and ENDS lines if there are any, else one
record a line. Exit code 1 if none is found or one is not valid.

Example:
  kms-gateway record --json request.txt")]
pub(super) struct Arguments {
    /// Print an array of {"type","valid","error","fields"}; the fields are
    /// those between the type and the CRC.
    #[arg(long)]
    json: bool,
    /// The file, or - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// One record, as found.
#[derive(Debug, Serialize)]
struct Finding {
    #[serde(rename = "type")]
    kind: String,
    valid: bool,
    error: Option<String>,
    fields: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CommandError> {
    let findings = find(&input::read(&arguments.file)?);
    if arguments.json {
        let json = serde_json::to_string_pretty(&findings).map_err(CommandError::other)?;
        write_line(json)?;
    } else {
        write_lines(text(&findings))?;
    }
    if findings.is_empty() || findings.iter().any(|finding| !finding.valid) {
        return Ok(Ending::ProblemFound);
    }
    Ok(Ending::Done)
}

fn find(bytes: &[u8]) -> Vec<Finding> {
    let text = String::from_utf8_lossy(bytes);
    let in_mail = sts::find_in_mail(&text);
    if in_mail.is_empty() {
        return lines(&text);
    }
    in_mail
        .into_iter()
        .map(|found| {
            let quoted = found.quoted.then(|| "it stands in a quotation".to_owned());
            Finding {
                error: quoted.or_else(|| found.record.as_ref().err().map(ToString::to_string)),
                ..finding(&found.kind, found.record)
            }
        })
        .map(|finding| Finding {
            valid: finding.error.is_none(),
            ..finding
        })
        .collect()
}

/// A file of records, one a line.
fn lines(text: &str) -> Vec<Finding> {
    text.trim_start_matches('\u{feff}')
        .lines()
        .filter(|line| line.contains('|'))
        .map(|line| {
            finding(
                line.split('|').next().unwrap_or_default(),
                Record::parse(line),
            )
        })
        .collect()
}

/// Checks a record, by its type too where that is a known one.
fn finding(kind: &str, record: Result<Record, RecordError>) -> Finding {
    let checked = record.and_then(|record| sts::check_fields(&record).map(|()| record));
    match checked {
        Ok(record) => Finding {
            kind: record.kind().to_owned(),
            valid: true,
            error: None,
            fields: record.fields().into_iter().map(str::to_owned).collect(),
        },
        Err(error) => Finding {
            kind: kind.to_owned(),
            valid: false,
            error: Some(error.to_string()),
            fields: Vec::new(),
        },
    }
}

fn text(findings: &[Finding]) -> Vec<String> {
    if findings.is_empty() {
        return vec!["no record found".to_owned()];
    }
    let of = |finding: &Finding| {
        let verdict = match &finding.error {
            Some(error) => format!("{}: not valid: {error}", finding.kind),
            None => format!("{}: valid", finding.kind),
        };
        let fields = finding.fields.iter().map(|field| format!("  {field}"));
        [verdict].into_iter().chain(fields).collect::<Vec<_>>()
    };
    findings.iter().flat_map(of).collect()
}
