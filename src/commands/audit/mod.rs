//! `audit`: reads the audit log, verifies its chain and exports it. Changes
//! nothing.

mod csv;
mod naming;
mod output;
mod pages;
mod selection;
mod table;

use std::{collections::VecDeque, path::Path};

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::{
    output::{Form, Output},
    pages::Pages,
    selection::Selection,
    table::Look,
};
use super::{
    CommandError, Ending,
    placed::Placed,
    standard_error,
    standard_output::{excused, write_json, write_line, write_lines, write_text, writer},
    table::terminal_width,
};
use crate::{
    audit::{BrokenAt, Head},
    config::Config,
    gateway::{
        clock,
        environment::{chain_key, existing_store, master_secret},
    },
    kms::{AlteredRows, KmsTables as _},
    secrets::{MasterSecret, OtherMasterSecret, StorageKey},
    store::Store,
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    List(List),
    Verify(Verify),
    Export(Export),
}

/// Show entries, the oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
A terminal cuts each line to its width; a wide one also shows each entry's age.
All filters must match. --json prints each entry whole, with exact times.

Example:
  kms-gateway audit list --since 2d --rule mailing-list --limit 20")]
pub(super) struct List {
    #[command(flatten)]
    selection: Selection,
    /// Print a JSON array of whole entries.
    #[arg(long)]
    json: bool,
}

/// Verify the log's chain, and that every sealed row opens; exit code 1 if not.
#[derive(Debug, Args)]
#[command(after_help = "\
`serve` logs the newest head each hour; keep its log on another machine.

--json prints an object with
  holds              whether the chain holds
  first              the sequence number of the oldest entry, or null
  head               the newest entry as SEQ:HASH; null if the chain is broken
  kept_head          the given head, if the log has that entry, or null
  secret_changed_at  the entries at which the master secret was changed
  broken             {entry, fault} where the chain is broken, or null
  altered_rows       the rows of keys and modules that somebody altered, or null

Examples:
  kms-gateway audit verify --json | jq -r .head > head.txt
  kms-gateway audit verify --head \"$(cat head.txt)\"")]
pub(super) struct Verify {
    /// A head kept elsewhere: the log must still have that entry.
    #[arg(long, value_name = "SEQ:HASH")]
    head: Option<Head>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Write entries for other programs, the oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
In CSV an apostrophe begins each cell that a spreadsheet would take for a
formula. Unprintable characters are escaped.

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

pub(super) async fn run(path: &Path, action: Action) -> Result<Ending, CommandError> {
    let config = Config::load(path)?;
    match action {
        Action::List(List { selection, json }) => {
            let store = existing_store(&config, None).await?;
            let now = clock::now(&store);
            let terminal = terminal_width();
            let form = match json {
                true => Form::JsonArray,
                false => Form::Table(Look { terminal, now }),
            };
            show(&store, selection, form, now).await
        }
        Action::Export(Export { selection, format }) => {
            let form = match format {
                Format::Jsonl => Form::JsonLines,
                Format::Csv => Form::Csv,
            };
            let store = existing_store(&config, None).await?;
            show(&store, selection, form, clock::now(&store)).await
        }
        Action::Verify(verify) => verify.run(path, &config).await,
    }
}

/// Writes the selected entries, the oldest first: all of them, or the newest `limit`.
async fn show(
    store: &Store,
    mut selection: Selection,
    form: Form,
    now: Timestamp,
) -> Result<Ending, CommandError> {
    naming::complete(&mut selection, store).await?;
    let filter = selection.filter(now);
    let mut output = Output::new(form, writer());
    output.begin().or_else(excused)?;
    let mut newest = VecDeque::new();
    let mut unreadable = 0_u64;
    let mut pages = Pages::of(store);
    while let Some(page) = pages.next().await? {
        for stored in &page {
            let Some(placed) = Placed::read(stored) else {
                unreadable += 1;
                continue;
            };
            if !filter.matches(&placed.entry) {
                continue;
            }
            let Some(limit) = selection.limit else {
                output.write(&placed).or_else(excused)?;
                continue;
            };
            newest.push_back(placed);
            if newest.len() > limit {
                newest.pop_front();
            }
        }
    }
    for placed in &newest {
        output.write(placed).or_else(excused)?;
    }
    output.end().or_else(excused)?;
    if unreadable > 0 {
        standard_error::write_line(format_args!(
            "kms-gateway: {unreadable} entries can't be read; run kms-gateway audit verify"
        ));
    }
    Ok(Ending::of_search(unreadable == 0))
}

impl Verify {
    async fn run(&self, path: &Path, config: &Config) -> Result<Ending, CommandError> {
        let secret = master_secret(path, &config.secrets)?;
        let store = existing_store(config, Some(chain_key(&secret))).await?;
        let altered = altered_rows(&store, &secret).await?.alarm();
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
                     Entries before it hold. It and later entries prove nothing: compare them with \
                     Postfix's log and with a backup, and find out who could write the database."
                ))?,
            }
            write_lines(altered.as_ref().map(|alarm| format!("\n{alarm}.")))?;
        }
        Ok(Ending::of_search(verified.is_ok() && altered.is_none()))
    }

    /// The JSON object; **contract**.
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
                "Shown too: entry {} matches the given head, so nothing up to it was cut off or \
                 rolled back.\n\
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

/// The limits of former master secrets, if the master secret was changed.
fn passed_on(hand_overs: &[i64]) -> String {
    let Some(newest) = hand_overs.last() else {
        return String::new();
    };
    let all: Vec<String> = hand_overs.iter().map(ToString::to_string).collect();
    format!(
        "The master secret was changed at entry {}. A former secret could change entries until \
         then. Since entry {newest} a former secret can change none, not even earlier ones.\n",
        all.join(" and ")
    )
}

/// The sequence number of the oldest entry.
async fn first(store: &Store) -> Result<Option<i64>, CommandError> {
    let oldest = store.audit_entries(i64::MIN, 1).await?;
    Ok(oldest.first().map(|stored| stored.head.sequence))
}

/// The altered sealed rows. `secret` must be the master secret of the store's audit
/// log.
async fn altered_rows(store: &Store, secret: &MasterSecret) -> Result<AlteredRows, CommandError> {
    let Some(wrapped) = store.wrapped_storage_key().await? else {
        return Ok(AlteredRows::default());
    };
    match StorageKey::unwrap(&wrapped, secret) {
        Ok(storage_key) => Ok(AlteredRows::find(store, &storage_key).await?),
        // The audit log opened with this secret, so that the storage key's row is wrong.
        Err(OtherMasterSecret) => {
            let mut altered = AlteredRows::default();
            altered.add("the storage key".to_owned());
            Ok(altered)
        }
    }
}
