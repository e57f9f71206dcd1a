//! `audit`: reads the audit log, verifies its chain and exports it. Changes
//! nothing.

mod csv;
mod naming;
mod output;
mod selection;
mod table;

use std::{collections::VecDeque, io, path::Path};

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::{
    output::{Form, Output, Placed},
    selection::{Filter, Selection},
    table::Look,
};
use super::{
    CommandError, Ending,
    environment::{chain_key, existing_store, master_secret},
    sealed_rows, standard_error,
    standard_output::{excused, write_json, write_line, write_lines, write_text, writer},
    table::terminal_width,
};
use crate::{
    audit::{BrokenAt, Head, HeadSyntax},
    config::Config,
    store::{Store, StoreError},
};

/// How many entries are read at once.
const PAGE: u32 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    List(List),
    Verify(Verify),
    Export(Export),
}

/// Show entries, the oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal each line is cut to its width, and a wide one tells how long ago
it was. All filters must match. --json has each entry whole, its times exact.

Example:
  kms-gateway audit list --since 2d --rule mailing-list --limit 20")]
pub(super) struct List {
    #[command(flatten)]
    selection: Selection,
    /// Print an array of objects, each entry whole.
    #[arg(long)]
    json: bool,
}

/// Verify the chain over the log, and that every sealed row opens; exit code 1 if not.
#[derive(Debug, Args)]
#[command(after_help = "\
`serve` logs the newest head each hour; keep that log on another machine.

--json prints an object with
  holds              whether the chain holds
  first              the sequence number of the oldest entry, or null
  head               the newest entry as SEQ:HASH; null if the chain is broken
  kept_head          the head that was given and that the log has, or null
  secret_changed_at  the entries at which the master secret was changed
  broken             {entry, fault} where the chain is broken, or null
  altered_rows       which rows of keys and modules somebody altered, or null

Example:
  kms-gateway audit verify --head 1217:6f0c…")]
pub(super) struct Verify {
    /// A head that was kept elsewhere: the log must still have that entry.
    #[arg(long, value_name = "SEQ:HASH", value_parser = parse_head)]
    head: Option<Head>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Write entries for other programs, the oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
In CSV a cell that a spreadsheet would take for a formula begins with an
apostrophe, and characters that aren't printable are escaped.

Example:
  kms-gateway audit export --format csv --since 2026-11-01 > november.csv")]
pub(super) struct Export {
    #[command(flatten)]
    selection: Selection,
    /// One JSON object a line, or comma-separated values (RFC 4180).
    #[arg(long, value_enum)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

fn parse_head(text: &str) -> Result<Head, HeadSyntax> {
    text.parse()
}

pub(super) async fn run(path: &Path, action: Action) -> Result<Ending, CommandError> {
    let config = Config::load(path)?;
    match action {
        Action::List(List { selection, json }) => {
            let form = if json {
                Form::JsonArray
            } else {
                Form::Table(Look {
                    terminal: terminal_width(),
                    now: Timestamp::now(),
                })
            };
            show(&config, selection, form).await
        }
        Action::Export(Export { selection, format }) => {
            let form = match format {
                Format::Jsonl => Form::JsonLines,
                Format::Csv => Form::Csv,
            };
            show(&config, selection, form).await
        }
        Action::Verify(verify) => verify.run(path, &config).await,
    }
}

/// Writes the selected entries to standard output.
async fn show(
    config: &Config,
    mut selection: Selection,
    form: Form,
) -> Result<Ending, CommandError> {
    let store = existing_store(config, None).await?;
    naming::complete(&mut selection, &store).await?;
    let mut reader = Reader {
        store: &store,
        filter: selection.filter(Timestamp::now()),
        next: i64::MIN,
        unreadable: 0,
    };
    match write_selected(&mut reader, selection.limit, form).await {
        Ok(()) => {}
        Err(Trouble::Output(error)) => excused(error)?,
        Err(Trouble::Store(error)) => return Err(error.into()),
    }
    if reader.unreadable == 0 {
        return Ok(Ending::Done);
    }
    standard_error::write_line(format_args!(
        "kms-gateway: {} entries can't be read; run kms-gateway audit verify",
        reader.unreadable
    ));
    Ok(Ending::ProblemFound)
}

/// All of them, or the newest so many, the oldest first.
async fn write_selected(
    reader: &mut Reader<'_>,
    limit: Option<usize>,
    form: Form,
) -> Result<(), Trouble> {
    let mut output = Output::begin(form, writer())?;
    let mut entries = VecDeque::new();
    while reader.read_page(&mut entries).await? {
        let surplus = entries.len().saturating_sub(limit.unwrap_or(0));
        for placed in entries.drain(..surplus) {
            if limit.is_none() {
                output.write(&placed)?;
            }
        }
    }
    for placed in &entries {
        output.write(placed)?;
    }
    Ok(output.end()?)
}

/// What can go wrong between the log and standard output.
enum Trouble {
    Store(StoreError),
    Output(io::Error),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Reads the entries that a filter lets by.
struct Reader<'a> {
    store: &'a Store,
    filter: Filter<'a>,
    next: i64,
    /// How many entries were no entries.
    unreadable: u64,
}

impl Reader<'_> {
    /// Adds the selected ones of the next page; false if there is none.
    async fn read_page(&mut self, entries: &mut VecDeque<Placed>) -> Result<bool, StoreError> {
        let page = self.store.audit_entries(self.next, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(false);
        };
        self.next = last.head.sequence.saturating_add(1);
        for stored in &page {
            match stored.entry() {
                Ok(entry) if self.filter.matches(&entry) => entries.push_back(Placed {
                    sequence: stored.head.sequence,
                    entry,
                }),
                Ok(_) => {}
                Err(_) => self.unreadable += 1,
            }
        }
        Ok(true)
    }
}

impl Verify {
    async fn run(&self, path: &Path, config: &Config) -> Result<Ending, CommandError> {
        let secret = master_secret(path, &config.secrets)?;
        let store = existing_store(config, Some(chain_key(&secret))).await?;
        let altered = sealed_rows::altered(&store, &secret).await?.alarm();
        let mut verified = store.verify_audit(None).await?;
        if let (Ok(_), Some(kept)) = (&verified, self.head) {
            verified = store.verify_audit(Some(kept)).await?;
        }
        if self.json {
            let first = first(&store).await?;
            let hand_overs = store.hand_overs();
            write_json(&self.object(&verified, first, &hand_overs, altered.as_deref()))?;
        } else {
            match &verified {
                Ok(head) => {
                    write_text(self.holds(*head, first(&store).await?, &store.hand_overs()))?;
                }
                Err(broken) => write_line(format_args!(
                    "{broken}\n\
                     Entries before it hold. Entries from it on prove nothing: compare them with \
                     Postfix's log and with a backup, and find out who could write the database."
                ))?,
            }
            write_lines(altered.as_ref().map(|alarm| format!("\n{alarm}.")))?;
        }
        Ok(match (verified, altered) {
            (Ok(_), None) => Ending::Done,
            _ => Ending::ProblemFound,
        })
    }

    /// The object that scripts rely on.
    fn object(
        &self,
        verified: &Result<Head, BrokenAt>,
        first: Option<i64>,
        hand_overs: &[i64],
        altered: Option<&str>,
    ) -> Value {
        let kept_head = self.head.filter(|_| verified.is_ok());
        let broken = verified.as_ref().err();
        json!({
            "holds": verified.is_ok(),
            "first": first,
            "head": verified.as_ref().ok().map(Head::to_string),
            "kept_head": kept_head.map(|head| head.to_string()),
            "secret_changed_at": hand_overs,
            "broken": broken.map(|broken| json!({
                "entry": broken.sequence,
                "fault": broken.fault.to_string(),
            })),
            "altered_rows": altered,
        })
    }

    fn holds(&self, head: Head, first: Option<i64>, hand_overs: &[i64]) -> String {
        let extent = match first {
            None => "the audit log has no entries".to_owned(),
            Some(first) => format!("entries {first} to {} hold", head.sequence),
        };
        let tail = match self.head {
            Some(kept) => format!(
                "Shown too: entry {} is the one that the given head names, so nothing up to it \
                 was cut off or rolled back.\n\
                 Not shown: whether entries after it were cut off the end.",
                kept.sequence
            ),
            None => "Not shown: whether entries were cut off the end, or the whole log replaced \
                     by an older copy. Give a head kept elsewhere: --head SEQ:HASH."
                .to_owned(),
        };
        format!(
            "{extent}\nhead {head}\n\
             Shown: nobody without the master secret changed, removed, inserted or moved an entry.\n\
             {tail}\n\
             Not shown: what somebody with the master secret did.\n{}",
            passed_on(hand_overs)
        )
    }
}

/// What another master secret means for the entries before.
fn passed_on(hand_overs: &[i64]) -> String {
    let Some(newest) = hand_overs.last() else {
        return String::new();
    };
    let all: Vec<String> = hand_overs.iter().map(ToString::to_string).collect();
    format!(
        "The master secret was changed at entry {}. Who has none but a former one could change \
         entries until then; since entry {newest} he can change none, not even those before it.\n",
        all.join(" and ")
    )
}

/// The sequence number of the oldest entry.
async fn first(store: &Store) -> Result<Option<i64>, CommandError> {
    let oldest = store.audit_entries(i64::MIN, 1).await?;
    Ok(oldest.first().map(|stored| stored.head.sequence))
}
