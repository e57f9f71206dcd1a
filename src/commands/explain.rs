//! `explain`: shows how a message would be judged, rule by rule, without any side
//! effect.

mod mailbox;
mod received;
mod table;
mod today;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub(super) use self::today::RulesToday;
use self::{
    mailbox::{Mailbox, Piece},
    received::{Received, received},
    table::{Row, Style},
};
use super::{
    CommandError, input,
    standard_output::{write_json, write_lines},
};
use crate::{
    config::Config,
    gateway::{
        GatewayError,
        environment::{blocklists, gateway_addresses, missing_store, policy_settings},
        installation::installation,
        key_management,
    },
    kms::{Issue, IssueQuestion, Kms, KmsError, PublicKeyAnswer, Refusal, Update, UpdateQuestion},
    mail::{
        Address, Client, GatewayAddresses, Message, Outcome, Request, ReversePath, ServiceCode,
        parse_subject,
    },
    policy::{self, Asked, Envelope, Facts, Judgement, Listener, dnsbl::Score},
    printable::Printable,
    request_id::RequestId,
    services::{self, Call},
    sts::{VkloadReq, single_in_mail},
};

/// Show how a message would be judged and why, rule by rule, without any side effect.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --mail-from the reverse path is the message's Return-Path, else its
From. Without --rcpt-to the recipient is the gateway. DNS blocklists are asked
only with --dns, and only if --client-ip is given. Each message of an mbox is
explained.

The message is read as Postfix hands it to the gateway: a line that is no field
ends the header, and a field is cut after 60,000 octets. The table has colours
on a terminal, unless NO_COLOR is set.

Example:
  kms-gateway explain --client-ip 192.0.2.1 --dns message.eml")]
pub(super) struct Arguments {
    /// The SMTP client's address.
    #[arg(long, value_name = "IP")]
    client_ip: Option<IpAddr>,
    /// The reverse path; <> for the null one.
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    mail_from: Option<String>,
    /// An envelope recipient; may be given more than once.
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    rcpt_to: Vec<String>,
    /// Ask the DNS blocklists about the client's address.
    #[arg(long)]
    dns: bool,
    /// Print a JSON object; for an mbox an array of objects.
    #[arg(long)]
    json: bool,
    /// The message or mbox, or - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) async fn run(path: &Path, arguments: &Arguments) -> Result<(), CommandError> {
    let config = Config::load(path)?;
    let unreadable = |error| CommandError::file(&arguments.file, "read", &error);
    let mut mailbox =
        Mailbox::new(input::open(&arguments.file)?, kept_bytes(&config)).map_err(unreadable)?;
    let settings = policy_settings(&config);
    let client = Client {
        address: arguments.client_ip.map(|address| address.to_canonical()),
        authenticated: false,
    };
    let explainer = Explainer {
        path,
        config: &config,
        arguments,
        client,
        dnsbl: ask_blocklists(&config, &settings, &client, arguments.dns).await?,
        settings,
        kms: OnceCell::new(),
    };
    let style = Style::of_stdout();
    let mut objects = Vec::new();
    let mut number = 0;
    while let Some(piece) = mailbox.next_message().map_err(unreadable)? {
        number += 1;
        let explanation = explainer.explain(&piece).await?;
        match (arguments.json, mailbox.is_mbox()) {
            (true, _) => objects.push(explanation.json()),
            (false, false) => write_lines(explanation.lines(style))?,
            (false, true) => {
                let title = format!("message {number}: {}", Printable(&explanation.title));
                let lines = explanation.lines(style).into_iter();
                write_lines([title].into_iter().chain(lines).chain([String::new()]))?;
            }
        }
        if !mailbox.is_mbox() {
            break;
        }
    }
    if arguments.json {
        let json = match (mailbox.is_mbox(), objects.pop()) {
            (false, Some(object)) => object,
            (_, last) => objects.into_iter().chain(last).collect(),
        };
        write_json(&json)?;
    }
    Ok(())
}

/// How many bytes of a message are kept: as many as the rules look at. The milter
/// keeps no more either.
fn kept_bytes(config: &Config) -> usize {
    const SLACK: usize = 64 * 1024;
    usize::try_from(config.policy.max_message_bytes)
        .unwrap_or(usize::MAX)
        .max(config.policy.max_header_bytes)
        .saturating_add(SLACK)
}

/// Asks the blocklists about the client, if `dns` is set. As in the milter, nothing is
/// asked about a trusted client.
async fn ask_blocklists(
    config: &Config,
    settings: &policy::Settings,
    client: &Client,
    dns: bool,
) -> Result<Option<Score>, CommandError> {
    let Some(address) = client.address.filter(|_| dns && !settings.trusts(client)) else {
        return Ok(None);
    };
    match blocklists(&config.dnsbl)? {
        Some(blocklists) => Ok(Some(blocklists.ask(address).await)),
        None => Ok(None),
    }
}

struct Explanation {
    /// The decoded Subject.
    title: String,
    rows: Vec<Row>,
    judgement: Judgement,
    /// The addresses that would be answered. Empty unless the message is a request.
    reply_to: Vec<Address>,
    service: Option<ServiceCode>,
    /// A request's foretold answer, or the reason why it can't be foretold.
    answer: Option<Result<Outcome, String>>,
}

/// Makes explanations by one configuration and command line.
struct Explainer<'a> {
    path: &'a Path,
    config: &'a Config,
    arguments: &'a Arguments,
    settings: policy::Settings,
    client: Client,
    /// None if the blocklists were not asked.
    dnsbl: Option<Score>,
    /// Opened when the first request needs it.
    kms: OnceCell<Box<dyn Kms>>,
}

impl Explainer<'_> {
    async fn explain(&self, piece: &Piece) -> Result<Explanation, CommandError> {
        let addresses = gateway_addresses(self.config);
        let Received { message, size } = received(&piece.bytes);
        // A message that was not kept whole counts with its size in the file.
        let is_whole = piece.size == piece.bytes.len() as u64;
        let size = if is_whole { size } else { piece.size };
        let headers = &message.headers;
        let reverse_path = match &self.arguments.mail_from {
            Some(given) => ReversePath::from_smtp(given),
            None => ReversePath::of_delivered(headers),
        };
        let recipients = recipients(self.arguments, self.config)?;
        let facts = Facts {
            envelope: Envelope {
                listener: Listener::Outer,
                client: self.client,
                reverse_path: &reverse_path,
                recipients: &recipients,
                gateway: &addresses,
                dnsbl: self.dnsbl.as_ref(),
            },
            headers,
            structure: &message.structure(),
            size,
            settings: &self.settings,
        };
        let judgement = policy::judge(&facts);
        let mut reply_to = Vec::new();
        let mut answer = None;
        if let Some(asked) = judgement.asked() {
            answer = Some(self.foretell(&addresses, &message, asked).await);
            reply_to = asked.targets.answered.clone();
            if self.is_of_a_stranger(&message, asked).await {
                reply_to.truncate(1);
            }
        }
        let subject = headers.first("Subject").map(|subject| subject.decoded());
        Ok(Explanation {
            rows: Row::all(&facts),
            judgement,
            reply_to,
            service: subject
                .as_ref()
                .and_then(|subject| parse_subject(subject).ok()),
            title: subject.unwrap_or_default(),
            answer,
        })
    }

    /// The service's answer at this time. Issues nothing.
    async fn foretell(
        &self,
        addresses: &GatewayAddresses,
        message: &Message,
        asked: &Asked,
    ) -> Result<Outcome, String> {
        let request = Request::from_message(message, addresses, asked.targets.answered.clone())
            .map_err(|error| error.to_string())?;
        let id = RequestId::random().map_err(|error| error.to_string())?;
        let kms = self.kms().await;
        let now = Timestamp::now();
        services::foretell(Call {
            kms,
            installation: &installation(self.config),
            id: &id,
            request: &request,
            // Affects only the length of a help reply.
            may_be_forged: false,
            accepted_at: now,
            now,
        })
        .await
        .map_err(|error| error.to_string())
    }

    async fn kms(&self) -> &dyn Kms {
        let open = || open_kms(self.path, self.config);
        self.kms.get_or_init(open).await.as_ref()
    }

    /// Whether nothing vouches for the sender. Without a given client, something does.
    async fn is_of_a_stranger(&self, message: &Message, asked: &Asked) -> bool {
        let is_vouched_for = self.client.address.is_none()
            || self.settings.trusts(&self.client)
            || asked.authenticated.is_some();
        if is_vouched_for || asked.service != ServiceCode::GetKlfStsEd2 {
            return !is_vouched_for;
        }
        let body = message.structure().plain_text().unwrap_or_default();
        let Ok(record) = single_in_mail::<VkloadReq>(&body) else {
            return true;
        };
        let of_module = self.kms().await.is_from_module(&record, Timestamp::now());
        !matches!(of_module.await, Ok(true))
    }
}

fn recipients(arguments: &Arguments, config: &Config) -> Result<Vec<Address>, CommandError> {
    if arguments.rcpt_to.is_empty() {
        let first = config.gateway.addresses.first();
        return Ok(first.map(|address| address.0.clone()).into_iter().collect());
    }
    let recipients = arguments.rcpt_to.iter().map(|text| {
        today::address(text).map_err(|error| {
            CommandError::other(format!("--rcpt-to {text}: {error}; write local@domain"))
        })
    });
    recipients.collect()
}

/// Opens the key management system. If this user can't open the embedded one's keys,
/// the answers that need them can't be foretold.
async fn open_kms(path: &Path, config: &Config) -> Box<dyn Kms> {
    if let Some(kms) = key_management::remote(config) {
        return Box::new(kms);
    }
    // Opening the keys would make a missing database.
    let opened = match missing_store(config).await {
        Ok(None) => key_management::embedded(path, config).await,
        Ok(Some(missing)) => Err(GatewayError::other(missing)),
        Err(error) => Err(error),
    };
    match opened {
        Ok(kms) => Box::new(kms),
        Err(error) => Box::new(NoKms(error.to_string())),
    }
}

/// Stands for keys that can't be opened, and answers every question with the reason.
struct NoKms(String);

#[async_trait]
impl Kms for NoKms {
    async fn public_key(&self, _: Timestamp) -> Result<PublicKeyAnswer, KmsError> {
        Err(KmsError::Unavailable(self.0.clone()))
    }

    async fn issue(&self, _: &IssueQuestion) -> Result<Issue, KmsError> {
        Err(KmsError::Unavailable(self.0.clone()))
    }

    async fn foretell(&self, _: &IssueQuestion) -> Result<Option<Refusal>, KmsError> {
        Err(KmsError::Unavailable(self.0.clone()))
    }

    async fn is_from_module(&self, _: &VkloadReq, _: Timestamp) -> Result<bool, KmsError> {
        Err(KmsError::Unavailable(self.0.clone()))
    }

    async fn update(&self, _: &UpdateQuestion) -> Result<Update, KmsError> {
        Err(KmsError::Unavailable(self.0.clone()))
    }
}

impl Explanation {
    fn reason(&self) -> &str {
        self.judgement.reason().unwrap_or("no rule matches")
    }

    fn reply_to(&self) -> Vec<String> {
        self.reply_to.iter().map(ToString::to_string).collect()
    }

    fn json(&self) -> Value {
        json!({
            "verdict": self.judgement.verdict().as_str(),
            "rule": self.judgement.rule().map(policy::RuleName::as_str),
            "reason": self.reason(),
            "service": self.service.as_ref().map(ToString::to_string),
            "reply_to": self.reply_to(),
            "answer": self.answer.as_ref().and_then(|answer| answer.as_ref().ok()).map(answer_json),
        })
    }

    fn lines(&self, style: Style) -> Vec<String> {
        let judgement = &self.judgement;
        let rule = judgement.rule().map(|rule| format!("rule:    {rule}"));
        let service = self.service.as_ref().map(ToString::to_string);
        let service = service.map(|service| format!("service: {}", Printable(&service)));
        let replies = || format!("replies: {}", Printable(&self.reply_to().join(", ")));
        let replies = judgement.asked().map(|_| replies());
        let mut lines = table::lines(&self.rows, style);
        lines.push(String::new());
        lines.push(format!("verdict: {}", judgement.verdict()));
        lines.extend(rule);
        lines.push(format!("reason:  {}", self.reason()));
        lines.extend(service.into_iter().chain(replies));
        lines.extend(self.answer_line());
        lines
    }

    fn answer_line(&self) -> Option<String> {
        Some(match self.answer.as_ref()? {
            Ok(Outcome::Error {
                code, description, ..
            }) => format!("answer:  Error {code}: {}", Printable(description)),
            Ok(_) => "answer:  Success".to_owned(),
            Err(reason) => format!("answer:  can't be foretold: {}", Printable(reason)),
        })
    }
}

fn answer_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Success { .. } => json!({"result": "Success"}),
        Outcome::Error { code, .. } => json!({"result": "Error", "code": code.as_str()}),
        Outcome::Notice { code, .. } => json!({"result": "Notice", "code": code.as_str()}),
    }
}
