//! Writes entries in each form, one after the other, so that a long log needs no
//! memory.

use std::io::{self, Write};

use super::{
    super::placed::Placed,
    csv,
    table::{self, Look},
};
use crate::printable::PrintableJson;

#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Table(Look),
    JsonArray,
    /// One JSON object a line.
    JsonLines,
    Csv,
}

pub(super) struct Output<W> {
    form: Form,
    out: W,
    written: u64,
}

impl<W: Write> Output<W> {
    pub(super) fn new(form: Form, out: W) -> Self {
        let written = 0;
        Self { form, out, written }
    }

    /// Writes the text before the entries.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        let out = &mut self.out;
        match self.form {
            Form::Table(look) => table::write_names(out, look),
            Form::JsonArray => write!(out, "["),
            Form::JsonLines => Ok(()),
            Form::Csv => csv::write_names(out),
        }
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
