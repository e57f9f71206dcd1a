//! `init`: a new installation. Configuration, master secret, database and the
//! KMC's key, each made where it isn't there yet, so that a run that was cut
//! short is finished by another. `serve` makes none of it: what is missing then
//! was lost.

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
    CommandError, DEFAULT_CONFIG, Ending, clock,
    environment::{DEFAULT_MASTER_SECRET, Environment, master_secret_file, sts_time},
    kmc::{FirstKey, create_master_secret},
    milter_port,
    standard_output::Steps,
};
use crate::{
    clock::SystemClock,
    config::{Config, GatewayAddress, ListenAddress},
    kms::{Curve, KmsTables as _, PrivateKey},
    new_file,
    sts::{Ident, StsTime},
};

/// The configuration as it is shipped, each key with its default.
const TEMPLATE: &str = include_str!("../../postfix/gateway.toml");

/// Where Debian writes the domain of the machine's mail.
const MAIL_NAME: &str = "/etc/mailname";

/// Set up a new installation: configuration, master secret, database, KMC key.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks for what is not given, if there is somebody at a terminal, and proposes
what most want; without one it takes the proposals, and needs an address (or a
domain) and an issuer. Nothing that is there is changed: with a configuration
that is there already, its own address, paths and key management system count.
Run by root, what it makes belongs to the owner of the database's directory, and
the directory of the milter's socket to Postfix's group as well.

Example:
  kms-gateway init --address kms@example.org --issuer Example")]
pub(super) struct Arguments {
    /// Address that people write to; once for each.
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<GatewayAddress>,
    /// Domain of the mail; kms@DOMAIN is the address then.
    #[arg(long, conflicts_with = "address")]
    domain: Option<String>,
    /// Database file to make.
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// Master secret's file, made if it isn't there.
    #[arg(long, value_name = "FILE")]
    master_secret_file: Option<PathBuf>,
    /// Where Postfix reaches the gateway, unix:PATH or inet:HOST:PORT; by default a
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
    /// When the KMC's key expires, yyyymmddThhmmssZ; in three years if it isn't
    /// given.
    #[arg(long, value_name = "TIME")]
    expires: Option<StsTime>,
}

pub(super) async fn run(path: &Path, arguments: &Arguments) -> Result<Ending, CommandError> {
    let mut questions = Questions::of_terminal();
    // All is asked and checked before anything is written.
    let configuration = Configuration::of(path, arguments, &mut questions)?;
    let config = configuration.config();
    let database = Database::of(path, config).await?;
    if let (Configuration::Present(_), Database::Complete) = (&configuration, &database) {
        return Err(finished(config));
    }
    let first_key = match (&database, &config.kms.socket) {
        (Database::Complete, _) | (_, Some(_)) => None,
        (Database::Missing | Database::WithoutKey, None) => {
            Some(first_key(arguments, &mut questions)?)
        }
    };
    let mut steps = Steps::begin();
    if let Configuration::New { text, .. } = &configuration {
        write_configuration(path, text)?;
        steps.done([format!("configuration: {}", path.display())]);
    }
    steps.done(create_master_secret(config)?);
    let environment = Environment::open(path, config).await?;
    steps.done([format!("database:      {}", config.store.path.display())]);
    // Or the time until `serve` first starts would look like a clock set forward.
    let clock = clock::watched(Arc::new(SystemClock), &environment.store).await?;
    environment.store.keep_clock_record(clock.record()).await?;
    if let Some(key) = first_key {
        let private_key = PrivateKey::generate(arguments.curve.unwrap_or(Curve::P384))?;
        steps.done(key.add_to(&environment, &private_key).await?);
    }
    environment.store.close().await;
    steps.done(milter_port::make_directory(config)?);
    steps.done([next_commands(path)]);
    steps.end().map(|()| Ending::Done)
}

/// The installation's configuration.
enum Configuration {
    Present(Config),
    New { config: Config, text: String },
}

impl Configuration {
    fn of(
        path: &Path,
        arguments: &Arguments,
        questions: &mut Questions<impl io::BufRead, impl io::Write>,
    ) -> Result<Self, CommandError> {
        if !path.exists() {
            let text = new_configuration(path, arguments, questions)?;
            let config = Config::parse(path, &text)?;
            return Ok(Self::New { config, text });
        }
        if arguments.is_about_configuration() {
            return Err(CommandError::other(format_args!(
                "{}: is there already, so that its address, paths and key management system count; \
                 change them by kms-gateway config set, or move the file away",
                path.display()
            )));
        }
        Ok(Self::Present(Config::load(path)?))
    }

    fn config(&self) -> &Config {
        match self {
            Self::Present(config) | Self::New { config, .. } => config,
        }
    }
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

/// The text of the configuration that was asked for.
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
        &Question {
            option: "database",
            text: "Database file",
        },
        arguments.database.as_deref().map(shown),
        Some(shown(&crate::config::Store::default().path)),
    )?;
    let master_secret_file = questions.ask(
        &Question {
            option: "master-secret-file",
            text: "Master secret's file",
        },
        arguments.master_secret_file.as_deref().map(shown),
        Some(DEFAULT_MASTER_SECRET.to_owned()),
    )?;
    let milter_listen = questions.ask(
        &Question {
            option: "milter-listen",
            text: "Where Postfix reaches the gateway",
        },
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
    // Only a person can tell whether the machine's domain is meant.
    let proposal = fs::read_to_string(MAIL_NAME)
        .ok()
        .filter(|_| questions.has_somebody());
    questions.ask(
        &Question {
            option: "address",
            text: "Address that people write to",
        },
        None,
        proposal.and_then(|domain| at(domain.trim()).ok()),
    )
}

/// The key that the KMC begins with.
fn first_key(
    arguments: &Arguments,
    questions: &mut Questions<impl io::BufRead, impl io::Write>,
) -> Result<FirstKey, CommandError> {
    let issuer = Question {
        option: "issuer",
        text: "Issuer in the KMC's identifier",
    };
    let name = Question {
        option: "name",
        text: "Name in the KMC's identifier",
    };
    let expires = Question {
        option: "expires",
        text: "End of the KMC's key, yyyymmddThhmmssZ",
    };
    Ok(FirstKey {
        issuer: questions.ask(&issuer, arguments.issuer.clone(), None)?,
        name: questions.ask(&name, arguments.name.clone(), "K0001".parse().ok())?,
        expires: questions.ask(&expires, arguments.expires, in_three_years())?,
    })
}

/// As long as the standard's own example of a public key is good for.
fn in_three_years() -> Option<StsTime> {
    let now = Timestamp::now().to_zoned_datetime(TimeZone::UTC);
    let day = now.checked_add(3.years()).ok()?.start_of_day().ok()?;
    sts_time(day.timestamp()).ok()
}

/// What there is of the database.
enum Database {
    Missing,
    /// Its key was not made: a run was cut short.
    WithoutKey,
    /// It needs nothing, and may be older than the configuration: a package
    /// that is purged can leave it.
    Complete,
}

impl Database {
    async fn of(path: &Path, config: &Config) -> Result<Self, CommandError> {
        let file = &config.store.path;
        if !file.exists() {
            return Ok(Self::Missing);
        }
        let secret = master_secret_file(&config.secrets);
        if config.secrets.is_in_file() && !secret.exists() {
            return Err(CommandError::other(format_args!(
                "{}: is there, but not its master secret, {}: put that back, or move the database \
                 away if it is of no use",
                file.display(),
                secret.display()
            )));
        }
        if config.kms.socket.is_some() {
            return Ok(Self::Complete);
        }
        let environment = Environment::open(path, config).await?;
        let keys = environment.store.kmc_keys().await?;
        environment.store.close().await;
        match keys.is_empty() {
            true => Ok(Self::WithoutKey),
            false => Ok(Self::Complete),
        }
    }
}

fn finished(config: &Config) -> CommandError {
    CommandError::other(format_args!(
        "{}: is there already; nothing is left to be set up. For another installation give another \
         --config, or move this file away if it is of no use",
        config.store.path.display()
    ))
}

/// There is no secret in it. The directory may be the only thing that keeps
/// others out.
fn write_configuration(path: &Path, text: &str) -> Result<(), CommandError> {
    let write = || -> io::Result<()> {
        if let Some(directory) = path.parent() {
            new_file::create_directory(directory, 0o755)?;
        }
        new_file::create(path, 0o644, text.as_bytes())
    };
    write().map_err(|error| CommandError::file(path, "written", &error))
}

/// What is to be done next, as the package has it or as the sources have.
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
         3. kms-gateway{config} postfix install --dry-run    (without --dry-run once you like what it says)\n\n\
         Security modules and vending keys come after that: kms-gateway module add --help,\n\
         kms-gateway vending-key --help."
    )
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
