//! kms-gateway-postfix(8): the installer by its own name, as its help has it.

use clap::CommandFactory;
use kms_gateway::commands::Alone;

use super::{
    command::{options, usage},
    page::Page,
};

pub(super) fn page() -> Page {
    let mut command = Alone::command();
    command.build();
    let mut page = Page::new(
        "kms-gateway-postfix",
        "8",
        "add the KMS e-mail gateway to Postfix, and take it out again",
    );
    page.heading("SYNOPSIS");
    page.prose(&usage(&command));
    page.heading("DESCRIPTION");
    let about = command.get_long_about().or(command.get_about());
    page.prose(&about.map(ToString::to_string).unwrap_or_default());
    page.heading("OPTIONS");
    page.without_headings(&options(&command));
    page.heading("SEE ALSO");
    page.prose("`kms-gateway`(1), `gateway.toml`(5), `master`(5), `postconf`(5)");
    page
}
