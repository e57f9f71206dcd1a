//! `store`: moves the database from SQLite to PostgreSQL, or back.

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{
    CommandError,
    standard_output::{write_json, write_lines},
    table::{Column, Table, terminal_width},
};
use crate::{
    config::{Config, ConfigError},
    gateway::environment::{chain_key, master_secret},
    store::{Copied, StoreSettings, move_store},
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    Copy(Copying),
}

/// Copy everything from SQLite to PostgreSQL, or back.
#[derive(Debug, Args)]
#[command(after_help = "\
The configuration names both databases: store.path and store.postgresql. Stop
every gateway first, and run this as the gateway's user or root. A gateway that
was killed counts as running for half a minute.

The database to fill must hold nothing yet. The other one stays as it is. One
transaction copies everything. Before its end the command compares the rows of
each table and verifies the audit log. If it fails, nothing was copied.

A gateway uses PostgreSQL as long as store.postgresql is in its configuration.
So take that out after a copy to SQLite, before the gateway starts.

--json prints {from, to, tables, head}; tables is an array of {table, rows}, and
head names the newest audit entry, as audit verify --head takes it.

Example:
  systemctl stop kms-gateway
  kms-gateway config set store.postgresql '{ hosts = [\"/run/postgresql\"] }'
  kms-gateway store copy --to postgresql
  systemctl start kms-gateway")]
pub(super) struct Copying {
    /// The database to fill.
    #[arg(long, value_name = "ENGINE")]
    to: Engine,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    Postgresql,
    Sqlite,
}

pub(super) async fn run(path: &Path, action: Action) -> Result<(), CommandError> {
    let Action::Copy(arguments) = action;
    let config = Config::load(path)?;
    let postgresql = config.store.clone();
    if postgresql.postgresql.is_none() {
        return Err(ConfigError::value(
            path,
            "store.postgresql",
            "it is not set, so that there is no second database",
            "name the PostgreSQL database there",
        )
        .into());
    }
    let sqlite = StoreSettings {
        postgresql: None,
        ..postgresql.clone()
    };
    let (from, to) = match arguments.to {
        Engine::Postgresql => (sqlite, postgresql),
        Engine::Sqlite => (postgresql, sqlite),
    };
    let chain_key = chain_key(&master_secret(path, &config.secrets)?);
    let places = (from.place(), to.place());
    let copied = move_store(from, to, chain_key).await?;
    match arguments.json {
        true => write_json(&as_json(&places, &copied)),
        false => write_lines(lines(&places, &copied)),
    }
}

fn as_json((from, to): &(String, String), copied: &Copied) -> serde_json::Value {
    let tables = copied.tables.iter();
    let tables = tables.map(|(table, rows)| json!({"table": table, "rows": rows}));
    json!({
        "from": from,
        "to": to,
        "tables": tables.collect::<Vec<_>>(),
        "head": copied.head.to_string(),
    })
}

fn lines((from, to): &(String, String), copied: &Copied) -> Vec<String> {
    let mut table = Table::new([Column::whole("table"), Column::whole("rows")]);
    for (name, rows) in &copied.tables {
        table.push([(*name).to_owned(), rows.to_string()]);
    }
    let mut lines = table.lines(terminal_width());
    lines.push(format!("\ncopied and verified, from {from} to {to}"));
    lines.push(format!("audit head {}", copied.head));
    lines
}
