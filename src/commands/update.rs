//! `update`: makes and signs security-module update files, the STS Association's
//! part. Needs no configuration of a gateway.

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{
    CommandError, input,
    kmc::{passphrase, write_new},
    registration::Registration,
    standard_error,
    standard_output::{write_line, write_text},
};
use crate::{
    gateway::environment::sts_time,
    kms::{
        Curve, PrivateKey, PublicPoint,
        update::{Change, NewUpdate, StsaSigningKey, sign},
    },
    sts::{Ident, PkEcdh, Record, Sgc, SmId, file, single_in_mail},
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    NewKey(NewKey),
    Build(Build),
    Sign(Sign),
}

/// Make a signing key of the STS Association, and print its public half for the
/// KMC's configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway update new-key --passphrase-file passphrase --out stsa.pem")]
pub(super) struct NewKey {
    /// The file whose first line is the passphrase of the PEM.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    /// The encrypted PKCS#8 PEM to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Make an update file without a signature, and print it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway update build --public-key public-key.txt --serial 7 \\
      --add registration.json=000439,123456 \\
      --revoke SMID.1:Example:90000001:20260102T030405Z:09D598DBA26CF3AC:318F=SOFT-1 \\
      > update-7.txt")]
pub(super) struct Build {
    /// The KMC's PK.ECDH.1 as it came by mail, or - for standard input.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// The serial of the last file under the same STSA key, plus one.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    serial: u32,
    /// A module to register: the file that `sm init --registration` wrote, and the
    /// module's supply groups, separated by commas. May be given more than once.
    #[arg(long, value_name = "REGISTRATION=SGC,…", value_parser = added)]
    add: Vec<Added>,
    /// A module to revoke: its SMID and its hardware id. May be given more than
    /// once.
    #[arg(long, value_name = "SMID=HARDWARE", value_parser = revoked)]
    revoke: Vec<Revoked>,
}

/// Sign an update file, and print the signed file.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway update sign --key stsa.pem --passphrase-file passphrase \\
      update-7.txt > update-7-signed.txt")]
pub(super) struct Sign {
    /// The STSA's key as encrypted PKCS#8 PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The file whose first line is the passphrase of the PEM.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    /// The file that `update build` printed, or - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// `REGISTRATION=SGC,…`
#[derive(Clone, Debug)]
struct Added {
    registration: PathBuf,
    sgcs: BTreeSet<Sgc>,
}

fn added(text: &str) -> Result<Added, String> {
    let (registration, sgcs) = text
        .rsplit_once('=')
        .ok_or("write the registration's file, =, and supply groups separated by commas")?;
    let sgcs = sgcs
        .split_terminator(',')
        .map(|sgc| sgc.parse().map_err(|error| format!("{sgc:?}: {error}")))
        .collect::<Result<_, String>>()?;
    let registration = registration.into();
    Ok(Added { registration, sgcs })
}

/// `SMID=HARDWARE`
#[derive(Clone, Debug)]
struct Revoked {
    smid: SmId,
    hardware: Ident,
}

fn revoked(text: &str) -> Result<Revoked, String> {
    let (smid, hardware) = text
        .split_once('=')
        .ok_or("write the SMID, =, and the hardware id")?;
    let smid = smid.parse().map_err(|error| format!("SMID: {error}"))?;
    let hardware = hardware.parse();
    let hardware = hardware.map_err(|error| format!("hardware id: {error}"))?;
    Ok(Revoked { smid, hardware })
}

pub(super) fn run(action: &Action) -> Result<(), CommandError> {
    match action {
        Action::NewKey(arguments) => new_key(arguments),
        Action::Build(arguments) => build(arguments),
        Action::Sign(arguments) => sign_file(arguments),
    }
}

fn new_key(arguments: &NewKey) -> Result<(), CommandError> {
    let passphrase = passphrase(&arguments.passphrase_file)?;
    let private_key = PrivateKey::generate(Curve::P384)?;
    let pem = private_key.to_encrypted_pem(&passphrase)?;
    write_new(&arguments.out, pem.as_bytes())?;
    let point = private_key.public_point();
    standard_error::write_line(format_args!("fingerprint: {}", point.fingerprint()));
    write_line(format_args!("public_key = \"{}\"", point.to_text()))
}

fn build(arguments: &Build) -> Result<(), CommandError> {
    let public_key = &arguments.public_key;
    let text = String::from_utf8_lossy(&input::read(public_key)?).into_owned();
    let kmc_key: PkEcdh =
        single_in_mail(&text).map_err(|error| CommandError::at(public_key, error))?;
    let kmc_point = [Curve::P384, Curve::P256]
        .into_iter()
        .find_map(|curve| PublicPoint::read(curve, kmc_key.public_key.as_str()).ok())
        .ok_or_else(|| {
            CommandError::at(public_key, "the public key is no point on P-384 or P-256")
        })?;
    let registrations = arguments
        .add
        .iter()
        .map(|added| Ok((Registration::read(&added.registration)?, added.sgcs.clone())))
        .collect::<Result<Vec<_>, CommandError>>()?;
    let added = registrations.iter().map(|(own, sgcs)| Change::Add {
        smid: own.smid.clone(),
        hardware: own.hardware.clone(),
        dak: &own.dak,
        sgcs: sgcs.clone(),
    });
    let revoked = arguments.revoke.iter().map(|own| Change::Revoke {
        smid: own.smid.clone(),
        hardware: own.hardware.clone(),
    });
    let new = NewUpdate {
        kmc_key: &kmc_key,
        kmc_point: &kmc_point,
        serial: arguments.serial,
        time: sts_time(Timestamp::now())?,
        ephemeral: &PrivateKey::generate(kmc_point.curve())?,
        changes: added.chain(revoked).collect(),
    };
    print_file(&new.build().map_err(CommandError::other)?)
}

fn sign_file(arguments: &Sign) -> Result<(), CommandError> {
    let records = file::parse(&input::read(&arguments.file)?)
        .map_err(|error| CommandError::at(&arguments.file, error))?;
    let pem = input::read_secret_text(&arguments.key)?;
    let private_key =
        PrivateKey::from_encrypted_pem(&pem, &passphrase(&arguments.passphrase_file)?)?;
    let key = StsaSigningKey::new(&private_key)
        .map_err(|_| CommandError::at(&arguments.key, "give a key on P-384, as the STSA has"))?;
    print_file(&sign(records, &key))
}

/// Prints records with CRLF, as the file is attached to mail.
fn print_file(records: &[Record]) -> Result<(), CommandError> {
    write_text(file::write(records))
}
