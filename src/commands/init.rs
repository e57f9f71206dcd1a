//! `init`: makes a new installation: configuration, master secret, database and the
//! KMC's key. It makes only missing parts, so that a second run finishes one that
//! was cut short. `serve` makes none of them: a part that it misses was lost.

mod questions;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

use self::questions::{Question, Questions};
use super::{
    CommandError,
    config::DEFAULT_CONFIG,
    kmc::{FirstKey, create_master_secret},
    standard_output::Steps,
};
use crate::{
    config::{Config, GatewayAddress, ListenAddress},
    gateway::{
        clock,
        environment::{DEFAULT_MASTER_SECRET, Environment, master_secret_file, sts_time},
        milter_port,
    },
    kms::{Curve, KmsTables as _, PrivateKey},
    new_file,
    store::{Store, StoreSettings},
    sts::{Ident, StsTime},
    time::SystemClock,
};

/// The shipped configuration: each key with its default.
const TEMPLATE: &str = include_str!("../../postfix/gateway.toml");

/// Debian's file with the domain of the machine's mail.
const MAIL_NAME: &str = "/etc/mailname";

/// Set up a new installation: configuration, master secret, database, KMC key.
#[derive(Debug, Args)]
#[command(after_help = "\
At a terminal it asks for each missing option, and proposes a usual value.
Without a terminal it takes these values, and needs --address (or --domain) and
--issuer.

It changes nothing that exists. If the configuration exists, its address, paths
and key management system are used. With store.postgresql in it, the tables are
made in that database, which must exist. Run by root, it makes all files for the
owner of the database's directory. The directory of the milter's socket gets
Postfix's group too.

Example:
  kms-gateway init --address kms@example.org --issuer Example")]
pub(super) struct Arguments {
    /// Address that people write to. May be given more than once.
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<GatewayAddress>,
    /// Domain of the mail; the address is then kms@DOMAIN.
    #[arg(long, conflicts_with = "address")]
    domain: Option<String>,
    /// Database file to make.
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// Master secret's file, made if it does not exist.
    #[arg(long, value_name = "FILE")]
    master_secret_file: Option<PathBuf>,
    /// The gateway's address for Postfix, unix:PATH or inet:HOST:PORT. The default is a
    /// socket in Postfix's queue directory, for Postfix alone.
    #[arg(long, value_name = "ADDRESS")]
    milter_listen: Option<ListenAddress>,
    /// Socket of an external key management system, which has the KMC's key.
    #[arg(long, value_name = "SOCKET", conflicts_with_all = ["issuer", "name", "curve", "expires"])]
    external_kms: Option<PathBuf>,
    /// Issuer in the KMCID.
    #[arg(long)]
    issuer: Option<Ident>,
    /// Name in the KMCID.
    #[arg(long)]
    name: Option<Ident>,
    /// P-384 or P-256.
    #[arg(long)]
    curve: Option<Curve>,
    /// When the KMC's key expires, yyyymmddThhmmssZ [default: in three years].
    #[arg(long, value_name = "TIME")]
    expires: Option<StsTime>,
}

pub(super) async fn run(path: &Path, arguments: &Arguments) -> Result<(), CommandError> {
    let mut questions = Questions::of_terminal();
    // Asks and checks everything before it writes anything.
    let (config, new_text) = configuration(path, arguments, &mut questions)?;
    let has_database = has_complete_database(path, &config).await?;
    if new_text.is_none() && has_database {
        return Err(CommandError::other(format_args!(
            "{}: exists already, and nothing is left to be set up; for another installation give \
             another --config, or move a database without use away",
            config.store.place()
        )));
    }
    let first_key = match has_database || config.kms.socket.is_some() {
        true => None,
        false => Some(first_key(arguments, &mut questions)?),
    };
    let mut steps = Steps::begin();
    if let Some(text) = new_text {
        write_configuration(path, &text)?;
        steps.done([format!("configuration: {}", path.display())]);
    }
    steps.done(create_master_secret(&config)?);
    let environment = Environment::open(path, &config).await?;
    steps.done([format!("database:      {}", config.store.place())]);
    // Without a record, the time until `serve` starts would look like a clock that was
    // set forward.
    let clock = clock::watched(Arc::new(SystemClock), &environment.store).await?;
    environment.store.keep_clock_record(clock.record()).await?;
    if let Some(key) = first_key {
        let private_key = PrivateKey::generate(arguments.curve.unwrap_or(Curve::P384))?;
        steps.done(key.add_to(&environment, &private_key).await?);
    }
    environment.store.close().await;
    steps.done(milter_port::make_directory(&config)?);
    steps.done([next_commands(path)]);
    steps.end()
}

/// The configuration at `path`. If the file does not exist, makes the text to write
/// there.
fn configuration(
    path: &Path,
    arguments: &Arguments,
    questions: &mut Questions<impl io::BufRead, impl io::Write>,
) -> Result<(Config, Option<String>), CommandError> {
    if !path.exists() {
        let text = new_configuration(path, arguments, questions)?;
        return Ok((Config::parse(path, &text)?, Some(text)));
    }
    if arguments.is_about_configuration() {
        return Err(CommandError::at(
            path,
            "exists already, and its address, paths and key management system are used; change \
             them with kms-gateway config set, or move the file away",
        ));
    }
    Ok((Config::load(path)?, None))
}

impl Arguments {
    fn is_about_configuration(&self) -> bool {
        !self.address.is_empty()
            || self.domain.is_some()
            || self.database.is_some()
            || self.master_secret_file.is_some()
            || self.milter_listen.is_some()
            || self.external_kms.is_some()
    }
}

/// The text of the new configuration, by arguments and answers.
fn new_configuration(
    path: &Path,
    arguments: &Arguments,
    questions: &mut Questions<impl io::BufRead, impl io::Write>,
) -> Result<String, CommandError> {
    let addresses = match arguments.address.as_slice() {
        [] => vec![ask_for_address(arguments, questions)?],
        addresses => addresses.to_vec(),
    };
    let database = questions.ask(
        Question("database", "Database file"),
        arguments.database.as_deref().map(shown),
        Some(shown(&StoreSettings::default().path)),
    )?;
    let master_secret_file = questions.ask(
        Question("master-secret-file", "Master secret's file"),
        arguments.master_secret_file.as_deref().map(shown),
        Some(DEFAULT_MASTER_SECRET.to_owned()),
    )?;
    let milter_listen = questions.ask(
        Question("milter-listen", "The gateway's address for Postfix"),
        arguments.milter_listen.clone(),
        Some(milter_port::proposal()),
    )?;
    let addresses = addresses.iter().map(|address| address.0.to_string());
    let mut values = vec![
        ("gateway.addresses", addresses.collect()),
        ("store.path", vec![database]),
        ("secrets.master_secret_file", vec![master_secret_file]),
        ("milter.listen", vec![milter_listen.to_string()]),
    ];
    if let Some(socket) = &arguments.external_kms {
        values.push(("kms.socket", vec![shown(socket)]));
    }
    Ok(Config::written(path, TEMPLATE, &values)?)
}

fn ask_for_address(
    arguments: &Arguments,
    questions: &mut Questions<impl io::BufRead, impl io::Write>,
) -> Result<GatewayAddress, CommandError> {
    let at = |domain: &str| format!("kms@{domain}").parse::<GatewayAddress>();
    if let Some(domain) = &arguments.domain {
        return at(domain)
            .map_err(|error| CommandError::other(format_args!("--domain {domain}: {error}")));
    }
    // Only a person can confirm that the machine's domain is meant.
    let proposal = fs::read_to_string(MAIL_NAME)
        .ok()
        .filter(|_| questions.has_somebody());
    questions.ask(
        Question("address", "Address that people write to"),
        None,
        proposal.and_then(|domain| at(domain.trim()).ok()),
    )
}

/// Asks for the KMC's first key.
fn first_key(
    arguments: &Arguments,
    questions: &mut Questions<impl io::BufRead, impl io::Write>,
) -> Result<FirstKey, CommandError> {
    let issuer = Question("issuer", "Issuer in the KMC's identifier");
    let name = Question("name", "Name in the KMC's identifier");
    let expires = Question("expires", "End of the KMC's key, yyyymmddThhmmssZ");
    Ok(FirstKey {
        issuer: questions.ask(issuer, arguments.issuer.clone(), None)?,
        name: questions.ask(name, arguments.name.clone(), "K0001".parse().ok())?,
        expires: questions.ask(expires, arguments.expires, in_three_years())?,
    })
}

/// The lifetime of the standard's own example of a public key.
fn in_three_years() -> Option<StsTime> {
    let now = Timestamp::now().to_zoned_datetime(TimeZone::UTC);
    let day = now.checked_add(3.years()).ok()?.start_of_day().ok()?;
    sts_time(day.timestamp()).ok()
}

/// Whether the database exists and nothing is missing in it. It may be older than the
/// configuration: a purged package can leave the database.
async fn has_complete_database(path: &Path, config: &Config) -> Result<bool, CommandError> {
    if !Store::exists(&config.store).await? {
        return Ok(false);
    }
    let secret = master_secret_file(&config.secrets);
    if config.secrets.is_in_file() && !secret.exists() {
        return Err(CommandError::other(format_args!(
            "{}: exists, but its master secret, {}, does not; put the secret back, or move a \
             database without use away",
            config.store.place(),
            secret.display()
        )));
    }
    if config.kms.socket.is_some() {
        return Ok(true);
    }
    let environment = Environment::open(path, config).await?;
    let keys = environment.store.kmc_keys().await?;
    environment.store.close().await;
    // An earlier run may have been cut short before it made the KMC's key.
    Ok(!keys.is_empty())
}

/// Writes the configuration, which is readable for all: it holds no secret.
fn write_configuration(path: &Path, text: &str) -> Result<(), CommandError> {
    let write = || -> io::Result<()> {
        if let Some(directory) = path.parent() {
            new_file::create_directory(directory, 0o755)?;
        }
        new_file::create(path, 0o644, text.as_bytes())
    };
    write().map_err(|error| CommandError::file(path, "written", &error))
}

/// The commands to run next, for an installed package or for a build.
fn next_commands(path: &Path) -> String {
    let is_packaged = Path::new("/usr/sbin/kms-gateway-postfix").exists();
    let config = match path == Path::new(DEFAULT_CONFIG) {
        true => String::new(),
        false => format!(" --config {}", path.display()),
    };
    let start = match is_packaged {
        true => "systemctl enable --now kms-gateway".to_owned(),
        false => format!("kms-gateway{config} serve"),
    };
    format!(
        "\nNext:\n  \
         1. kms-gateway{config} check\n  \
         2. {start}\n  \
         3. kms-gateway{config} postfix install --dry-run    (if that is right, without --dry-run)\n\n\
         Then add security modules and vending keys: kms-gateway module add --help,\n\
         kms-gateway vending-key --help."
    )
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
