//! Tests of the policy as a whole: rules, lists, the corpus, hostile input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod authentication;
mod corpus;
mod dnsbl;
mod fields;
mod hostile;
mod lists;
mod marks;
mod reports;
mod rules;
mod senders;
mod table;

use std::net::IpAddr;

use crate::mail::{Address, Client, GatewayAddresses, Message, ReversePath};

use super::dnsbl::Score;
use super::{Envelope, Facts, Judgement, Listener, RuleName, Settings, Verdict, judge};

/// The gateway of the tests, and a second address of it.
const GATEWAY: &str = "gateway@kms.example.org";
const ALIAS: &str = "kmc@keys.example.org";

/// A message and how it came. As made by [`Mail::request`] an honest request.
#[derive(Clone, Debug)]
struct Mail {
    listener: Listener,
    client: Client,
    dnsbl: Option<Score>,
    reverse_path: String,
    recipients: Vec<String>,
    fields: Vec<(String, String)>,
    body: String,
    settings: Settings,
}

impl Mail {
    fn request() -> Self {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Mail {
            listener: Listener::Outer,
            client: Client {
                address: Some(IpAddr::from([192, 0, 2, 9])),
                authenticated: false,
            },
            dnsbl: None,
            reverse_path: "<jane@vendor.example>".to_owned(),
            recipients: vec![GATEWAY.to_owned()],
            fields: vec![
                field(
                    "Received",
                    "from a.example by b.example; Thu, 4 Jun 2026 09:00:00 +0200",
                ),
                field("From", "Jane Dlamini <jane@vendor.example>"),
                field("To", GATEWAY),
                field("Subject", "{KMS:Help} order-17"),
                field("Message-ID", "<17@vendor.example>"),
            ],
            body: "Regards,\nJane\n".to_owned(),
            settings: Settings::default(),
        }
    }

    /// Adds a field.
    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes the fields of that name out.
    fn without(mut self, name: &str) -> Self {
        self.fields
            .retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self
    }

    /// Puts one field in place of those of that name.
    fn having(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    fn returning_to(mut self, reverse_path: &str) -> Self {
        self.reverse_path = reverse_path.to_owned();
        self
    }

    fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        text.push_str(&self.body);
        text.into_bytes()
    }

    fn look<T>(&self, look: impl FnOnce(&Facts<'_>) -> T) -> T {
        let bytes = self.bytes();
        let message = Message::from_bytes(&bytes);
        let structure = message.structure();
        let recipients: Vec<Address> = self
            .recipients
            .iter()
            .map(|recipient| recipient.parse().unwrap())
            .collect();
        let reverse_path = ReversePath::from_smtp(&self.reverse_path);
        let gateway = gateway();
        look(&Facts {
            envelope: Envelope {
                listener: self.listener,
                client: self.client,
                reverse_path: &reverse_path,
                recipients: &recipients,
                gateway: &gateway,
                dnsbl: self.dnsbl.as_ref(),
            },
            headers: &message.headers,
            structure: &structure,
            size: u64::try_from(bytes.len()).unwrap(),
            settings: &self.settings,
        })
    }

    fn judge(&self) -> Judgement {
        self.look(judge)
    }

    #[track_caller]
    fn is_answered(&self) {
        let judgement = self.judge();
        assert_eq!(
            judgement.verdict(),
            Verdict::Request,
            "{judgement:?}\n{self:?}"
        );
    }

    /// Asserts that it is ignored by that rule, and gives the reason.
    #[track_caller]
    fn is_ignored_by(&self, rule: RuleName) -> String {
        let judgement = self.judge();
        assert_eq!(
            judgement.verdict(),
            Verdict::Ignore,
            "{judgement:?}\n{self:?}"
        );
        assert_eq!(judgement.rule(), Some(rule), "{judgement:?}\n{self:?}");
        judgement.reason().unwrap().to_owned()
    }
}

fn gateway() -> GatewayAddresses {
    let own = [GATEWAY, ALIAS].map(|address| address.parse().unwrap());
    GatewayAddresses::new(own.to_vec(), "+")
}
