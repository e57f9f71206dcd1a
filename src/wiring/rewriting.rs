//! Follows the gateway's address through Postfix's tables, as cleanup(8) rewrites a recipient
//! before the transport is looked up.

use std::collections::BTreeSet;

use super::{
    WiringError,
    list::List,
    maps::{Hit, Maps},
};

/// The destination of mail for one of the gateway's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Gateway,
    /// To the gateway, with copies to others.
    Copied {
        parameter: &'static str,
        to: String,
    },
    /// Only to others.
    Taken {
        parameter: &'static str,
        key: String,
        map: String,
        to: String,
    },
}

/// The most addresses that are followed; virtual_alias_recursion_limit has this default.
const LONGEST_EXPANSION: usize = 1000;

/// The tables that replace a recipient by one address, in Postfix's order.
const CANONICAL: [&str; 2] = ["recipient_canonical_maps", "canonical_maps"];

/// The destination of mail for `address`. `gateway` lists the gateway's addresses.
pub(super) fn destination(
    maps: &Maps,
    address: &str,
    gateway: &[String],
) -> Result<Destination, WiringError> {
    let is_gateway = |address: &str| {
        let same = |own: &String| own.to_lowercase() == address;
        gateway.iter().any(same)
    };
    let mut address = address.to_lowercase();
    for parameter in CANONICAL {
        let Some(step) = step(maps, parameter, &address)? else {
            continue;
        };
        let Some(new) = step.to.into_iter().next() else {
            continue;
        };
        if !is_gateway(&new) {
            return Ok(Destination::Taken {
                parameter,
                key: step.key,
                map: step.map,
                to: new,
            });
        }
        address = new;
    }
    expand(maps, address, is_gateway)
}

/// Follows virtual_alias_maps as cleanup(8) does, until an address is no key or maps to
/// itself.
fn expand(
    maps: &Maps,
    address: String,
    is_gateway: impl Fn(&str) -> bool,
) -> Result<Destination, WiringError> {
    const PARAMETER: &str = "virtual_alias_maps";
    let (mut waiting, mut seen) = (vec![address], BTreeSet::new());
    let (mut reached, mut others, mut first) = (false, Vec::new(), None);
    while let Some(address) = waiting.pop() {
        if seen.len() >= LONGEST_EXPANSION || !seen.insert(address.clone()) {
            continue;
        }
        let step = step(maps, PARAMETER, &address)?;
        let to = match step {
            Some(step) => {
                first.get_or_insert((step.key, step.map));
                step.to
            }
            None => vec![address.clone()],
        };
        for new in to {
            match new == address {
                true if is_gateway(&new) => reached = true,
                true => others.push(new),
                false => waiting.push(new),
            }
        }
    }
    let to = others.join(", ");
    Ok(match (reached, first) {
        (true, _) if to.is_empty() => Destination::Gateway,
        (true, _) => Destination::Copied {
            parameter: PARAMETER,
            to,
        },
        (false, first) => {
            let (key, map) = first.unwrap_or_default();
            Destination::Taken {
                parameter: PARAMETER,
                key,
                map,
                to,
            }
        }
    })
}

/// An entry that a look-up found.
struct Step {
    key: String,
    map: String,
    to: Vec<String>,
}

/// The keys by which canonical(5), relocated(5) and virtual(5) look an address up.
struct Keys {
    local: String,
    /// The delimiter and the text after it; empty if there is none.
    extension: String,
    /// In order: the address, the address without its extension, the local parts if the
    /// domain is the site's own, and the domain.
    all: Vec<String>,
    /// The keys without the extension.
    shortened: [String; 2],
}

impl Keys {
    /// None for an address without a domain.
    fn of(maps: &Maps, address: &str) -> Result<Option<Self>, WiringError> {
        let address = address.to_lowercase();
        let Some((local, domain)) = address.rsplit_once('@') else {
            return Ok(None);
        };
        let delimiters = maps.value("recipient_delimiter");
        let mut later = local.char_indices().skip(1);
        let at = later.find(|(_, character)| delimiters.contains(*character));
        let (base, extension) = local.split_at(at.map_or(local.len(), |(at, _)| at));
        let is_local = is_local(maps, domain)?;
        let without_extension = format!("{base}@{domain}");
        let mut all = vec![address.clone(), without_extension.clone()];
        if is_local {
            all.extend([local.to_owned(), base.to_owned()]);
        }
        all.push(format!("@{domain}"));
        all.dedup();
        Ok(Some(Self {
            local: local.to_owned(),
            extension: extension.to_owned(),
            all,
            shortened: [without_extension, base.to_owned()],
        }))
    }

    fn find(&self, maps: &Maps, parameter: &str) -> Result<Option<Hit>, WiringError> {
        let all: Vec<&str> = self.all.iter().map(String::as_str).collect();
        maps.find(parameter, &all)
    }
}

/// Finds the entry of a parameter's tables for an address or for its domain.
pub(super) fn entry(
    maps: &Maps,
    parameter: &str,
    address: &str,
) -> Result<Option<Hit>, WiringError> {
    match Keys::of(maps, address)? {
        Some(keys) => keys.find(maps, parameter),
        None => Ok(None),
    }
}

/// Replaces an address by the entry that a parameter's tables have for it.
fn step(maps: &Maps, parameter: &str, address: &str) -> Result<Option<Step>, WiringError> {
    let Some(keys) = Keys::of(maps, address)? else {
        return Ok(None);
    };
    let Some(hit) = keys.find(maps, parameter)? else {
        return Ok(None);
    };
    let Keys {
        local, extension, ..
    } = &keys;
    let origin = maps.value("myorigin");
    let is_shortened = keys.shortened.contains(&hit.key);
    let list = List::parse(&hit.value);
    let to = list.elements().map(|target| {
        let target = target.to_lowercase();
        match target.rsplit_once('@') {
            None => format!("{target}@{origin}"),
            Some(("", domain)) => format!("{local}@{domain}"),
            // Postfix appends an extension that is not part of the key.
            Some((user, domain)) if is_shortened && !user.ends_with(extension.as_str()) => {
                format!("{user}{extension}@{domain}")
            }
            Some(_) => target,
        }
    });
    Ok(Some(Step {
        to: to.collect(),
        key: hit.key,
        map: hit.map,
    }))
}

/// Whether Postfix also looks the local part up by itself.
fn is_local(maps: &Maps, domain: &str) -> Result<bool, WiringError> {
    Ok(maps.value("myorigin").to_lowercase() == domain
        || maps.has_domain("mydestination", domain)?)
}
