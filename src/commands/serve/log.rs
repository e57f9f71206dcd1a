//! The log of `serve`, on standard error: text for people, JSON for machines.
//!
//! Levels, here and in all that logs:
//! - `error`: the operator must act, or mail waits or is lost to its requester.
//! - `warn`: the operator should look at it; the gateway goes on by itself.
//! - `info`: one line for each decision, result and delivery, and the life of the
//!   service.
//! - `debug`: for developers.
//!
//! A line is an event: what a stranger wrote can end none, begin none and hide
//! none. No secret and no body of a message is ever in one.

use std::{
    fmt::{self, Display, Write},
    io,
    os::fd::AsFd,
};

use jiff::Timestamp;
use serde_json::Value;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultFields, Writer},
    },
    registry::LookupSpan,
};

use crate::{
    commands::CommandError,
    config::{Config, LogFormat},
    printable::{Printable, PrintableJson},
};

/// Begins the log that the configuration asks for.
pub(super) fn start(config: &Config) -> Result<(), CommandError> {
    // What libraries trace of their own work is noise.
    let filter = EnvFilter::try_new(format!(
        "{},indymilter=warn,sqlx=warn,hyper=warn",
        config.log.level
    ))
    .map_err(|error| {
        CommandError::other(format!(
            "log.level: {error}; write a level such as \"info\""
        ))
    })?;
    let format = match config.log.format {
        LogFormat::Json => Format::Json,
        LogFormat::Text if is_read_by_journal() => Format::Journal,
        LogFormat::Text => Format::Text,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .fmt_fields(DefaultFields::new())
        .event_format(format)
        .try_init()
        .map_err(|error| CommandError::other(format!("the log can't be started: {error}")))
}

/// Whether standard error is the journal's, as systemd.exec(5) has it: the
/// variable names the file behind it.
fn is_read_by_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(io::stderr().as_fd())
        .is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// How a line is written.
#[derive(Clone, Copy)]
enum Format {
    /// Time, level, what happened, and the fields.
    Text,
    /// The same for the journal, which has the time and reads the level as the
    /// priority before the line (sd-daemon(3)).
    Journal,
    /// One flat object.
    Json,
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let mut said = Said::default();
        event.record(&mut said);
        match self {
            Format::Text => {
                write!(line, "{} {level:5} ", now())?;
                said.write_text(&mut line)?;
            }
            Format::Journal => {
                write!(line, "<{}>", priority(level))?;
                said.write_text(&mut line)?;
            }
            Format::Json => said.write_json(level, &mut line)?,
        }
        line.write_char('\n')
    }
}

/// To the microsecond, always as many digits.
fn now() -> impl Display {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
}

/// syslog(3)'s number for a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Said {
    /// `what happened name=value name="a value"`
    fn write_text(&self, line: &mut impl Write) -> fmt::Result {
        write!(line, "{}", Printable(&self.message))?;
        for (name, value) in &self.fields {
            match value {
                Value::String(text) => write!(line, " {name}={}", Quoted(text))?,
                other => write!(line, " {name}={other}")?,
            }
        }
        Ok(())
    }

    fn write_json(&self, level: Level, line: &mut impl Write) -> fmt::Result {
        let own = [
            ("timestamp", Value::from(now().to_string())),
            ("level", Value::from(level.to_string())),
            ("message", Value::from(self.message.clone())),
        ];
        for (place, (name, value)) in own.iter().chain(&self.fields).enumerate() {
            let separator = if place == 0 { '{' } else { ',' };
            let value = value.to_string();
            write!(line, "{separator}\"{name}\":{}", PrintableJson(&value))?;
        }
        line.write_char('}')
    }

    fn note(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, Value::from(value));
    }

    /// Of what is recorded by `Display`, as errors are, this is the text.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, Value::from(format!("{value:?}")));
    }
}

/// A value that is one word as it stands, any other between quotation marks, so
/// that none can be taken for another field.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = !self.0.is_empty() && !self.0.contains([' ', '"', '=', '\'']);
        match is_word {
            true => write!(f, "{}", Printable(self.0)),
            false => {
                let shown = Printable(self.0).to_string();
                write!(f, "\"{}\"", shown.replace('"', "\\\""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn said() -> Said {
        Said {
            message: "judged".to_owned(),
            fields: vec![
                ("queue_id", Value::from("4bXyZq1cDez9")),
                ("reason", Value::from("it's \"new\"\nERROR forged\u{1b}[2J")),
                ("size", Value::from(17)),
                ("empty", Value::from("")),
            ],
        }
    }

    #[test]
    fn a_value_stays_within_its_quotation_marks() {
        let mut line = String::new();
        said().write_text(&mut line).unwrap();
        let expected = "judged queue_id=4bXyZq1cDez9 \
                        reason=\"it's \\\"new\\\"\\nERROR forged\\u{1b}[2J\" size=17 empty=\"\"";
        assert_eq!(line, expected);
    }

    #[test]
    fn an_object_has_every_field_with_its_value() {
        let mut line = String::new();
        said().write_json(Level::WARN, &mut line).unwrap();
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["level"], "WARN");
        assert_eq!(object["message"], "judged");
        assert_eq!(object["reason"], "it's \"new\"\nERROR forged\u{1b}[2J");
        assert_eq!(object["size"], 17);
        assert!(!line.contains(['\n', '\u{1b}']), "{line}");
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG];
        assert_eq!(levels.map(priority), [3, 4, 6, 7]);
    }
}
