//! kms-gateway-policy(7): the rules, the services and the result codes, from
//! their tables.

use clap_mangen::roff::{bold, italic, roman};
use kms_gateway::{
    mail::{CodeKind, RESULT_CODES},
    policy::{RULES, Stage},
    services::SERVICES,
};

use super::page::Page;

pub(super) fn page() -> Page {
    let mut page = Page::new(
        "kms-gateway-policy",
        "7",
        "what the KMS e-mail gateway does with a message, and what its replies say",
    );
    describe_rules(&mut page);
    describe_services(&mut page);
    describe_result_codes(&mut page);
    page.heading("SEE ALSO");
    page.prose("`kms-gateway`(1), `gateway.toml`(5)");
    page
}

fn describe_rules(page: &mut Page) {
    page.heading("RULES");
    page.prose(
        "The rules are looked at in this order, and the first that matches decides. Mail that \
         none matches is a request. `kms-gateway check` prints the rules with the settings in \
         force, `kms-gateway explain` shows them at work on a message.",
    );
    for rule in RULES {
        let stage = match rule.stage() {
            Stage::Recipient => "at RCPT",
            Stage::EndOfMessage => "at the end of the message",
        };
        let name = vec![bold(rule.name.as_str()), roman(format!(" ({stage})"))];
        page.item(
            [name],
            &format!("{}.\n\n{}", capitalised(rule.summary), rule.source),
        );
    }
}

fn describe_services(page: &mut Page) {
    page.heading("SERVICES");
    page.prose("A request asks for one of these at the start of its Subject.");
    for service in &SERVICES {
        page.item(
            [vec![bold(service.code.to_string())]],
            &format!(
                "{}.\n\nTo send: {}\n\nIn return: {}",
                service.function, service.request, service.response
            ),
        );
    }
}

fn describe_result_codes(page: &mut Page) {
    page.heading("RESULT CODES");
    page.prose(
        "A reply says in its header X-Gateway-Result how its request ended: `Success`, or `Error` \
         with a code. A `Notice` is not final, more mail follows.",
    );
    for row in RESULT_CODES {
        let kind = match row.kind {
            CodeKind::Error => "Error",
            CodeKind::Notice => "Notice",
        };
        let name = vec![italic(kind), roman(" "), bold(row.code)];
        page.item([name], &format!("{}.", row.description()));
    }
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|letter| letter.to_uppercase());
    first.into_iter().flatten().chain(rest).collect()
}
