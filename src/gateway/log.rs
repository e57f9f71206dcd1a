//! The log of `serve`, on standard error: text for people, JSON for machines.
//!
//! Levels, in the whole crate:
//! - `error`: the operator must act, or mail waits or is lost to its requester.
//! - `warn`: the operator should look at it; the gateway goes on by itself.
//! - `info`: one line for each decision, result and delivery, and the life of the
//!   service.
//! - `debug`: for developers.
//!
//! Each line is one event. A stranger's text can neither end, begin nor hide a
//! line. No line holds a secret or the body of a message.
//!
//! The gateway never waits for the log. A line that can't be written is lost, and
//! the log, a metric and `/readyz` report how many are.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt::{self, Display, Write},
    io,
    os::fd::AsFd,
    panic::{self, PanicHookInfo},
    sync::{Arc, OnceLock},
    time::Duration,
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

use super::{
    GatewayError,
    line_queue::{LineQueue, Losses},
};
use crate::{
    config::{Config, LogFormat},
    printable::{Printable, PrintableJson},
};

/// How long the end waits for a reader of the log that doesn't read.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The log of the process. Clones share it.
#[derive(Clone)]
pub(super) struct Log {
    lines: LineQueue,
    /// Empty, and so text, until the configuration is read.
    form: Arc<OnceLock<Form>>,
}

impl Log {
    /// Starts the log, at first for panics and for errors at the start.
    pub(super) fn begin() -> Result<Self, GatewayError> {
        let form: Arc<OnceLock<Form>> = Arc::default();
        let of_notice = form.clone();
        let notice = move |lines| form_of(&of_notice).line(Level::WARN, lost(lines));
        let lines = LineQueue::start(io::stderr(), notice).map_err(cannot_start)?;
        let log = Self { lines, form };
        let of_panics = log.clone();
        // The default hook would wait for the reader of standard error.
        panic::set_hook(Box::new(move |panic| {
            of_panics.say(Level::ERROR, panicked(panic));
        }));
        Ok(log)
    }

    /// Logs events from now on, as the configuration says.
    pub(super) fn configure(&self, config: &Config) -> Result<(), GatewayError> {
        // Libraries' own traces are noise unless the configuration asks for them.
        // The resolver's lines are always off: they hold the queried names, which
        // can contain the key of a blocklist.
        let directives = format!(
            "indymilter=warn,hyper=warn,{},hickory_resolver=off,hickory_net=off,\
             hickory_proto=off",
            config.log.level
        );
        let filter = EnvFilter::try_new(directives).map_err(cannot_start)?;
        let form = self.form.get_or_init(|| Form::of(config)).clone();
        let lines = self.lines.clone();
        tracing_subscriber::fmt()
            .log_internal_errors(false)
            .with_env_filter(filter)
            .with_writer(move || lines.clone())
            .fmt_fields(DefaultFields::new())
            .event_format(form)
            .try_init()
            .map_err(cannot_start)
    }

    pub(super) fn losses(&self) -> Losses {
        self.lines.losses()
    }

    /// Logs the error that ended the gateway, if any, and writes all lines out.
    pub(super) fn end(&self, error: Option<&GatewayError>) {
        if let Some(error) = error {
            let line = format!("kms-gateway: {error}\n");
            self.lines.push(line.as_bytes());
        }
        self.lines.flush(LAST_WORDS);
    }

    fn say(&self, level: Level, said: Said) {
        let line = form_of(&self.form).line(level, said);
        self.lines.push(line.as_bytes());
    }
}

fn form_of(form: &OnceLock<Form>) -> Form {
    form.get().cloned().unwrap_or_default()
}

fn cannot_start(error: impl Display) -> GatewayError {
    GatewayError::other(format!("the log can't be started: {error}"))
}

fn lost(lines: u64) -> Said {
    Said {
        message: "log lines are missing here: standard error was full or not read".to_owned(),
        fields: vec![("lines", Value::from(lines))],
    }
}

fn panicked(panic: &PanicHookInfo<'_>) -> Said {
    let place = panic.location().map(ToString::to_string);
    let mut fields = vec![
        ("place", Value::from(place)),
        ("error", Value::from(panic.payload_as_str())),
    ];
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        fields.push(("backtrace", Value::from(backtrace.to_string())));
    }
    Said {
        message: "panicked".to_owned(),
        fields,
    }
}

/// Whether the journal reads standard error: `JOURNAL_STREAM` then names its device
/// and inode (systemd.exec(5)).
fn is_read_by_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(io::stderr().as_fd())
        .is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// The form of all lines.
#[derive(Clone, Default)]
struct Form {
    format: Format,
    /// The name of the gateway, if the lines have it.
    node: Option<Arc<str>>,
}

#[derive(Clone, Copy, Default)]
enum Format {
    /// Time, level, event and fields.
    #[default]
    Text,
    /// A priority (sd-daemon(3)), event and fields: the journal adds the time.
    Journal,
    /// One flat object.
    Json,
}

impl<S, N> FormatEvent<S, N> for Form
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
        let mut said = Said::default();
        event.record(&mut said);
        self.write(*event.metadata().level(), said, &mut line)
    }
}

impl Form {
    fn of(config: &Config) -> Self {
        Self {
            format: Format::of(config),
            node: config.shown_node().map(Arc::from),
        }
    }

    fn line(&self, level: Level, said: Said) -> String {
        let mut line = String::new();
        // Writing to a string does not fail.
        let _ = self.write(level, said, &mut line);
        line
    }

    /// Writes a line with its line end. The gateway's name comes last, so that the beginning of
    /// each line stays as it is.
    fn write(&self, level: Level, mut said: Said, line: &mut impl Write) -> fmt::Result {
        if let Some(node) = &self.node {
            said.fields.push(("node", Value::from(&**node)));
        }
        self.format.write(level, &said, line)
    }
}

impl Format {
    fn of(config: &Config) -> Self {
        match config.log.format {
            LogFormat::Json => Self::Json,
            LogFormat::Text if is_read_by_journal() => Self::Journal,
            LogFormat::Text => Self::Text,
        }
    }

    /// Writes a line with its line end.
    fn write(self, level: Level, said: &Said, line: &mut impl Write) -> fmt::Result {
        match self {
            Self::Text => {
                write!(line, "{} {level:5} ", now())?;
                said.write_text(line)?;
            }
            Self::Journal => {
                write!(line, "<{}>", priority(level))?;
                said.write_text(line)?;
            }
            Self::Json => said.write_json(level, line)?,
        }
        line.write_char('\n')
    }
}

/// The time, with six digits of the second's fraction.
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

/// An event's message and fields.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Said {
    /// Writes `message name=value name="a value"`.
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

    /// Also records values that are logged by `Display`, such as errors: their
    /// `Debug` is that text.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, Value::from(format!("{value:?}")));
    }
}

/// A value of one word as it is, any other value between quotation marks, so that
/// no value can pass for another field.
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
    fn each_line_has_the_gateway_s_name_where_there_may_be_several() {
        let line = |format, node: Option<&str>| {
            let node = node.map(Arc::from);
            Form { format, node }.line(Level::INFO, said())
        };
        let alone = line(Format::Journal, None);
        let expected = format!("{} node=mx1\n", alone.trim_end());
        assert_eq!(line(Format::Journal, Some("mx1")), expected);
        assert!(!alone.contains("node"), "{alone}");
        let object: Value = serde_json::from_str(&line(Format::Json, Some("mx1"))).unwrap();
        assert_eq!(
            (&object["node"], &object["size"]),
            (&"mx1".into(), &17.into())
        );
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG];
        assert_eq!(levels.map(priority), [3, 4, 6, 7]);
    }
}
