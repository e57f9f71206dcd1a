//! `sm`: the software security module, for integrators and tests.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    CommandError,
    form::Form,
    input,
    kmc::write_new,
    registration::Registration,
    standard_output::{write_line, write_text},
};
use crate::{
    gateway::environment::sts_time,
    kms::administration::new_smid,
    security_module::{Identity, LoadedKey, SecurityModule},
    sts::{Ident, PkEcdh, TypedRecord, single_in_mail, write_in_mail},
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    Init(Init),
    Request(Request),
    Open(Open),
}

/// Make a module with its own DAK, and its registration for the KMC.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway sm init --state module.json --registration registration.json \\
      --issuer Example --name 90000001 --hardware SOFT-1 --firmware 1.0")]
pub(super) struct Init {
    /// The file for the module's state, which is secret.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// The file for SMID, hardware id and DAK, to hand to the KMC. Secret, too.
    #[arg(long, value_name = "FILE")]
    registration: PathBuf,
    /// Issuer in the SMID.
    #[arg(long)]
    issuer: Ident,
    /// Name in the SMID.
    #[arg(long)]
    name: Ident,
    /// Hardware id.
    #[arg(long)]
    hardware: Ident,
    /// Firmware id.
    #[arg(long)]
    firmware: Ident,
}

/// Make a VKLOAD.REQ.1 and print it in Record-in-email format.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway sm request --state module.json --public-key public-key.txt")]
pub(super) struct Request {
    /// The module's state.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// The KMC's PK.ECDH.1 as it came by mail, or - for standard input.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
}

/// Open a key load file and print the key check value of each key.
#[derive(Debug, Args)]
#[command(after_help = "\
--json prints an array of {sgc, krn, kt, dkga, kcv}, all texts.

Example:
  kms-gateway sm open --state module.json KLF_90000001.txt")]
pub(super) struct Open {
    /// The module's state.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// The key load file, or - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    form: Form,
}

pub(super) fn run(action: Action) -> Result<(), CommandError> {
    match action {
        Action::Init(arguments) => init(arguments),
        Action::Request(arguments) => request(&arguments),
        Action::Open(arguments) => open(&arguments),
    }
}

fn init(arguments: Init) -> Result<(), CommandError> {
    if arguments.registration.exists() {
        let problem = "exists already; name another file";
        return Err(CommandError::at(&arguments.registration, problem));
    }
    let identity = Identity {
        smid: new_smid(arguments.issuer, arguments.name, Timestamp::now())?,
        hardware: arguments.hardware,
        firmware: arguments.firmware,
    };
    let module = SecurityModule::create(&arguments.state, identity)?;
    let Identity { smid, hardware, .. } = module.identity();
    let registration = Registration::json(smid, hardware, module.dak())?;
    write_new(&arguments.registration, &registration)?;
    write_line(smid)
}

fn request(arguments: &Request) -> Result<(), CommandError> {
    let text = String::from_utf8_lossy(&input::read(&arguments.public_key)?).into_owned();
    let kmc_key: PkEcdh =
        single_in_mail(&text).map_err(|error| CommandError::at(&arguments.public_key, error))?;
    let request =
        SecurityModule::load(&arguments.state)?.request(kmc_key, sts_time(Timestamp::now())?)?;
    write_text(write_in_mail(&request.to_record()).replace("\r\n", "\n"))
}

fn open(arguments: &Open) -> Result<(), CommandError> {
    let file = input::read(&arguments.file)?;
    let keys = SecurityModule::load(&arguments.state)?.open(&file)?;
    arguments.form.write(&keys, object, line)
}

fn object(key: &LoadedKey) -> Value {
    let attributes = &key.attributes;
    json!({
        "sgc": attributes.sgc.to_string(),
        "krn": attributes.krn.to_string(),
        "kt": attributes.kt.to_string(),
        "dkga": attributes.dkga.to_string(),
        "kcv": key.kcv.to_string(),
    })
}

fn line(key: &LoadedKey) -> String {
    let attributes = &key.attributes;
    format!(
        "SGC {}  KRN {}  KT {}  DKGA {}  KCV {}",
        attributes.sgc, attributes.krn, attributes.kt, attributes.dkga, key.kcv
    )
}
