//! Warnings and notes about the site's own settings, the same in the installer and in the
//! check.

use std::{
    collections::BTreeSet,
    fmt::{self, Display, Formatter},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    WiringError,
    list::List,
    maps::Maps,
    needs::{Listeners, Wiring},
    ports::Port,
    rewriting::{Destination, destination, entry},
    services::TRANSPORT,
};
use crate::config::Config;

/// A difference between Postfix's configuration and the gateway's needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// The file, the setting and its effect.
    pub(crate) found: String,
    /// The command or edit that ends the difference, as an order to the admin.
    pub(crate) remedy: String,
}

impl Difference {
    pub(super) fn new(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.found, self.remedy)
    }
}

/// Warnings about settings that the installer leaves to the admin.
pub(super) fn warnings(
    maps: &Maps,
    config: &Config,
    wiring: Wiring,
    listeners: &Listeners,
) -> Vec<Difference> {
    let mut found = Vec::new();
    if wiring == Wiring::Edge && !maps.value("smtpd_milter_maps").is_empty() {
        found.push(Difference::new(
            "main.cf: smtpd_milter_maps is set: clients that it names do not pass the gateway",
            "their mail for the gateway goes by the transport; if that is not intended, take them out of the map",
        ));
    }
    let addresses: Vec<String> = config
        .gateway
        .addresses
        .iter()
        .map(|own| own.0.to_string())
        .collect();
    let of_address = |address: &String| address_warnings(maps, address, &addresses);
    let mut asked: Vec<_> = addresses.iter().map(of_address).collect();
    if wiring == Wiring::Edge {
        asked.push(filter_warnings(maps, listeners));
    }
    for answer in asked {
        match answer {
            Ok(warnings) => found.extend(warnings),
            Err(error) => found.push(unreadable(&error)),
        }
    }
    found.extend(network_warning(maps, config));
    found.extend(queue_warnings(maps));
    found
}

/// Warns of smtpd services on loopback by which a content filter returns mail, if they have
/// the gateway's milter. The client there is the filter: the gateway would take strangers
/// for this machine.
fn filter_warnings(maps: &Maps, listeners: &Listeners) -> Result<Vec<Difference>, WiringError> {
    const FILTERS: [&str; 2] = ["content_filter", "smtpd_proxy_filter"];
    let overrides = maps.postconf().overrides("*/*/*")?;
    let is_used = FILTERS.iter().any(|parameter| {
        let (mut own, suffix) = (overrides.iter(), format!("/{parameter}"));
        !maps.value(parameter).is_empty()
            || own.any(|(name, value)| name.ends_with(&suffix) && !value.is_empty())
    });
    // A service that sends its own mail to a filter is not the one that takes it back.
    let has_filter = |name: &str| {
        FILTERS.iter().any(|parameter| {
            let own = overrides.get(&format!("{name}/inet/{parameter}"));
            !own.map_or(maps.value(parameter), String::as_str).is_empty()
        })
    };
    let on_loopback = listeners
        .filtered
        .iter()
        .filter(|name| is_used && Port::parse(name).is_on_loopback() && !has_filter(name));
    let warning = |name: &String| {
        Difference::new(
            format!(
                "master.cf: the smtpd service {name} has the gateway's milter: mail that a \
                 content filter returns by it would seem to come from this machine"
            ),
            format!(
                "postconf -P '{name}/inet/smtpd_milters='; its mail for the gateway goes by the transport then"
            ),
        )
    };
    Ok(on_loopback.map(warning).collect())
}

/// Notes about settings that change what the gateway sees, and are no fault.
pub(super) fn notes(maps: &Maps) -> Vec<String> {
    const REWRITING: [&str; 3] = [
        "masquerade_domains",
        "sender_canonical_maps",
        "canonical_maps",
    ];
    let set: Vec<&str> = REWRITING
        .into_iter()
        .filter(|parameter| !maps.value(parameter).is_empty())
        .collect();
    if set.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "main.cf: {} rewrites addresses of local senders before the gateway sees them: their \
         replies go to the address that it makes",
        set.join(", ")
    )]
}

/// Warnings about parameters of the queue manager and of master(8), which no service can
/// override.
fn queue_warnings(maps: &Maps) -> Vec<Difference> {
    let mut found = Vec::new();
    let names = |parameter| List::parse(maps.value(parameter));
    if names("defer_transports")
        .elements()
        .any(|name| name == TRANSPORT)
    {
        found.push(Difference::new(
            format!(
                "main.cf: defer_transports has {TRANSPORT}: mail for the gateway stays in the queue"
            ),
            "take it out of the list",
        ));
    }
    let disabled = names("master_service_disable");
    if let Some(pattern) = disabled.elements().find(|pattern| is_of_ours(pattern)) {
        found.push(Difference::new(
            format!("main.cf: master_service_disable has {pattern}, which can switch off the gateway's services"),
            "except them before it, as master_service_disable in postconf(5) says",
        ));
    }
    let lifetime = maps.value("maximal_queue_lifetime");
    if seconds(lifetime).is_some_and(|seconds| seconds < DAY) {
        found.push(Difference::new(
            format!("main.cf: maximal_queue_lifetime is {lifetime}: requests that wait longer for the gateway are returned"),
            "write 1d or more, so that a night without the gateway loses nothing",
        ));
    }
    found
}

/// Whether a pattern of master_service_disable matches a service of the gateway, or every
/// service of a type.
fn is_of_ours(pattern: &str) -> bool {
    ["inet", "unix"].contains(&pattern)
        || (pattern.contains(TRANSPORT) && !pattern.starts_with('!'))
}

const DAY: u64 = 24 * 60 * 60;

/// The seconds of a time in main.cf. Without a unit it is in days.
fn seconds(time: &str) -> Option<u64> {
    let unit = time.chars().next_back()?;
    let (number, factor) = match unit {
        's' => (time.strip_suffix(unit)?, 1),
        'm' => (time.strip_suffix(unit)?, 60),
        'h' => (time.strip_suffix(unit)?, 60 * 60),
        'd' => (time.strip_suffix(unit)?, DAY),
        'w' => (time.strip_suffix(unit)?, 7 * DAY),
        _ => (time, DAY),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(factor)
}

/// The parameters that this file and the check look at, because no service can override
/// them.
#[cfg(test)]
pub(super) const LOOKED_AT: [&str; 8] = [
    "defer_transports",
    "inet_protocols",
    "master_service_disable",
    "maximal_queue_lifetime",
    "recipient_delimiter",
    "relocated_maps",
    "transport_maps",
    "virtual_alias_maps",
];

/// The difference for a table or a file that can't be read.
pub(super) fn unreadable(error: &WiringError) -> Difference {
    Difference::new(
        format!("Postfix's tables can't be read: {error}"),
        "mend the table, or run this as a user that may read it",
    )
}

/// Warnings if mail for the address would not reach the gateway.
fn address_warnings(
    maps: &Maps,
    address: &str,
    addresses: &[String],
) -> Result<Vec<Difference>, WiringError> {
    let mut found = Vec::new();
    if let Destination::Taken {
        parameter,
        key,
        map,
        to,
    } = destination(maps, address, addresses)?
    {
        let by = match key == address.to_lowercase() {
            true => format!("{address} is an alias by {parameter} ({map})"),
            false => format!("{address} is an alias by {key} in {parameter} ({map})"),
        };
        found.push(Difference::new(
            format!("main.cf: {by}: mail that is in the queue goes to {to} and not to the gateway"),
            format!("map the address to itself, before that: {address} {address}"),
        ));
    }
    if let Some(hit) = entry(maps, "relocated_maps", address)? {
        found.push(Difference::new(
            format!(
                "main.cf: relocated_maps ({}) has {} for {address}: Postfix refuses its mail",
                hit.map, hit.key
            ),
            "take it out of the table",
        ));
    }
    found.extend(recipient_warning(maps, address)?);
    Ok(found)
}

/// A warning if smtpd would not take the address for a valid recipient.
fn recipient_warning(maps: &Maps, address: &str) -> Result<Option<Difference>, WiringError> {
    const CLASSES: [(&str, &str); 4] = [
        ("mydestination", "local_recipient_maps"),
        ("virtual_mailbox_domains", "virtual_mailbox_maps"),
        ("relay_domains", "relay_recipient_maps"),
        ("virtual_alias_domains", "virtual_alias_maps"),
    ];
    let Some((_, domain)) = address.rsplit_once('@') else {
        return Ok(None);
    };
    let mut class = None;
    for (domains, recipients) in CLASSES {
        if class.is_none() && maps.has_domain(domains, domain)? {
            class = Some(recipients);
        }
    }
    let Some(recipients) = class else {
        return Ok(Some(Difference::new(
            format!(
                "main.cf: {domain} is no domain of this Postfix, by mydestination, \
                 virtual_mailbox_domains, relay_domains or virtual_alias_domains: it would refuse \
                 or relay mail for {address}"
            ),
            "name the domain in one of them",
        )));
    };
    let is_open = maps.value(recipients).is_empty();
    if is_open || entry(maps, recipients, address)?.is_some() {
        return Ok(None);
    }
    Ok(Some(Difference::new(
        format!(
            "main.cf: {address} is no valid recipient by {recipients}: Postfix refuses its mail"
        ),
        "add the address to one of these tables",
    )))
}

/// A warning if Postfix and the gateway trust different clients.
fn network_warning(maps: &Maps, config: &Config) -> Option<Difference> {
    let list = List::parse(maps.value("mynetworks"));
    let ours: BTreeSet<IpNet> = config
        .policy
        .trusted_networks
        .iter()
        .map(|own| own.0.trunc())
        .collect();
    let (networks, others): (Vec<_>, Vec<_>) = list
        .elements()
        .map(|element| (element, network(element)))
        .partition(|(_, network)| network.is_some());
    let theirs: BTreeSet<IpNet> = networks
        .into_iter()
        .filter_map(|(_, network)| network)
        // Postfix also lists IPv4 networks in this form, mapped into IPv6.
        .filter(|network| !network.to_string().starts_with("::ffff:"))
        .collect();
    let ipv4 = |networks: &BTreeSet<IpNet>| -> BTreeSet<IpNet> {
        let ipv4 = |network: &&IpNet| network.addr().is_ipv4();
        networks.iter().filter(ipv4).copied().collect()
    };
    // A Postfix without IPv6 doesn't name ::1.
    if others.is_empty() && (theirs == ours || theirs == ipv4(&ours)) {
        return None;
    }
    let shown: Vec<String> = ours.iter().map(ToString::to_string).collect();
    Some(Difference::new(
        format!(
            "mynetworks of main.cf ({}) and policy.trusted_networks of gateway.toml ({}) differ",
            list.elements().collect::<Vec<_>>().join(" "),
            shown.join(" ")
        ),
        "clients in policy.trusted_networks need no authentication; write the same networks into \
         both, unless the difference is intended",
    ))
}

/// Parses a network of `mynetworks`; none for a table, a file or an exception.
fn network(element: &str) -> Option<IpNet> {
    let plain = element.replace(['[', ']'], "");
    let network = plain
        .parse::<IpNet>()
        .or_else(|_| plain.parse::<IpAddr>().map(IpNet::from));
    network.ok().map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::wiring::parameters::{Standing, parameters};

    #[test]
    fn each_parameter_that_is_to_be_warned_of_is_looked_at() {
        let warned: Vec<&str> = parameters()
            .unwrap()
            .into_iter()
            .filter(|parameter| matches!(parameter.standing, Standing::Warned(_)))
            .map(|parameter| parameter.name)
            .collect();
        assert_eq!(warned, LOOKED_AT);
    }

    #[test]
    fn a_time_has_a_unit() {
        for (time, expected) in [
            ("5d", Some(5 * DAY)),
            ("1", Some(DAY)),
            ("0", Some(0)),
            ("12h", Some(DAY / 2)),
            ("90m", Some(5_400)),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(seconds(time), expected, "{time}");
        }
    }
}
