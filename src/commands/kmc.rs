//! `kmc`: makes, rotates, lists and exports the key management centre's own keys.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    CommandError,
    form::Form,
    input,
    standard_output::{Steps, write_line, write_lines, write_text},
};
use crate::{
    config::Config,
    gateway::{
        clock,
        environment::{Environment, master_secret_file, new_master_secret, sts_time},
        key_management,
    },
    kms::{
        Curve, KmcKeyRow, KmcKeys, Kms, KmsTables, PrivateKey,
        administration::{NewKmcKey, new_kmcid},
    },
    new_file,
    sts::{Ident, StsTime, TypedRecord, write_in_mail},
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    Init(Init),
    Rotate(Rotate),
    /// List the key pairs: KMCID, state, curve, activation, expiry.
    #[command(after_help = "\
A key is coming, active (handed out, and its requests are answered), retiring
(its requests are answered) or expired. --json prints an array of {kmcid, state,
curve, activation, expiry}.

Example:
  kms-gateway kmc list")]
    List(Form),
    /// Print the public key in Record-in-email format.
    #[command(after_help = "Example:\n  kms-gateway kmc public-key > public-key.txt")]
    PublicKey,
    Export(Export),
}

/// Make the KMC's first key pair, or import one.
#[derive(Debug, Args)]
#[command(after_help = "\
Refused while there is an active key: kmc rotate adds the next one.

Example:
  kms-gateway kmc init --create-master-secret \\
      --issuer Example --name K0001 --expires 20310101T000000Z")]
pub(super) struct Init {
    /// Issuer in the KMCID.
    #[arg(long)]
    issuer: Ident,
    /// Name in the KMCID.
    #[arg(long)]
    name: Ident,
    /// P-384 or P-256.
    #[arg(long, default_value_t = Curve::P384)]
    curve: Curve,
    /// Make the master secret's file if it does not exist.
    #[arg(long)]
    create_master_secret: bool,
    #[command(flatten)]
    pair: Pair,
}

/// Add the next key pair. The active one stays in use until it expires.
#[derive(Debug, Args)]
#[command(after_help = "\
From its activation on, modules that ask for the public key get the new one.
Requests made for the old one are still answered.

Example:
  kms-gateway kmc rotate --name K0002 --expires 20360101T000000Z")]
pub(super) struct Rotate {
    /// Name in the KMCID.
    #[arg(long)]
    name: Ident,
    /// Issuer in the KMCID [default: the active key's].
    #[arg(long)]
    issuer: Option<Ident>,
    /// P-384 or P-256 [default: the active key's].
    #[arg(long)]
    curve: Option<Curve>,
    /// When the KMC begins to hand the key out, yyyymmddThhmmssZ [default: now].
    #[arg(long, value_name = "TIME")]
    activation: Option<StsTime>,
    #[command(flatten)]
    pair: Pair,
}

/// The source of a key pair, and its end.
#[derive(Debug, Args)]
struct Pair {
    /// When the key expires, yyyymmddThhmmssZ.
    #[arg(long, value_name = "TIME")]
    expires: StsTime,
    /// Import this encrypted PKCS#8 PEM instead of making a key pair.
    #[arg(long, value_name = "FILE", requires = "passphrase_file")]
    import: Option<PathBuf>,
    /// The file with the passphrase of the PEM in its first line.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Write the private key as encrypted PKCS#8 PEM, for a safe.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway kmc export --passphrase-file passphrase --out kmc-K0001.pem")]
pub(super) struct Export {
    /// The file with the passphrase of the PEM in its first line.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) async fn run(config: &Path, action: Action) -> Result<(), CommandError> {
    match action {
        Action::Init(arguments) => init(config, arguments).await,
        Action::Rotate(arguments) => rotate(config, arguments).await,
        Action::List(form) => list(config, &form).await,
        Action::PublicKey => public_key(config).await,
        Action::Export(arguments) => export(config, &arguments).await,
    }
}

async fn init(path: &Path, arguments: Init) -> Result<(), CommandError> {
    let config = Config::load(path)?;
    key_management::require_embedded(path, &config)?;
    let mut steps = Steps::begin();
    if arguments.create_master_secret {
        steps.done(create_master_secret(&config)?);
    }
    let private_key = arguments.pair.private_key(arguments.curve)?;
    let environment = Environment::open(path, &config).await?;
    let first = FirstKey {
        issuer: arguments.issuer,
        name: arguments.name,
        expires: arguments.pair.expires,
    };
    steps.done(first.add_to(&environment, &private_key).await?);
    environment.store.close().await;
    steps.end()
}

/// The name and end of the KMC's first key.
pub(super) struct FirstKey {
    pub(super) issuer: Ident,
    pub(super) name: Ident,
    pub(super) expires: StsTime,
}

impl FirstKey {
    /// Adds the key, active from now on. Returns its description.
    pub(super) async fn add_to(
        self,
        environment: &Environment,
        private_key: &PrivateKey,
    ) -> Result<[String; 5], CommandError> {
        let now = clock::now(&environment.store);
        let new = NewKmcKey {
            kmcid: new_kmcid(self.issuer, self.name, now)?,
            private_key,
            activation: sts_time(now)?,
            expiry: self.expires,
        };
        let administration = environment.administration();
        let row = administration.add_first_kmc_key(new, now).await?;
        Ok(described(&row, private_key))
    }
}

async fn rotate(path: &Path, arguments: Rotate) -> Result<(), CommandError> {
    let environment = key_management::load_embedded(path).await?;
    let now = clock::now(&environment.store);
    let rows = environment.store.kmc_keys().await?;
    let active = active(&rows, now)?;
    let curve = arguments.curve.unwrap_or(active.curve);
    let issuer = arguments
        .issuer
        .unwrap_or_else(|| active.kmcid.issuer().clone());
    let private_key = arguments.pair.private_key(curve)?;
    let new = NewKmcKey {
        kmcid: new_kmcid(issuer, arguments.name, now)?,
        private_key: &private_key,
        activation: arguments.activation.map_or_else(|| sts_time(now), Ok)?,
        expiry: arguments.pair.expires,
    };
    let row = environment.administration().add_kmc_key(new, now).await?;
    environment.store.close().await;
    write_lines(described(&row, &private_key))
}

impl Pair {
    fn private_key(&self, curve: Curve) -> Result<PrivateKey, CommandError> {
        Ok(match (&self.import, &self.passphrase_file) {
            (Some(file), Some(passphrase_file)) => PrivateKey::from_encrypted_pem(
                &input::read_secret_text(file)?,
                &passphrase(passphrase_file)?,
            )?,
            _ => PrivateKey::generate(curve)?,
        })
    }
}

fn described(row: &KmcKeyRow, private_key: &PrivateKey) -> [String; 5] {
    let fingerprint = private_key.public_point().fingerprint();
    [
        format!("KMCID:       {}", row.kmcid),
        format!("curve:       {}", row.curve),
        format!("activation:  {}", row.activation),
        format!("expires:     {}", row.expiry),
        format!("fingerprint: {fingerprint}"),
    ]
}

async fn list(path: &Path, form: &Form) -> Result<(), CommandError> {
    let environment = key_management::load_embedded(path).await?;
    let rows = environment.store.kmc_keys().await?;
    let keys = KmcKeys::at(sts_time(clock::now(&environment.store))?, &rows);
    environment.store.close().await;
    let object = |row: &KmcKeyRow| {
        json!({
            "kmcid": row.kmcid.to_string(),
            "state": keys.state(row).to_string(),
            "curve": row.curve.to_string(),
            "activation": row.activation.to_string(),
            "expiry": row.expiry.to_string(),
        })
    };
    form.write(&rows, object, |row| {
        format!(
            "{}  {}  {}  {}  {}",
            row.kmcid,
            keys.state(row),
            row.curve,
            row.activation,
            row.expiry
        )
    })
}

/// Makes the master secret if the configuration names a file for it that does not
/// exist. Returns a line about it.
pub(super) fn create_master_secret(config: &Config) -> Result<Option<String>, CommandError> {
    let secrets = &config.secrets;
    let file = master_secret_file(secrets);
    if !secrets.is_in_file() || file.exists() {
        return Ok(None);
    }
    new_master_secret(config, file)?;
    Ok(Some(format!(
        "master secret: {} (keep a copy in a safe: without it every key is lost)",
        file.display()
    )))
}

async fn public_key(path: &Path) -> Result<(), CommandError> {
    let config = Config::load(path)?;
    key_management::require_embedded(path, &config)?;
    let environment = Environment::open(path, &config).await?;
    let now = clock::now(&environment.store);
    let key = environment.into_kms(&config)?.public_key(now).await?;
    let record = write_in_mail(&key.record.to_record()).replace("\r\n", "\n");
    write_text(format_args!(
        "KMC Public Key Fingerprint: {}\n\n{record}",
        key.fingerprint
    ))
}

async fn export(path: &Path, arguments: &Export) -> Result<(), CommandError> {
    let passphrase = passphrase(&arguments.passphrase_file)?;
    let environment = key_management::load_embedded(path).await?;
    let rows = environment.store.kmc_keys().await?;
    let active = active(&rows, clock::now(&environment.store))?;
    let pem = active
        .open(&environment.storage_key)
        .map_err(CommandError::other)?
        .to_encrypted_pem(&passphrase)?;
    write_new(&arguments.out, pem.as_bytes())?;
    let out = arguments.out.display();
    write_line(format_args!("{} written to {out}", active.kmcid))
}

fn active(rows: &[KmcKeyRow], now: Timestamp) -> Result<&KmcKeyRow, CommandError> {
    KmcKeys::at(sts_time(now)?, rows)
        .active()
        .ok_or_else(|| CommandError::other("there is no active KMC key; make one with kmc init"))
}

/// Reads a passphrase: the first line of a file, without its line end.
pub(super) fn passphrase(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    let text = input::read_secret_text(path)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        let problem = "its first line is empty; write the passphrase there";
        return Err(CommandError::at(path, problem));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Writes a new file that only its owner may read. Fails if it exists.
pub(super) fn write_new(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    new_file::create(path, 0o600, content)
        .map_err(|error| CommandError::file(path, "written", &error))
}
