//! Asks DNS blocklists (RFC 5782) about a client. The policy weighs their
//! replies. Knows zones, their health and DNS, but no mail, no store and no
//! milter.

mod health;
mod name_servers;
mod query_name;
mod resolver;
mod zone;

use std::{net::IpAddr, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::resolver::ResolverError;
use self::{resolver::Resolver, zone::Zone};
use crate::policy::dnsbl::{Hit, Score, Settings, Site, ZoneName, ZoneReply};

/// Characters of a zone's TXT record that are kept. The record may have 65,535 octets.
const MAX_TEXT: usize = 500;

/// The blocklists of an installation.
pub struct Blocklists {
    sites: Vec<Site>,
    threshold: i32,
    zones: Vec<Zone>,
    resolver: Resolver,
    time_limit: Duration,
}

impl Blocklists {
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// Fails if no resolver can be made.
    pub(crate) fn new(settings: &Settings) -> Result<Self, ResolverError> {
        let mut zones: Vec<Zone> = Vec::new();
        for configured in &settings.zones {
            if !zones.iter().any(|zone| zone.is(&configured.site.zone)) {
                zones.push(Zone::new(configured, settings.recheck.as_std()));
            }
        }
        Ok(Self {
            sites: settings.zones.iter().map(|own| own.site.clone()).collect(),
            threshold: settings.threshold,
            zones,
            resolver: Resolver::new(settings.resolver)?,
            time_limit: settings.time_limit.as_std(),
        })
    }

    /// Warnings for the operator about the name servers in /etc/resolv.conf.
    #[must_use]
    pub(crate) fn warnings(&self) -> &[String] {
        self.resolver.warnings()
    }

    /// Asks all zones at once. If the client is listed, also asks those zones
    /// for the reason. A zone that doesn't answer in time counts as silent.
    pub(crate) async fn ask(&self, client: IpAddr) -> Score {
        let client = client.to_canonical();
        let deadline = Instant::now() + self.time_limit;
        let asked = self.zones.iter().map(async |zone| {
            let reply = zone.ask(client, &self.resolver, deadline).await?;
            let zone = zone.name().clone();
            Some(ZoneReply { zone, reply })
        });
        let replies: Vec<ZoneReply> = join_all(asked).await.into_iter().flatten().collect();
        let mut score = Score::of(&self.sites, self.threshold, &replies);
        if score.is_listed() {
            self.ask_why(client, &mut score, deadline).await;
        }
        score
    }

    /// Asks for the reasons, which are for people. The client remains listed
    /// without them.
    async fn ask_why(&self, client: IpAddr, score: &mut Score, deadline: Instant) {
        let against = score.hits.iter_mut().filter(|hit| hit.weight > 0);
        join_all(against.map(async |hit: &mut Hit| {
            let name = query_name::of(client, hit.zone.asked());
            let asked = timeout_at(deadline, self.resolver.text(&name)).await;
            hit.text = asked.ok().flatten().map(|text| words_of(&hit.zone, &text));
        }))
        .await;
    }
}

/// The reason that a zone states, cut to [`MAX_TEXT`] characters. Some zones
/// quote the name in the question, so the key is hidden. This comes first, as
/// the cut could leave half of the key.
fn words_of(zone: &ZoneName, text: &str) -> String {
    zone.hide_in(text).chars().take(MAX_TEXT).collect()
}

impl std::fmt::Debug for Blocklists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocklists")
            .field("sites", &self.sites)
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}
