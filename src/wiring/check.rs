//! Compares Postfix's effective configuration with the gateway's needs, and names the
//! remedy for each difference.

use std::path::Path;

use super::{
    Difference, Wiring, WiringError,
    comparison::Comparison,
    directory,
    kept::Kept,
    maps::Maps,
    needs::{Listeners, Needs},
    postconf::Postconf,
    services::Filling,
};
use crate::config::Config;

/// The result of a check.
#[derive(Debug)]
pub(crate) struct Findings {
    /// The directory of Postfix's configuration.
    pub(crate) directory: String,
    /// The wiring of the gateway; none if nothing in Postfix names it.
    pub(crate) wiring: Option<Wiring>,
    /// Everything that Postfix does differently, with its remedy.
    pub(crate) differences: Vec<Difference>,
    /// Facts that the admin should know and that are no fault.
    pub(crate) notes: Vec<String>,
}

/// Compares the Postfix in `directory` (none: postconf's default) with the needs of `config`.
///
/// # Errors
/// There is no Postfix, or its files can't be read.
pub(crate) fn check(directory: Option<&Path>, config: &Config) -> Result<Findings, WiringError> {
    let (directory, postfix) = directory::find(directory)?;
    let kept = Kept::read(&directory)?;
    let postconf = Postconf::at(&directory);
    let maps = Maps::of(postconf.clone())?;
    let internal = internal_listener(&maps, &kept, config);
    let asked = Needs::read(config, Wiring::Edge, &internal)?;
    let queue = maps.value("queue_directory").to_owned();
    let ours = [asked.reply.clone(), asked.internal.clone()];
    let listeners = Listeners::read(&postconf, |service| ours.contains(&service.name))?;
    let mut comparison = Comparison {
        filling: Filling {
            replies: asked.reply.clone(),
            internal,
            daemon_name: asked.daemon_name.clone(),
            postfix,
            ..Filling::default()
        },
        needs: asked,
        postconf,
        maps,
        config,
        found: Vec::new(),
        listeners,
        unreachable: None,
    };
    comparison.find_milter(&queue);
    let wiring = comparison.wiring(&kept)?;
    if let Some(wiring) = wiring {
        comparison.needs.wiring = wiring;
        comparison.compare();
    }
    Ok(Findings {
        directory: directory.display().to_string(),
        wiring,
        notes: wiring.map_or_else(Vec::new, |_| comparison.notes(&queue)),
        differences: comparison.found,
    })
}

/// The address of the internal listener, as the installation noted it, or else as
/// transport_maps names it.
fn internal_listener(maps: &Maps, kept: &Kept, config: &Config) -> String {
    if let Some(known) = kept.known("option:internal") {
        return known.to_owned();
    }
    let mut addresses = config.gateway.addresses.iter();
    let address = addresses.next().map(|own| own.0.to_string());
    let route = maps.find("transport_maps", &[&address.unwrap_or_default()]);
    let next_hop = route.ok().flatten().and_then(|hit| {
        let next_hop = hit.value.strip_prefix("kms-gateway:")?;
        Some(next_hop.replace("[ipv6:", "[").replace(['[', ']'], ""))
    });
    match next_hop {
        Some(next_hop) if next_hop.matches(':').count() == 1 => next_hop,
        Some(next_hop) => match next_hop.rsplit_once(':') {
            Some((host, port)) => format!("[{host}]:{port}"),
            None => next_hop,
        },
        None => Filling::default().internal,
    }
}
