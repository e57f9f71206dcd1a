//! Finds settings that make copies of mail for the gateway. A milter that discards a message
//! discards its copies too, unless `milter.keep_bcc` is set.

use std::fs;

use super::{
    WiringError,
    list::List,
    maps::Maps,
    postconf::Postconf,
    rewriting::{Destination, destination},
};

/// Parameters that make copies with any value but the empty one.
const BCC_PARAMETERS: [&str; 3] = ["always_bcc", "sender_bcc_maps", "recipient_bcc_maps"];

/// Parameters whose tables may have the action `BCC` (header_checks(5)).
const CHECKS: [&str; 5] = [
    "header_checks",
    "mime_header_checks",
    "nested_header_checks",
    "body_checks",
    "milter_header_checks",
];

/// Tables within tables are followed to this depth.
const DEEPEST: usize = 4;

/// All settings that make copies, in words for the admin.
pub(super) fn makers(maps: &Maps, addresses: &[String]) -> Result<Vec<String>, WiringError> {
    let postconf = maps.postconf();
    let mut found = Vec::new();
    for parameter in BCC_PARAMETERS {
        if is_set(postconf, parameter)? {
            found.push(parameter.to_owned());
        }
    }
    for (parameter, value) in tables(postconf)? {
        let copying = copying_tables(postconf, &value, DEEPEST);
        found.extend(copying.map(|map| format!("the action BCC in {map} ({parameter})")));
    }
    for address in addresses {
        if let Destination::Copied { parameter, to } = destination(maps, address, addresses)? {
            found.push(format!("{parameter} ({address} goes to {to} too)"));
        }
    }
    Ok(found)
}

fn is_set(postconf: &Postconf, parameter: &str) -> Result<bool, WiringError> {
    let by_services = postconf.overrides(&format!("*/*/{parameter}"))?;
    Ok(!postconf.value(parameter)?.is_empty() || by_services.values().any(|own| !own.is_empty()))
}

/// The parameters whose values may name tables with actions: header and body checks, smtpd
/// restrictions, and restriction classes.
fn tables(postconf: &Postconf) -> Result<Vec<(String, String)>, WiringError> {
    let settings = postconf.settings()?;
    let classes = settings.get("smtpd_restriction_classes");
    let classes = List::parse(classes.map_or("", String::as_str));
    let has_actions = |parameter: &str| {
        CHECKS.contains(&parameter)
            || (parameter.starts_with("smtpd_") && parameter.ends_with("_restrictions"))
            || classes.elements().any(|class| class == parameter)
    };
    let overrides = postconf.overrides("*/*/*")?;
    let all = settings.into_iter().chain(overrides);
    Ok(all
        .filter(|(name, _)| has_actions(name.rsplit('/').next().unwrap_or(name)))
        .collect())
}

/// The tables in a value that have the action `BCC`.
fn copying_tables<'a>(
    postconf: &'a Postconf,
    value: &str,
    depth: usize,
) -> impl Iterator<Item = String> + 'a {
    let list = List::parse(value);
    let copying = list.elements().filter_map(|element| {
        let inner = element
            .strip_prefix('{')
            .and_then(|element| element.strip_suffix('}'));
        match inner {
            Some(inner) if depth > 0 => copying_tables(postconf, inner, depth - 1).next(),
            _ => has_bcc(&content(postconf, element)).then(|| element.to_owned()),
        }
    });
    copying.collect::<Vec<_>>().into_iter()
}

/// The entries of a table, one a line; empty if they can't be listed.
fn content(postconf: &Postconf, element: &str) -> String {
    let element = element.strip_prefix("proxy:").unwrap_or(element);
    let Some((kind, name)) = element.split_once(':') else {
        return String::new();
    };
    match kind {
        // Plain files. Postfix itself reports a file that can't be read.
        "regexp" | "pcre" | "cidr" | "texthash" => fs::read_to_string(name).unwrap_or_default(),
        "inline" | "static" => format!("{kind} {}", name.replace(['{', '}', '='], " ")),
        "check_policy_service" | "inet" | "unix" => String::new(),
        _ => postconf.content(element).unwrap_or_default(),
    }
}

/// Whether an entry's action is `BCC address`.
fn has_bcc(content: &str) -> bool {
    // A line that begins with a blank continues the entry.
    let content = content.replace("\n ", " ").replace("\n\t", " ");
    let entries = content.lines().filter(|line| !line.starts_with('#'));
    entries.map(str::split_whitespace).any(|words| {
        let words: Vec<&str> = words.skip(1).collect();
        words.windows(2).any(|pair| match pair {
            [action, address] => action.eq_ignore_ascii_case("BCC") && address.contains('@'),
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_bcc_is_seen() {
        for content in [
            "/^Subject: .*KMS/ BCC archive@kms.example.org\n",
            "alice@vendor.example\tbcc archive@kms.example.org\n",
            "192.0.2.0/24 BCC a@b",
            "/^Subject: .*KMS/\n\tBCC a@b",
        ] {
            assert!(has_bcc(content), "{content}");
        }
        for content in [
            "# /x/ BCC a@b\n",
            "/BCC a@b/ REJECT\n",
            "bcc a@b\n",
            "/x/ WARN BCC\n",
        ] {
            assert!(!has_bcc(content), "{content}");
        }
    }
}
