//! The command line: one file a subcommand. Parses arguments, calls the parts and
//! shows their results; decides nothing itself.

mod audit;
mod backup;
mod check;
mod config;
mod confirmation;
mod ending;
mod error;
mod explain;
mod form;
mod hardening;
mod init;
mod input;
mod kmc;
mod module;
mod named;
mod named_service;
mod operator;
mod placed;
mod postfix;
mod prompt;
mod queue;
mod record;
mod registration;
mod secret;
mod security_module;
mod senders;
mod serve;
mod standard_error;
mod standard_output;
mod store;
mod table;
mod update;
mod vending_key;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use self::config::DEFAULT_CONFIG;
pub(crate) use self::ending::Ending;
pub(crate) use self::error::CommandError;
pub use self::postfix::Alone;

/// KMS e-mail gateway (STS600-9-2) as a Postfix milter.
#[derive(Debug, Parser)]
#[command(name = "kms-gateway", version, max_term_width = 100)]
pub struct Arguments {
    /// Configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

impl Arguments {
    /// Parses the command line of `kms-gateway` or of `kms-gateway-postfix`.
    fn read(words: Vec<OsString>) -> Result<Self, clap::Error> {
        let is_installer = words
            .first()
            .is_some_and(|program| Alone::is_meant(program.as_ref()));
        if !is_installer {
            return Self::try_parse_from(words);
        }
        let (config, action) = Alone::try_parse_from(words)?.action();
        Ok(Self {
            config,
            command: Command::Postfix(action),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Check(check::Arguments),
    /// The configuration file: print the value of a key, or set it.
    #[command(subcommand)]
    Config(config::Action),
    Explain(explain::Arguments),
    Record(record::Arguments),
    Backup(backup::Arguments),
    /// The database: move it to the other engine.
    #[command(subcommand)]
    Store(store::Action),
    /// Requests and replies that wait.
    #[command(subcommand)]
    Queue(queue::Action),
    /// The audit log.
    #[command(subcommand)]
    Audit(audit::Action),
    /// Senders that sent too many requests.
    #[command(subcommand)]
    Senders(senders::Action),
    Init(init::Arguments),
    /// The gateway in Postfix's main.cf and master.cf: add, remove, compare.
    #[command(subcommand)]
    Postfix(postfix::Action),
    /// The key management centre's own key.
    #[command(subcommand)]
    Kmc(kmc::Action),
    /// Security modules registered at the key management centre.
    #[command(subcommand)]
    Module(module::Action),
    /// Vending keys.
    #[command(subcommand)]
    VendingKey(vending_key::Action),
    /// The master secret, under which every stored key is sealed.
    #[command(subcommand)]
    Secret(secret::Action),
    /// A software security module: makes requests and opens key load files.
    #[command(subcommand)]
    Sm(security_module::Action),
    /// Security-module update files, made by the STS Association.
    #[command(subcommand)]
    Update(update::Action),
}

/// Runs a command line. `words` includes the program's name. Exit codes: 0 done, 1 a
/// problem, 2 usage.
#[must_use]
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::read(words.into_iter().collect()) {
        Ok(arguments) => arguments,
        Err(shown) if shown.use_stderr() => {
            // A failure to print can't be reported anywhere.
            let _ = shown.print();
            return ExitCode::from(2);
        }
        Err(help) => return exit_code(show(&help)),
    };
    // A command ends when its reader does (`| head`), as other programs do. The
    // service goes on without its log.
    if !matches!(arguments.command, Command::Serve(_)) {
        sigpipe::reset();
    }
    let ended = hardening::keep_secrets_in().and_then(|()| dispatch(arguments));
    exit_code(ended)
}

/// Prints the requested help or version.
fn show(help: &clap::Error) -> Result<Ending, CommandError> {
    let printed = help.print().and_then(|()| io::stdout().flush());
    printed.or_else(standard_output::excused)?;
    Ok(Ending::Done)
}

fn exit_code(ended: Result<Ending, CommandError>) -> ExitCode {
    match ended {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::ProblemFound | Ending::Failed) => ExitCode::from(1),
        Err(error) => {
            standard_error::write_line(format_args!("kms-gateway: {error}"));
            ExitCode::from(match error {
                CommandError::Usage(_) => 2,
                _ => 1,
            })
        }
    }
}

#[tokio::main]
async fn dispatch(arguments: Arguments) -> Result<Ending, CommandError> {
    let config = arguments.config;
    match arguments.command {
        Command::Serve(arguments) => return serve::run(&config, &arguments).await,
        Command::Check(arguments) => return check::run(&config, &arguments).await,
        Command::Record(arguments) => return record::run(&arguments),
        Command::Audit(action) => return audit::run(&config, action).await,
        Command::Postfix(action) => return postfix::run(&config, action),
        Command::Config(action) => config::run(&config, action)?,
        Command::Explain(arguments) => explain::run(&config, &arguments).await?,
        Command::Backup(arguments) => backup::run(&config, &arguments).await?,
        Command::Store(action) => store::run(&config, action).await?,
        Command::Queue(action) => queue::run(&config, action).await?,
        Command::Senders(action) => senders::run(&config, action).await?,
        Command::Init(arguments) => init::run(&config, &arguments).await?,
        Command::Kmc(action) => kmc::run(&config, action).await?,
        Command::Module(action) => module::run(&config, action).await?,
        Command::VendingKey(action) => vending_key::run(&config, action).await?,
        Command::Secret(action) => secret::run(&config, action).await?,
        Command::Sm(action) => security_module::run(action)?,
        Command::Update(action) => update::run(&action)?,
    }
    Ok(Ending::Done)
}
