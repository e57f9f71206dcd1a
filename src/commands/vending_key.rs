//! `vending-key`: makes, imports, retires and lists the keys that key load files
//! carry.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{CommandError, form::Form, input, standard_output::write_line};
use crate::{
    gateway::{
        clock,
        environment::{Environment, sts_time},
        key_management,
    },
    kms::{KmsTables, VendingKey, VendingKeyRow, administration::NewVendingKey},
    sts::{BaseDate, Dkga, KeyType, Krn, Sgc, StsTime, VendingKeyAttributes},
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make a vending key and print its key check value.
    #[command(after_help = "\
Example:
  kms-gateway vending-key generate \\
      --sgc 000439 --krn 1 --kt 2 --dkga 04 --bdt 2014")]
    Generate(Attributes),
    Import(Import),
    Retire(Retire),
    /// List the vending keys with their key check values.
    #[command(after_help = "\
--json prints an array of {sgc, krn, kt, ken, bdt, dkga, act, iut, ulm, clm,
exp, kcv}, all texts as in the glossary; iut and exp are null if they are not
set.

Example:
  kms-gateway vending-key list")]
    List(Form),
}

/// Import a vending key and print its key check value.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway vending-key import --key-file key.hex \\
      --sgc 000439 --krn 1 --kt 2 --dkga 02 --bdt 1993")]
pub(super) struct Import {
    #[command(flatten)]
    attributes: Attributes,
    /// The file whose first line is the key in hex; - for standard input.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

/// Stop issuing a vending key. Modules that have it keep it.
#[derive(Debug, Args)]
#[command(after_help = "\
Sets the key's EXP to the given time, or else to the second that has just
passed.

Example:
  kms-gateway vending-key retire --sgc 000439 --krn 1")]
pub(super) struct Retire {
    /// Supply group code.
    #[arg(long)]
    sgc: Sgc,
    /// Key revision number.
    #[arg(long)]
    krn: Krn,
    /// When the KMC stops issuing it, yyyymmddThhmmssZ.
    #[arg(long, value_name = "TIME")]
    exp: Option<StsTime>,
}

/// The attributes, named as in the STS Association's glossary of key management.
#[derive(Debug, Args)]
pub(super) struct Attributes {
    /// Supply group code, 6 digits.
    #[arg(long)]
    sgc: Sgc,
    /// Key revision number, 1 to 9.
    #[arg(long)]
    krn: Krn,
    /// Key type, 0 to 3.
    #[arg(long)]
    kt: KeyType,
    /// Key expiry number, 0 to 255.
    #[arg(long, default_value_t = 255)]
    ken: u8,
    /// Base date: 1993, 2014 or 2035.
    #[arg(long)]
    bdt: BaseDate,
    /// Decoder key generation algorithm: 01, 02 or 04.
    #[arg(long)]
    dkga: Dkga,
    /// Active from, yyyymmddThhmmssZ [default: now].
    #[arg(long, value_name = "TIME")]
    act: Option<StsTime>,
    /// Issued until, yyyymmddThhmmssZ [default: for ever].
    #[arg(long, value_name = "TIME")]
    iut: Option<StsTime>,
    /// Unit limit, 8 hex digits.
    #[arg(long, default_value = "FFFFFFFF", value_parser = limit)]
    ulm: u32,
    /// Currency limit, 8 hex digits.
    #[arg(long, default_value = "FFFFFFFF", value_parser = limit)]
    clm: u32,
    /// When the KMC itself stops issuing the key, yyyymmddThhmmssZ.
    #[arg(long, value_name = "TIME")]
    exp: Option<StsTime>,
    /// Replace the key with this SGC and KRN, which must no longer be issued. The old
    /// key is lost. After KRN 9 comes 1 again.
    #[arg(long)]
    replace: bool,
}

fn limit(text: &str) -> Result<u32, String> {
    match (text.len(), u32::from_str_radix(text, 16)) {
        (8, Ok(value)) => Ok(value),
        _ => Err("write 8 hex digits".to_owned()),
    }
}

pub(super) async fn run(path: &Path, action: Action) -> Result<(), CommandError> {
    let environment = key_management::load_embedded(path).await?;
    let ending = act(&environment, action).await;
    environment.store.close().await;
    ending
}

async fn act(environment: &Environment, action: Action) -> Result<(), CommandError> {
    match action {
        Action::Generate(attributes) => {
            let key = VendingKey::generate(attributes.dkga)?;
            add(environment, attributes, &key).await
        }
        Action::Import(Import {
            attributes,
            key_file,
        }) => {
            let text = input::read_secret(&key_file)?;
            // A file that is no text has no hex digits, and is refused for that.
            let digits = std::str::from_utf8(&text).unwrap_or_default().trim();
            let key = VendingKey::from_hex(attributes.dkga, digits)?;
            add(environment, attributes, &key).await
        }
        Action::Retire(Retire { sgc, krn, exp }) => {
            let now = clock::now(&environment.store);
            let expires = match exp {
                Some(time) => time,
                None => sts_time(now - SignedDuration::from_secs(1))?,
            };
            let administration = environment.administration();
            write_line(line(&administration.retire(sgc, krn, expires, now).await?))
        }
        Action::List(form) => {
            let rows = environment.store.vending_keys().await?;
            form.write(&rows, object, line)
        }
    }
}

async fn add(
    environment: &Environment,
    asked: Attributes,
    key: &VendingKey,
) -> Result<(), CommandError> {
    let now = clock::now(&environment.store);
    let new = NewVendingKey {
        attributes: VendingKeyAttributes {
            sgc: asked.sgc,
            krn: asked.krn,
            kt: asked.kt,
            ken: asked.ken,
            bdt: asked.bdt,
            dkga: asked.dkga,
            act: asked.act.map_or_else(|| sts_time(now), Ok)?,
            iut: asked.iut,
            ulm: asked.ulm,
            clm: asked.clm,
        },
        expires: asked.exp,
        key,
    };
    let administration = environment.administration();
    let row = match asked.replace {
        true => administration.replace_vending_key(new, now).await?,
        false => administration.add_vending_key(new, now).await?,
    };
    write_line(line(&row))
}

fn object(row: &VendingKeyRow) -> Value {
    let key = &row.attributes;
    json!({
        "sgc": key.sgc.to_string(),
        "krn": key.krn.to_string(),
        "kt": key.kt.to_string(),
        "ken": key.ken.to_string(),
        "bdt": key.bdt.to_string(),
        "dkga": key.dkga.to_string(),
        "act": key.act.to_string(),
        "iut": key.iut.map(|time| time.to_string()),
        "ulm": format!("{:08X}", key.ulm),
        "clm": format!("{:08X}", key.clm),
        "exp": row.expires.map(|time| time.to_string()),
        "kcv": row.kcv.to_string(),
    })
}

fn line(row: &VendingKeyRow) -> String {
    let key = &row.attributes;
    format!(
        "SGC {}  KRN {}  KT {}  KEN {}  BDT {}  DKGA {}  ACT {}  IUT {}  EXP {}  KCV {}",
        key.sgc,
        key.krn,
        key.kt,
        key.ken,
        key.bdt,
        key.dkga,
        key.act,
        or_dash(key.iut),
        or_dash(row.expires),
        row.kcv,
    )
}

fn or_dash(time: Option<StsTime>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}
