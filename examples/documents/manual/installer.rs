//! kms-gateway-postfix(8): the installer's own help.

use super::page::Page;

const INSTALLER: &str = include_str!("../../../postfix/install");

pub(super) fn page() -> Page {
    let mut page = Page::new(
        "kms-gateway-postfix",
        "8",
        "add the KMS e-mail gateway to Postfix, and take it out again",
    );
    page.heading("DESCRIPTION");
    page.prose(help());
    page.heading("SEE ALSO");
    page.prose("`kms-gateway`(1), `gateway.toml`(5), `master`(5), `postconf`(5)");
    page
}

/// What `--help` prints.
fn help() -> &'static str {
    let after = INSTALLER.split_once("cat <<'END'\n");
    let help = after.and_then(|(_, rest)| rest.split_once("\nEND\n"));
    help.map(|(help, _)| help).unwrap_or_default()
}
