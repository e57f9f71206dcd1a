//! Writes entries in each form, one after the other, so that a long log needs no
//! memory.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    csv,
    table::{self, Look},
};
use crate::{audit::Entry, printable::PrintableJson};

/// An entry with its place in the chain.
#[derive(Debug, Serialize)]
pub(super) struct Placed {
    pub(super) sequence: i64,
    #[serde(flatten)]
    pub(super) entry: Entry,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// A table for people.
    Table(Look),
    /// One JSON array.
    JsonArray,
    /// One JSON object a line.
    JsonLines,
    /// Comma-separated values.
    Csv,
}

/// Writes entries in one form.
pub(super) struct Output<W> {
    form: Form,
    out: W,
    written: u64,
}

impl<W: Write> Output<W> {
    /// Writes the text before the entries.
    pub(super) fn begin(form: Form, mut out: W) -> io::Result<Self> {
        match form {
            Form::Table(look) => table::write_names(&mut out, look)?,
            Form::JsonArray => write!(out, "[")?,
            Form::JsonLines => {}
            Form::Csv => csv::write_names(&mut out)?,
        }
        Ok(Self {
            form,
            out,
            written: 0,
        })
    }

    pub(super) fn write(&mut self, placed: &Placed) -> io::Result<()> {
        let out = &mut self.out;
        match self.form {
            Form::Table(look) => table::write(out, placed, look)?,
            Form::Csv => csv::write(out, placed)?,
            Form::JsonLines => writeln!(out, "{}", PrintableJson(&json(placed)?))?,
            Form::JsonArray => {
                let separator = if self.written == 0 { "\n" } else { ",\n" };
                write!(out, "{separator}{}", PrintableJson(&json(placed)?))?;
            }
        }
        self.written += 1;
        Ok(())
    }

    /// Writes the text after the entries.
    pub(super) fn end(mut self) -> io::Result<()> {
        if let Form::JsonArray = self.form {
            writeln!(self.out, "\n]")?;
        }
        self.out.flush()
    }
}

fn json(placed: &Placed) -> io::Result<String> {
    Ok(serde_json::to_string(placed)?)
}
